"""Files of labels, one for each cloud: SemanticKITTI's, nuScenes', numpy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.recordings.cloud_files.arrays import load_npy, load_npz
from haskd_training.recordings.reading import reading, regular_file

SUFFIXES = (".label", ".bin", ".npz", ".npy")

PANOPTIC = ".npz"
"""nuScenes' panoptic masks, whose ids hold an instance as class * 1000 + instance."""

_NPZ_KEY = "data"


def read_label_file(path: Path) -> np.ndarray:
    """Raw labels [N] of a cloud, in its points' order.

    `.label` holds a uint32 a point (SemanticKITTI), `.bin` a uint8 (nuScenes-lidarseg), `.npz` an
    array named `data` (nuScenes-panoptic), or one of any name, `.npy` an array.

    Raises:
        InputError: the file can't be read, or holds no numbers.
    """
    regular_file(path)
    with reading(path):
        if path.suffix == ".label":
            return _packed(path, "<u4")
        if path.suffix == ".bin":
            return _packed(path, "u1")
        if path.suffix == PANOPTIC:
            arrays = load_npz(path)
            found = arrays[_NPZ_KEY if _NPZ_KEY in arrays else _only(list(arrays))]
        else:
            found = load_npy(path)
    if found.dtype.kind not in "iuf":
        raise InputError(f"label file {path} holds {found.dtype}, must be whole numbers")
    return found.reshape(-1)


def _packed(path: Path, dtype: str) -> np.ndarray:
    octets = path.read_bytes()
    size = np.dtype(dtype).itemsize
    if len(octets) % size:
        raise ValueError(f"{len(octets)} bytes are no multiple of {size}")
    return np.frombuffer(octets, dtype)


def _only(names: list[str]) -> str:
    if len(names) != 1:
        raise ValueError(f"arrays {', '.join(names) or '(none)'} in it, must be {_NPZ_KEY!r}")
    return names[0]
