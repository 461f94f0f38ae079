"""Files of labels, one for each cloud: SemanticKITTI's, nuScenes', numpy's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.recordings.cloud_files.arrays import load_npy, load_npz
from haskd_training.recordings.label_names import name_number
from haskd_training.recordings.reading import reading, regular_file

SUFFIXES = (".label", ".bin", ".npz", ".npy")

PANOPTIC = ".npz"
"""nuScenes' panoptic masks, whose ids hold an instance as class * 1000 + instance."""

_NPZ_KEY = "data"


def label_files(folder: Path, clouds: set[str]) -> tuple[dict[str, Path], list[str]]:
    """The label files of a folder by name, in its order: those with a number in their names, or the
    name of a cloud; and the names of what is called so and is no file.

    Args:
        clouds: their names.

    Raises:
        InputError: no such folder, no label files in it, or some of several kinds.
    """
    if not folder.is_dir():
        raise InputError(f"label folder {folder} does not exist")
    with reading(folder):
        named = sorted(
            file
            for file in folder.iterdir()
            if file.suffix in SUFFIXES
            if file.stem in clouds or name_number(file.stem) is not None
        )
        files = [file for file in named if file.is_file()]
    kinds = Counter(file.suffix for file in files)
    if not files:
        raise InputError(
            f"label folder {folder}: no files named by stamp or index in it, as 000000.label; they "
            f"may end in {', '.join(SUFFIXES)}"
        )
    if len(kinds) > 1:
        listed = " and ".join(f"{count} {kind}" for kind, count in kinds.items())
        raise InputError(
            f"label folder {folder} holds label files of several kinds: {listed}; keep one kind"
        )
    return {file.name: file for file in files}, [file.name for file in named if not file.is_file()]


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
