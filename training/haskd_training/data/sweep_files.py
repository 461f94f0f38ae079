"""One file per sweep, named after the sweep alone: a result for one sweep stays valid when
recordings are added.

FOLDER/CACHE-SWEEP.safetensors   CACHE: the beginning of the cache's fingerprint
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        folder: created when something is written.
        caches: that `SweepRef.cache` is an index of.
    """

    def __init__(self, folder: Path, caches: Sequence[Cache]) -> None:
        self.folder = folder
        self._names = [cache.fingerprint[:_DIGITS] for cache in caches]

    def path(self, ref: SweepRef) -> Path:
        return self.folder / f"{self._names[ref.cache]}-{ref.sweep}.safetensors"

    def __contains__(self, ref: SweepRef) -> bool:
        return self.path(ref).exists()

    def read(self, ref: SweepRef, *names: str) -> dict[str, np.ndarray]:
        """The arrays of a sweep by name.

        Args:
            names: those to read; none: all.

        Raises:
            InputError: the file is missing or damaged, or lacks one of the arrays.
        """
        with self._open(ref) as file:
            return {name: file.get_tensor(name) for name in names or file.keys()}

    def header(self, ref: SweepRef) -> dict[str, str]:
        """The header of a sweep's file.

        Raises:
            InputError: the file is missing or damaged.
        """
        with self._open(ref) as file:
            return file.metadata() or {}

    @contextmanager
    def _open(self, ref: SweepRef) -> Iterator[Any]:
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
        """Write the file of a sweep atomically."""
        content = save(dict(arrays), None if header is None else dict(header))
        write_atomically(self.path(ref), content)
