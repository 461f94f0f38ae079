"""A folder of clouds as a recording: its clouds in order, with stamps, labels, poses, cameras."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.recordings.cloud_files import kitti
from haskd_training.recordings.cloud_files.formats import (
    VELODYNE,
    cloud_files,
    count_clouds,
    read_clouds,
    stem_of,
)
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.reading import reading

LABELS = "labels"
"""Folder of the label files, named as the clouds."""

LABEL_FIELD = "label"

_PERIOD_NS = 100_000_000
_START_NS = 1_000_000_000
"""Of times that count from 0: no stamp is 0, which drivers send before they know the time."""

_EPOCH_NS = {10: 10**9, 13: 10**6, 16: 10**3, 19: 1}
"""ns of a unit of a time since the epoch, by how many digits it has."""

_TIME = re.compile(r"(?<!\d)(\d{10})\.(\d{1,9})(?!\d)|(?<!\d)(\d{10}|\d{13}|\d{16}|\d{19})(?!\d)")


@dataclass(frozen=True)
class CloudPlace:
    """Where one cloud of a folder is.

    Attributes:
        file: that holds it.
        scan: its number in the file; 0 but in an E57 of several.
        name: of the cloud: the file's without its ending.
    """

    file: Path
    scan: int
    name: str


def places_in(file: Path) -> list[CloudPlace]:
    """The clouds of a file.

    Raises:
        InputError: as of `formats.format_of`, or the file is damaged.
    """
    count, stem = count_clouds(file), stem_of(file)
    names = [stem] if count == 1 else [f"{stem}_{scan}" for scan in range(count)]
    return [CloudPlace(file, scan, name) for scan, name in enumerate(names)]


class CloudFolder:
    """The clouds of a folder, by the times in their names or in natural order, and what lies beside
    them.

    Args:
        path: of the files, of KITTI's `velodyne`, or of the folder that holds it.

    Attributes:
        root: where `labels`, `times.txt`, `poses.txt`, `calib.txt` and images lie.

    Raises:
        InputError: no cloud file in it, or several clouds of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path.parent if path.name == VELODYNE else path
        files = cloud_files(path)
        if not files:
            raise InputError(f"{path}: no cloud file in it")
        places = [place for file in files for place in places_in(file)]
        self._of_names = _stamps_of([place.name for place in places])
        if self._of_names is not None:
            # Decimals are in no natural order: .5 is later than .25.
            places = [places[k] for k in np.argsort(self._of_names, kind="stable")]
            self._of_names.sort()
        self.places = places
        self.names = [place.name for place in places]
        if twice := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise InputError(
                f"{path}: several clouds are called {twice[0]}; put the files of each kind into a "
                "folder of their own"
            )

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def stamps_ns(self) -> list[int]:
        """The time of each cloud: of `times.txt`, of its name, or 0.1 s after the one before.

        Raises:
            InputError: a `times.txt` that doesn't fit.
        """
        times = kitti.read_times(self.root, self.names)
        if times is not None:
            stamps = [round(float(time) * 1e9) for time in times]
        else:
            stamps = self._of_names or [k * _PERIOD_NS for k in range(len(self))]
        shift = _START_NS if min(stamps) < _START_NS else 0
        return [stamp + shift for stamp in stamps]

    @property
    def _has_times(self) -> bool:
        return self._of_names is not None or (self.root / kitti.TIMES).is_file()

    @cached_property
    def poses(self) -> np.ndarray | None:
        """T_world_lidar [n, 4, 4], see `kitti.read_poses`."""
        return kitti.read_poses(self.root, self.names)

    @cached_property
    def cameras(self) -> list[kitti.Camera]:
        return kitti.read_cameras(self.root, self.names)

    def cloud(self, index: int) -> np.ndarray:
        """The points of a cloud: [N] structured, with its raw labels as `LABEL_FIELD` where there
        is a folder of them; NaN where the cloud has no file in it.

        Raises:
            InputError: a file that can't be read, or labels of another number of points.
        """
        place = self.places[index]
        points = read_clouds(place.file)[place.scan]
        if not self._labelled:
            return points
        raw = self._labels(place.name, len(points))
        kinds = [(n, points.dtype[n]) for n in points.dtype.names or () if n != LABEL_FIELD]
        labelled = np.empty(len(points), [*kinds, (LABEL_FIELD, raw.dtype)])
        for name, _ in kinds:
            labelled[name] = points[name]
        labelled[LABEL_FIELD] = raw
        return labelled

    def files(self) -> list[Path]:
        """All files that it is read from."""
        beside = [self.root / name for name in (kitti.TIMES, kitti.POSES, kitti.CALIBRATION)]
        labels = [self._label_file(name) for name in self.names if name in self._labelled]
        images = [file for camera in self.cameras for file in camera.images.values()]
        there = [file for file in (*beside, *labels) if file.is_file()]
        return [*dict.fromkeys(place.file for place in self.places), *there, *images]

    def findings(self) -> list[Finding]:
        """What there is to know of the files before they are read."""
        found = []
        if not self._has_times:
            found.append(
                Finding(
                    "clouds-without-times",
                    str(self.path),
                    "noted",
                    f"the times of the {len(self)} clouds are not known; they are taken to be 0.1 "
                    "s apart",
                    "times.txt beside them gives each one's time in s",
                )
            )
        labels = self.root / LABELS
        missing = [name for name in self.names if name not in self._labelled]
        if labels.is_dir() and missing:
            message = f"{len(missing)} of {len(self)} clouds have no label file: {missing[0]}.label"
            found.append(
                Finding(
                    "clouds-without-labels",
                    str(labels),
                    "noted" if self._labelled else "doubtful",
                    message if len(missing) == 1 else f"{message} and others",
                    "" if self._labelled else "prepare.label_folder reads other kinds and names",
                )
            )
        return found

    @cached_property
    def _labelled(self) -> set[str]:
        """The clouds that have a label file."""
        return {name for name in self.names if self._label_file(name).is_file()}

    def _label_file(self, name: str) -> Path:
        return self.root / LABELS / f"{name}.label"

    def _labels(self, name: str, points: int) -> np.ndarray:
        """Raw ids [N], uint16 without the instance; float32 NaN without a file."""
        file = self._label_file(name)
        if name not in self._labelled:
            return np.full(points, np.nan, np.float32)
        with reading(file):
            octets = file.read_bytes()
        if len(octets) != 4 * points:
            raise InputError(
                f"{file} has labels of {len(octets) / 4:g} points, the cloud {name} has {points}"
            )
        return (np.frombuffer(octets, "<u4") & 0xFFFF).astype(np.uint16)


def _stamps_of(names: list[str]) -> list[int] | None:
    """Times since the epoch in the names, in ns; None where a name has none, or two have one."""
    stamps = []
    for name in names:
        found = list(_TIME.finditer(name))
        if not found:
            return None
        seconds, decimals, whole = found[-1].groups()
        if seconds is not None:
            stamps.append(int(seconds) * 10**9 + int(decimals.ljust(9, "0")))
        else:
            stamps.append(int(whole) * _EPOCH_NS[len(whole)])
    return stamps if len(set(stamps)) == len(stamps) else None
