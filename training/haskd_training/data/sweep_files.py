"""One file per sweep, named after the sweep alone: a result for one sweep stays valid when
recordings are added.

FOLDER/CACHE-SWEEP.safetensors   CACHE: the beginning of the cache's fingerprint
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from haskd_training.core.tensor_file import TensorFile, write_tensors
from haskd_training.data.caches.cache import Cache
from haskd_training.data.sweep_ref import SweepRef

_DIGITS = 16

_REMEDY = "delete it and run the command again, which makes it anew"


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
        file = TensorFile(self.path(ref), _REMEDY)
        return {name: file.read(name) for name in names or file.names}

    def header(self, ref: SweepRef) -> dict[str, Any]:
        """The header of a sweep's file.

        Raises:
            InputError: the file is missing or damaged.
        """
        return TensorFile(self.path(ref), _REMEDY).header

    def write(
        self,
        ref: SweepRef,
        arrays: Mapping[str, np.ndarray],
        header: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the file of a sweep atomically; `header` in JSON values."""
        write_tensors(self.path(ref), arrays, header)
