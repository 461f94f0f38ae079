"""The index of a cache: one file with its tables and what holds for all of it, which makes a folder
a cache. Also the names of what else lies beside the shards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import Taxonomy
from haskd_ros.text import quoted, shown
from haskd_training.core.checked_json import from_text, write_json
from haskd_training.core.storage.files import is_file, names_in, read_file
from haskd_training.core.storage.location import Location
from haskd_training.data.caches.packed_rows import PackedRows
from haskd_training.data.caches.rows import ImageRow, SweepRow

FORMAT = "haskd-cache-3"

INDEX = "index.json"
INPUTS = "inputs.json"

REPORT = "report.json"
OVERLAYS = "overlays"

# Of an index of any format, so that an older one is told from a damaged one.
_FORMAT = re.compile(rb'"format": "([^"]*)"')
_FORMAT_WITHIN = 100
_SWEEPS = re.compile(r"sweeps-\d+\.safetensors")


class CacheIndex(NamedTuple):
    """What stands in an index; attributes as of `Cache`."""

    fingerprint: str
    taxonomy: Taxonomy
    intensity_scale: float
    statistics: dict[str, Any]
    sweeps: Sequence[SweepRow]
    images: Sequence[ImageRow]


def read_index(path: Location) -> CacheIndex:
    """The index of a finished cache.

    Raises:
        InputError: there is none (unfinished or no cache), a damaged or a foreign one; a store that
            doesn't answer.
    """
    try:
        text = read_file(path / INDEX)
    except (FileNotFoundError, NotADirectoryError):
        unfinished = any(map(_SWEEPS.fullmatch, names_in(path)))
        raise InputError(
            f"{path}: the cache is unfinished; run `haskd prepare` on it again"
            if unfinished
            else f"{path} is not a cache: no {INDEX} in it"
        ) from None
    except OSError as error:
        raise InputError(f"{path / INDEX} can't be read: {error.strerror}") from error
    found = _FORMAT.search(text[:_FORMAT_WITHIN])
    if found is not None and found[1] != FORMAT.encode():
        raise InputError(
            f"{path / INDEX}: format {quoted(found[1].decode(errors='replace'))}, must be "
            f"{FORMAT!r}; delete the folder and prepare it again"
        )
    try:
        index = from_text(text)
        return CacheIndex(
            fingerprint=index["fingerprint"],
            taxonomy=Taxonomy.from_json(index["classes"]),
            intensity_scale=float(index["intensity_scale"]),
            statistics=index["statistics"],
            sweeps=PackedRows(SweepRow, (SweepRow(**row) for row in index["sweeps"])),
            images=PackedRows(ImageRow, (ImageRow(**row) for row in index["images"])),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path / INDEX} is damaged: {shown(error)}; delete it and prepare the cache "
            "again, which keeps its shards"
        ) from error


def write_index(folder: Path, index: CacheIndex) -> None:
    """Write the index, which makes the folder with the shards a cache."""
    content = {
        "format": FORMAT,
        "fingerprint": index.fingerprint,
        "classes": index.taxonomy.to_json(),
        "intensity_scale": index.intensity_scale,
        "statistics": index.statistics,
        "sweeps": [vars(row) for row in index.sweeps],
        "images": [vars(row) for row in index.images],
    }
    write_json(folder / INDEX, content)


def is_cache(path: Location) -> bool:
    """Whether a folder is a finished cache.

    Raises:
        InputError: a store that doesn't answer.
    """
    return is_file(path / INDEX)


def is_recording(given: Location) -> TypeGuard[Path]:
    """Whether what a command was given is a recording, and no cache: nothing but caches is read
    from a store, which `Cache.open` asks."""
    return isinstance(given, Path) and not is_cache(given)
