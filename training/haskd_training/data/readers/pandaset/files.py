"""PandaSet's files: which there should be, and what stands in those of text."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.documents import read_text
from haskd_ros.errors import InputError
from haskd_ros.json_text import parse
from haskd_training.data.readers.interface import Shortfalls
from haskd_training.recordings.reading import reading
from haskd_training.recordings.transform_tree import transform_matrix

LIDAR, LABELS, CAMERAS = "lidar", "annotations/semseg", "camera"
POSES, TIMES, INTRINSICS, GPS = "poses.json", "timestamps.json", "intrinsics.json", "meta/gps.json"

EXPECTED = (
    "NNN/lidar with 00.pkl.gz and on (or .pkl), poses.json and timestamps.json (an entry for each "
    "sweep), NNN/annotations/semseg with a file for each sweep, for 76 sequences, and, where there "
    "is a folder NNN/camera/NAME, 00.jpg and on, intrinsics.json, poses.json and timestamps.json"
)


def check(folder: Path, labelled: bool, sweeps: int, missing: Shortfalls) -> None:
    """Add what a sequence lacks, by the names and sizes of its files.

    Args:
        sweeps: that are published.
    """
    name = folder.name
    if not folder.is_dir():
        missing.add(f"sequence {name} is missing ({sweeps} sweeps)")
        return
    own = cameras(folder)
    lists = [f"{part}/{file}" for part in (LIDAR, *own) for file in (TIMES, POSES)]
    texts = [*lists, *(f"{camera}/{INTRINSICS}" for camera in own)]
    absent = [text for text in texts if not (folder / text).is_file()]
    missing.add_files(f"{name} lacks", absent)
    entries = {text: len(_list(folder / text)) for text in lists if text not in absent}
    found = tables(folder / LIDAR)
    count = entries.get(f"{LIDAR}/{TIMES}")
    stems = sorted(found) if count is None else [f"{number:02d}" for number in range(count)]
    if not stems:
        missing.add(f"{name} has no sweep in {LIDAR}")
    for text, number in entries.items():
        if number != len(stems):
            missing.add(f"{name}/{text} has {number} entries, {len(stems)} expected")
    _compare(f"{name}/{LIDAR}", stems, found, missing)
    if labelled:
        _compare(f"{name}/{LABELS}", stems, tables(folder / LABELS), missing)
    for camera in own:
        _compare(f"{name}/{camera}", stems, images(folder / camera), missing)


def tables(folder: Path) -> dict[str, Path]:
    """Pickled tables by the number of their sweep; empty without the folder."""
    files = sorted([*folder.glob("*.pkl"), *folder.glob("*.pkl.gz")])
    return {file.name.partition(".")[0]: file for file in files}


def images(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted(folder.glob("*.jpg"))}


def cameras(folder: Path) -> list[str]:
    """Of a sequence: folders in it, as `camera/front_camera`."""
    found = sorted(path.name for path in (folder / CAMERAS).glob("*") if path.is_dir())
    return [f"{CAMERAS}/{name}" for name in found]


def read_latitude(file: Path) -> float:
    """Degrees, where a sequence begins."""
    entries = _list(file)
    with reading(file):
        return float(entries[0]["lat"])


def read_times(file: Path) -> np.ndarray:
    """[N] float64, s, increasing."""
    with reading(file):
        times = np.array(_list(file), np.float64).reshape(-1)
    if not (np.diff(times) > 0).all():
        raise InputError(f"{file}: times that don't increase")
    return times


def read_poses(file: Path) -> np.ndarray:
    """[N, 4, 4]: T_world_sensor."""
    with reading(file):
        poses = [
            transform_matrix(
                np.array([entry["position"][axis] for axis in "xyz"]),
                np.array([entry["heading"][axis] for axis in "xyzw"]),
            )
            for entry in _list(file)
        ]
        return np.array(poses, np.float64).reshape(-1, 4, 4)


def read_intrinsics(file: Path) -> np.ndarray:
    """[3, 3], px."""
    values = _json(file)
    with reading(file):
        fx, fy, cx, cy = (float(values[key]) for key in ("fx", "fy", "cx", "cy"))
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _list(file: Path) -> list[Any]:
    values = _json(file)
    if not isinstance(values, list):
        raise InputError(f"{file}: wanted is a list, an entry for each sweep")
    return values


def _json(file: Path) -> Any:
    text = read_text(file, str(file))
    try:
        return parse(text)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _compare(what: str, stems: Sequence[str], found: dict[str, Path], missing: Shortfalls) -> None:
    known = set(stems)
    lacking = [stem for stem in stems if stem not in found]
    missing.add_files(f"{what} lacks {len(lacking)} of {len(stems)}", lacking)
    extra = [file.name for stem, file in found.items() if stem not in known]
    missing.add_files(f"{what} has {len(extra)} beyond the {len(stems)} of the sequence", extra)
    missing.add_files(f"{what}: cut off", _cut_off(list(found.values())))


def _cut_off(files: Sequence[Path]) -> list[str]:
    """Names of files without a byte, and of gzipped ones that say to unpack to a size that none of
    their kind has: a gzipped file ends with that number, one that is cut off with any other."""
    sizes = {file: file.stat().st_size for file in files}
    unpacked = {}
    for file in files:
        if file.suffix == ".gz" and sizes[file] >= 4:
            with reading(file), file.open("rb") as opened:
                opened.seek(-4, 2)
                (unpacked[file],) = struct.unpack("<I", opened.read())
    usual = float(np.median(list(unpacked.values()))) if unpacked else 0.0
    return [
        file.name
        for file in files
        if not sizes[file] or not usual / 8 <= unpacked.get(file, usual) <= usual * 8
    ]
