"""Which files are clouds, and what reads and writes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_training.recordings.cloud_files import arrays, e57, las, pcd, ply
from haskd_training.recordings.cloud_files.cloud import PointLabels
from haskd_training.recordings.reading import reading


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        read: its clouds, [N] structured each, with the fields x, y, z and often intensity.
        write: a file, and the labels of its clouds -> another file with both.
        endings: that a labelled file may have, see `labelled_endings`.
        magic: what its content begins with; empty where that may be anything.
        count: how many clouds a file holds.
    """

    read: Callable[[Path], list[np.ndarray]]
    write: Callable[[Path, Path, list[PointLabels]], None]
    endings: tuple[str, ...]
    magic: bytes = b""
    count: Callable[[Path], int] = lambda _: 1


FORMATS = {
    ".pcd": Format(pcd.read, pcd.write, (".pcd",)),
    ".ply": Format(ply.read, ply.write, (".ply",), b"ply"),
    ".las": Format(las.read, las.write, (".las", ".laz"), b"LASF"),
    ".laz": Format(las.read, las.write, (".laz", ".las"), b"LASF"),
    ".e57": Format(e57.read, e57.write, (".e57",), b"ASTM-E57", e57.count),
    ".npy": Format(arrays.read_npy, arrays.write_npy, (".npy", ".npz"), b"\x93NUMPY"),
    ".npz": Format(arrays.read_npz, arrays.write_npz, (".npz",), b"PK"),
    ".bin": Format(arrays.read_raw, arrays.write_raw, (".npz",)),
}
"""By the ending of the file's name."""

_PCD_BEGINS = (b"# .PCD", b"VERSION")
"""What most PCD files begin with; none has to."""

_TEXTS = (".xyz", ".xyzi", ".txt", ".csv", ".asc")

_OF_BAGS = (".mcap", ".db3", ".bag")

VELODYNE = "velodyne"
"""Folder of the clouds in KITTI's layout."""


def is_cloud_file(path: Path) -> bool:
    """Whether a path's ending is that of a cloud file."""
    return path.suffix.lower() in FORMATS


def if_text(path: Path) -> str:
    """How a cloud of numbers as text becomes one that is read; empty for other endings."""
    if path.suffix.lower() not in _TEXTS:
        return ""
    how = ", delimiter=','" if path.suffix.lower() == ".csv" else ""
    return (
        f"; text of x y z intensity becomes one by `np.save('{path.stem}.npy', "
        f"np.genfromtxt('{path}'{how})[:, :4])` in Python"
    )


def is_cloud_folder(path: Path) -> bool:
    """Whether a path is a folder that holds cloud files, or KITTI's `velodyne` folder of them, and
    no bag."""
    if not path.is_dir() or not cloud_files(path):
        return False
    return not any(file.suffix in _OF_BAGS for file in path.iterdir() if file.is_file())


def cloud_files(folder: Path) -> list[Path]:
    """The cloud files of a folder, or of its `velodyne` folder, in natural order: 2 before 10."""
    inner = folder / VELODYNE
    folder = inner if inner.is_dir() else folder
    files = [file for file in folder.iterdir() if file.is_file() and is_cloud_file(file)]
    return sorted((file for file in files if not file.name.startswith(".")), key=_natural)


def stem_of(path: Path) -> str:
    """A cloud file's name without its ending, `.pcd.bin` included."""
    return path.stem.removesuffix(".pcd") if path.suffix.lower() == ".bin" else path.stem


def format_of(path: Path) -> Format:
    """What reads and writes a file.

    Raises:
        InputError: there is no such file, its ending is none of a cloud file, or its content is of
            another kind than its ending.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    known = FORMATS.get(path.suffix.lower())
    if known is None or not path.is_file():
        raise InputError(
            f"{path} is no cloud file; allowed endings are {', '.join(FORMATS)}{if_text(path)}"
        )
    with reading(path), path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise InputError(f"{path} is empty")
    if known.magic and start.startswith(known.magic):
        return known
    for ending, other in FORMATS.items():
        if other.magic and start.startswith(other.magic):
            raise _of_another_kind(path, ending)
    if start.startswith(_PCD_BEGINS) and path.suffix.lower() != ".pcd":
        raise _of_another_kind(path, ".pcd")
    if known.magic:
        raise InputError(f"{path} is no {path.suffix} file: it begins with {quoted(start)}")
    return known


def _of_another_kind(path: Path, ending: str) -> InputError:
    return InputError(
        f"{path} is a file of another kind by its content; rename it to "
        f"{path.with_suffix(ending).name}"
    )


def labelled_endings(path: Path) -> tuple[str, ...]:
    """The endings that the labelled copy of a file may have, first the one that it gets where its
    name is not given.

    Raises:
        InputError: as of `format_of`.
    """
    known = format_of(path)
    if path.suffix.lower() == ".npy":
        return (arrays.ending_of_npy(path),)
    return known.endings


def read_clouds(path: Path) -> list[np.ndarray]:
    """The clouds of a file, see `Format.read`; several in an E57.

    Raises:
        InputError: as of `format_of`, or the file is cut off or damaged.
    """
    known = format_of(path)
    with reading(path):
        return known.read(path)


def count_clouds(path: Path) -> int:
    """How many clouds a file holds; errors as of `read_clouds`."""
    known = format_of(path)
    with reading(path):
        return known.count(path)


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
