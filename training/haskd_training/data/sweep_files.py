"""One file a sweep, under a name that says which sweep it is, whatever others stand beside it: what
was found out about a sweep holds when recordings join it.

FOLDER/CACHE-SWEEP.safetensors   CACHE: the beginning of the cache's fingerprint
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_training.data.cache import Cache
from haskd_training.data.sweep_ref import SweepRef

_DIGITS = 16


class SweepFiles:
    """A folder of such files.

    Args:
        folder: exists when something is written.
        caches: that a `SweepRef` counts in.
    """

    def __init__(self, folder: Path, caches: Sequence[Cache]) -> None:
        self.folder = folder
        self._names = [cache.fingerprint[:_DIGITS] for cache in caches]

    def path(self, ref: SweepRef) -> Path:
        return self.folder / f"{self._names[ref.cache]}-{ref.sweep}.safetensors"

    def __contains__(self, ref: SweepRef) -> bool:
        return self.path(ref).exists()

    @contextmanager
    def open(self, ref: SweepRef) -> Iterator[safe_open]:
        """The file of a sweep.

        Raises:
            InputError: it is missing or damaged, or lacks what is read from it.
        """
        path = self.path(ref)
        try:
            with safe_open(path, framework="numpy") as file:
                yield file
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is missing or damaged: {error}") from error

    def write(
        self,
        ref: SweepRef,
        arrays: Mapping[str, np.ndarray],
        header: Mapping[str, str] | None = None,
    ) -> None:
        """Make the file of a sweep, all of it or nothing."""
        write_atomically(self.path(ref), save(dict(arrays), header and dict(header)))
