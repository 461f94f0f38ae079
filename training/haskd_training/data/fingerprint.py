"""What identifies the inputs of a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haskd_ros.taxonomy import LabelMap
from haskd_training.data.cache import FORMAT
from haskd_training.recordings.labels import LabelSource
from haskd_training.recordings.readers.bag import bag_files

_DIGEST_BYTES = 64 * 1024


def fingerprint(
    recordings: Mapping[str, Path],
    sources: list[LabelSource],
    label_map: LabelMap,
    settings: dict[str, Any],
) -> str:
    """Digest of all inputs of a cache, so that two inputs never mix in one.

    Args:
        recordings: bags by name.
        settings: those that change what is in it, in JSON values.
    """
    content = {
        "format": FORMAT,
        "bags": [
            [name, [_file_digest(file) for file in bag_files(path)]]
            for name, path in recordings.items()
        ],
        "labels": [[type(source).__name__, *source.identity()] for source in sources],
        "label_map": [label_map.taxonomy.to_json(), label_map.ids, label_map.ignored],
        "config": settings,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> list[str | int]:
    """Name, size, and hash of the first and last bytes: a bag may have hundreds of gigabytes."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(_DIGEST_BYTES)
        file.seek(max(0, size - _DIGEST_BYTES))
        tail = file.read()
    return [path.name, size, hashlib.sha256(head + tail).hexdigest()]
