"""The files that the tables of nuScenes name: their sizes, and what is in them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_training.data.readers.interface import EncodedImage, FramePoints, Shortfalls
from haskd_training.data.readers.nuscenes.tables import CAMERAS, LIDAR, NO_CATEGORY, Keyframe
from haskd_training.recordings.reading import reading

_COLUMNS = 5
_POINT_BYTES = 4 * _COLUMNS

_INSTANCES = 1000


def check_files(
    root: Path,
    keyframes: Sequence[Keyframe],
    labels: Mapping[str, str],
    missing: Shortfalls,
) -> list[str]:
    """Look at all files of keyframes.

    Args:
        labels: files by the sweep's token.
        missing: receives what is missing or of a wrong size.

    Returns:
        the cameras that have images of these keyframes: each sensor is a download of its own.
    """
    sweeps = {keyframe.lidar.token: keyframe.lidar.file for keyframe in keyframes}
    sizes = _sizes(root, f"samples/{LIDAR}", list(sweeps.values()), missing)
    missing.add_files(
        "cut off sweeps (no whole number of points, or none)",
        [_base(file) for file, size in sizes.items() if size % _POINT_BYTES or not size],
    )
    _check_labels(root, labels, {token: sizes.get(file) for token, file in sweeps.items()}, missing)
    cameras = []
    for number, camera in enumerate(CAMERAS):
        files = [keyframe.images[number].file for keyframe in keyframes]
        if not any((root / file).is_file() for file in files):
            continue
        cameras.append(camera)
        images = _sizes(root, f"samples/{camera}", files, missing)
        empty = [_base(file) for file, size in images.items() if not size]
        missing.add_files(f"empty images of {camera}", empty)
    return cameras


def _check_labels(
    root: Path, labels: Mapping[str, str], sizes: Mapping[str, int | None], missing: Shortfalls
) -> None:
    if not labels:
        return
    folder = next(iter(labels.values())).rpartition("/")[0]
    counts = _sizes(root, folder, list(labels.values()), missing)
    damaged, other = [], []
    for token, file in labels.items():
        if file not in counts:
            continue
        if file.endswith(".npz"):
            try:
                counts[file] = _panoptic_count(root / file)
            except InputError as error:
                damaged.append(f"{_base(file)} ({error})")
                continue
        size = sizes[token]
        if size and size != counts[file] * _POINT_BYTES:
            other.append(f"{_base(file)} has {counts[file]}, {size / _POINT_BYTES:g} expected")
    missing.add_files("damaged labels", damaged)
    missing.add_files("labels for another number of points than the sweep has", other)


def _sizes(root: Path, what: str, files: Sequence[str], missing: Shortfalls) -> dict[str, int]:
    """Bytes of the files that are there."""
    sizes, absent = {}, []
    for file in files:
        try:
            sizes[file] = os.stat(root / file).st_size
        except OSError:
            absent.append(_base(file))
    missing.add_files(f"{what} lacks {len(absent)} of {len(files)}", absent)
    return sizes


def _panoptic_count(file: Path) -> int:
    with reading(file), zipfile.ZipFile(file) as archive, archive.open("data.npy") as member:
        np.lib.format.read_magic(member)
        shape, _, _ = np.lib.format.read_array_header_1_0(member)
        return int(np.prod(shape))


def _base(file: str) -> str:
    return file.rpartition("/")[2]


def read_points(file: Path) -> FramePoints:
    """A sweep without the ring of its points; raises InputError, as the others."""
    with reading(file):
        values = np.fromfile(file, "<f4")
    if len(values) % _COLUMNS:
        raise InputError(f"{file} is cut off: no whole number of points")
    points = values.reshape(-1, _COLUMNS)[:, :4]
    return FramePoints(np.ascontiguousarray(points, np.float32))


def read_labels(file: Path, categories: np.ndarray) -> np.ndarray:
    """[N] indices of `CATEGORY_NAMES`; categories: of `read_categories`."""
    values = _read_panoptic(file) if file.suffix == ".npz" else _read_lidarseg(file)
    ids: np.ndarray = categories[values]
    if unknown := np.unique(values[ids == NO_CATEGORY]).tolist():
        raise InputError(f"{file} has labels {quoted(unknown)}, which category.json doesn't name")
    return ids


def _read_lidarseg(file: Path) -> np.ndarray:
    with reading(file):
        return np.fromfile(file, np.uint8)


def _read_panoptic(file: Path) -> np.ndarray:
    with reading(file), np.load(file, allow_pickle=False) as archive:
        values: np.ndarray = archive["data"]
    if values.dtype != np.uint16:
        raise InputError(f"{file} holds {values.dtype}, expected uint16")
    return values.ravel() // _INSTANCES


def read_image(file: Path) -> EncodedImage:
    """A JPEG file as it is."""
    with reading(file):
        return EncodedImage(file.read_bytes(), "jpeg")
