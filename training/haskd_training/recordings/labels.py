"""Labels of a sweep: a field of the cloud, a folder of SemanticKITTI `.label` files, or none."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED, LabelMap
from haskd_training.recordings.readers.bag import Unusable

LABEL_MAPS = Path(__file__).with_name("label_maps")

DEFAULT_FIELD = "label"

STAMP_TOLERANCE_NS = 1_000_000
"""File names may hold rounded stamps; two sweeps are at least ten times as far apart."""

_FIRST_STAMP = 10**12
"""Smaller numbers in file names are sweep indices; 10^12 ns is 17 minutes after the epoch."""


def load_label_map(name: str | Path) -> LabelMap:
    """A label map by its file, or by the name of one that ships with the package.

    Its `folder` is taken relative to the file.

    Raises:
        InputError: neither is there, or as `LabelMap.load`.
    """
    path = Path(name)
    shipped = LABEL_MAPS / f"{name}.yaml"
    if path.name == str(name) and shipped.is_file():
        path = shipped
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in LABEL_MAPS.glob("*.yaml")))
        raise InputError(f"label map {name} does not exist; those that ship are {names}")
    label_map = LabelMap.load(path)
    if label_map.folder is None:
        return label_map
    return replace(label_map, folder=str(path.parent / label_map.folder))


class FieldLabels:
    """Labels from a field of the cloud."""

    def __init__(self, label_map: LabelMap) -> None:
        self._map = label_map
        self._field = label_map.field or DEFAULT_FIELD

    def identity(self) -> list[str]:
        """What distinguishes this source of labels from another, for a cache's fingerprint."""
        return [self._field]

    def of(self, cloud: Any, index: int, stamp_ns: int) -> np.ndarray:
        """Class ids [N] uint8 of a cloud, in its order.

        Raises:
            InputError: the cloud lacks the field (the message lists those it has), the field
                holds no whole numbers, or an id that the label map doesn't name.
        """
        present = [field.name for field in cloud.fields]
        if self._field not in present:
            raise InputError(
                f"the cloud has no label field {self._field!r}; its fields are {', '.join(present)}"
            )
        raw = read_points(cloud, [self._field])[self._field]
        ids = raw.astype(np.int64)
        if raw.dtype.kind == "f" and not np.array_equal(ids, raw):
            raise InputError(f"label field {self._field!r} holds values that aren't whole numbers")
        return self._map.apply(ids)


class FolderLabels:
    """Labels from SemanticKITTI `.label` files: uint32 per point, class id in the lower 16 bits.

    A file belongs to a sweep by its name: the sweep's stamp in ns, or its index in the
    recording (000000.label is the first).
    """

    def __init__(self, label_map: LabelMap, folder: Path, recording: str) -> None:
        self._map = label_map
        self._folder = _own_folder(folder, recording)
        if not self._folder.is_dir():
            raise InputError(f"label folder {folder} does not exist")
        files = {
            int(file.stem): file for file in self._folder.glob("*.label") if file.stem.isdecimal()
        }
        if not files:
            raise InputError(
                f"label folder {self._folder}: no files named STAMP_NS.label or INDEX.label in it"
            )
        self.files = dict(sorted(files.items()))
        self._keys = list(self.files)
        self.by_stamp = self._keys[-1] >= _FIRST_STAMP

    def identity(self) -> list[str]:
        """Name, size and modification time of every file."""
        stats = ((file.name, file.stat()) for file in self.files.values())
        return [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]

    def of(self, cloud: Any, index: int, stamp_ns: int) -> np.ndarray:
        """Class ids [N] uint8 of a cloud, in its order.

        Raises:
            Unusable: no file for this sweep, or one for another number of points.
            InputError: an id that the label map doesn't name.
        """
        file = self._nearest(stamp_ns) if self.by_stamp else self.files.get(index)
        if file is None:
            raise Unusable("no label file")
        octets = file.read_bytes()
        if len(octets) != 4 * cloud.width * cloud.height:
            raise Unusable("label file is for another number of points")
        try:
            return self._map.apply(np.frombuffer(octets, "<u4") & 0xFFFF)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error

    def _nearest(self, stamp_ns: int) -> Path | None:
        after = bisect_left(self._keys, stamp_ns)
        key = min(self._keys[max(0, after - 1) : after + 1], key=lambda k: abs(k - stamp_ns))
        return self.files[key] if abs(key - stamp_ns) <= STAMP_TOLERANCE_NS else None


class NoLabelSource:
    """A recording without labels: every point is unlabelled."""

    def identity(self) -> list[str]:
        return []

    def of(self, cloud: Any, index: int, stamp_ns: int) -> np.ndarray:
        return np.full(cloud.width * cloud.height, UNLABELLED, np.uint8)


def check_folders(label_map: LabelMap, recordings: Sequence[str]) -> None:
    """Check that every recording has its own labels: files named by sweep index match any
    recording, so that several would read the labels of one of them.

    Raises:
        InputError: several recordings would read such files from one folder.
    """
    if label_map.folder is None:
        return
    folder = Path(label_map.folder)
    label_folders = [_own_folder(folder, name) for name in recordings]
    for name, label_folder in zip(recordings, label_folders, strict=True):
        users = label_folders.count(label_folder)
        if users > 1 and not FolderLabels(label_map, folder, name).by_stamp:
            raise InputError(
                f"{users} recordings would read their labels from {label_folder}, whose files are "
                "named by sweep index and so belong to one recording; give each recording a "
                f"folder of its name, as {folder / name}, or name the files by stamp"
            )


def _own_folder(folder: Path, recording: str) -> Path:
    """Several recordings have a folder each, named like the recording."""
    own = folder / recording
    return own if own.is_dir() else folder


LabelSource = FieldLabels | FolderLabels | NoLabelSource


def label_source(label_map: LabelMap | None, recording: str) -> LabelSource:
    """Where the labels of a recording come from: the map's folder, else its field; no map, none.

    Raises:
        InputError: the folder isn't there or has no `.label` files.
    """
    if label_map is None:
        return NoLabelSource()
    if label_map.folder is not None:
        return FolderLabels(label_map, Path(label_map.folder), recording)
    return FieldLabels(label_map)
