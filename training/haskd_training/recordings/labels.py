"""Labels of a sweep: a field of the cloud, a folder of label files, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from haskd_ros.clouds.pointcloud import read_points, read_xyz_intensity, valid_returns
from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED, LabelMap
from haskd_ros.text import shown
from haskd_training.recordings.cloud_files.folder import CloudFolder
from haskd_training.recordings.cloud_files.formats import is_cloud_folder
from haskd_training.recordings.findings import Finding, Outcome
from haskd_training.recordings.label_files import PANOPTIC, label_files, read_label_file
from haskd_training.recordings.label_ids import ClassIds, class_ids
from haskd_training.recordings.label_names import CloudTime, Matching, match, name_number
from haskd_training.recordings.readers.bag import Unusable, open_bag, stamp_ns

LABEL_MAPS = Path(__file__).with_name("label_maps")

DEFAULT_FIELD = "label"

CloudTimes = Callable[[], Sequence[CloudTime]]
"""Gives the times of a recording's clouds, in its order; called where label files have to be
matched with them."""


def label_map_path(name: str | Path) -> Path:
    """The file of a label map, by its path or by the name of one that ships with the package.

    Raises:
        InputError: neither is there.
    """
    path = Path(name)
    if _is_shipped(name):
        path = _shipped(name)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in LABEL_MAPS.glob("*.yaml")))
        raise InputError(f"label map {name} does not exist; those that ship are {names}")
    return path


def _shipped(name: str | Path) -> Path:
    return LABEL_MAPS / f"{name}.yaml"


def _is_shipped(name: str | Path) -> bool:
    return Path(name).name == str(name) and _shipped(name).is_file()


def load_label_map(name: str | Path) -> LabelMap:
    """A label map by its file, or by the name of one that ships with the package.

    Its `folder` is taken relative to the file.

    Raises:
        InputError: neither is there, or as `LabelMap.load`.
    """
    path = label_map_path(name)
    label_map = LabelMap.load(path)
    if _is_shipped(name):
        label_map = replace(label_map, origin=f"a copy of {path}, given as --labels COPY.yaml")
    if label_map.folder is None:
        return label_map
    return replace(label_map, folder=str(path.parent / label_map.folder))


def cloud_times(bag: Path, topic: str) -> list[CloudTime]:
    """The times of a topic's clouds, by a pass over the bag.

    Raises:
        InputError: as of `open_bag`.
    """
    if is_cloud_folder(bag):
        folder = CloudFolder(bag)
        times = zip(folder.stamps_ns, folder.names, strict=True)
        return sorted(CloudTime(stamp, stamp, name) for stamp, name in times)
    with open_bag(bag) as opened:
        return [
            CloudTime(stamp_ns(cloud), recorded_ns)
            for _, recorded_ns, cloud in opened.timed_messages([topic])
        ]


class _Notes:
    """What labels of several clouds had to be read by; they are read in several threads."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._lock = Lock()
        self._points: Counter[str] = Counter()
        self._example = (0, 0)
        self._of_returns: Counter[str] = Counter()
        self._wrong_size: list[tuple[int, str, int, int]] = []

    def add(self, found: ClassIds) -> None:
        with self._lock:
            self._points["nan"] += found.nan
            self._points["packed"] += found.packed
            if found.example is not None:
                self._example = found.example

    def add_file_of_returns(self) -> None:
        with self._lock:
            self._of_returns["files"] += 1

    def add_wrong_size(self, index: int, file: str, labels: int, points: int) -> None:
        with self._lock:
            self._wrong_size.append((index, file, labels, points))

    def findings(self) -> list[Finding]:
        """So far."""
        with self._lock:
            found = []
            if count := self._points["packed"]:
                full, own = self._example
                message = (
                    f"{count:,} raw ids that the label map does not name hold an instance as well; "
                    f"it is cut off, as of {full}, which is {own}"
                )
                found.append(Finding("labels-with-instances", self._subject, "repaired", message))
            if count := self._points["nan"]:
                message = f"{count:,} points whose label is NaN are not labelled"
                found.append(Finding("labels-of-nan", self._subject, "noted", message))
            if count := self._of_returns["files"]:
                message = (
                    f"{count} label files leave out the points that are no returns; they are "
                    "matched with the others in order"
                )
                found.append(Finding("labels-of-returns", self._subject, "repaired", message))
            if wrong := sorted(self._wrong_size):
                index, file, labels, points = wrong[0]
                message = (
                    f"{len(wrong)} label files are for another number of points: the first, "
                    f"{file}, holds {labels:,} labels, and cloud {index} has {points:,} points; "
                    "these clouds are left out"
                )
                found.append(Finding("labels-of-another-size", self._subject, "left out", message))
            return found


class FieldLabels:
    """Labels from a field of the cloud."""

    def __init__(self, label_map: LabelMap) -> None:
        self._map = label_map
        self._field = label_map.field or DEFAULT_FIELD
        self._notes = _Notes(f"label field {self._field!r}")

    def identity(self) -> list[str]:
        """What distinguishes this source of labels from another, beside what is in `files`."""
        return [self._field]

    def files(self) -> list[Path]:
        """That the labels are read from, beside the recording."""
        return []

    def findings(self) -> list[Finding]:
        """What the clouds that were read so far showed."""
        return self._notes.findings()

    def of(self, cloud: Any, index: int, stamp_ns: int) -> np.ndarray:
        """Class ids [N] uint8 of a cloud, in its order.

        Raises:
            InputError: the cloud lacks the field (the message lists those it has), the field
                holds several values a point, no whole numbers, or an id that the label map
                doesn't name.
        """
        present = [field.name for field in cloud.fields]
        if self._field not in present:
            raise InputError(
                f"the cloud has no label field {self._field!r}; its fields are {', '.join(present)}"
            )
        elements = [field.count for field in cloud.fields if field.name == self._field]
        if elements != [1]:
            raise InputError(
                f"label field {self._field!r} holds {sum(elements)} values a point, not one; "
                "name another field in the label map"
            )
        raw = read_points(cloud, [self._field])[self._field]
        try:
            found = class_ids(raw, self._map, lambda: ~_returns(cloud))
        except InputError as error:
            raise InputError(f"label field {self._field!r}: {error}") from error
        self._notes.add(found)
        return found.ids


class FolderLabels:
    """Labels from files, one for each cloud, see `read_label_file`; a file belongs to a cloud by
    its name, see `match`.

    Args:
        folder: of the files, or of folders with the recordings' names.
        recording: its name.
        clouds: of the recording.

    Raises:
        InputError: there is no folder, no label file in it, files of several kinds, or none that
            belongs to a cloud.
    """

    def __init__(
        self, label_map: LabelMap, folder: Path, recording: str, clouds: CloudTimes
    ) -> None:
        self._map = label_map
        self._folder = _own_folder(folder, recording)
        times = clouds()
        self._files, self._irregular = label_files(self._folder, {cloud.name for cloud in times})
        self._matching = _match(self._folder, self._files, recording, times)
        self._clouds = len(times)
        self._notes = _Notes(f"labels {self._folder}")

    @property
    def by_index(self) -> bool:
        """Whether the files are named by the clouds' indices."""
        return self._matching.by_index

    def identity(self) -> list[str]:
        return []

    def files(self) -> list[Path]:
        return list(self._files.values())

    def findings(self) -> list[Finding]:
        """How the files are named, what has no file or no cloud, and what the clouds that were read
        so far showed."""
        subject, naming = f"labels {self._folder}", self._matching.naming
        matched = self._matching.files
        message = f"{len(self._files)} files, named by {naming}, for {len(matched)} clouds"
        found = [Finding("label-files", subject, "noted", message)]
        if irregular := self._irregular:
            message = (
                f"{len(irregular)} with names of label files are folders, pipes, devices or links "
                f"that lead nowhere, the first is {shown(irregular[0])}"
            )
            found.append(Finding("labels-no-files", subject, "left out", message))
        if self._matching.ambiguous:
            message = f"the names may count from 0 or from 1; here {next(iter(matched.values()))} "
            message += f"is taken for cloud {next(iter(matched))}, counted from 0"
            remedy = "name the files by stamp to be sure"
            found.append(Finding("labels-by-unsure-index", subject, "doubtful", message, remedy))
        if without := [index for index in range(self._clouds) if index not in matched]:
            message = (
                f"{len(without)} of {self._clouds} clouds have no label file, the first is cloud "
                f"{without[0]}; they are not labelled"
            )
            found.append(Finding("clouds-without-labels", subject, "noted", message))
        if unused := sorted(self._files.keys() - set(matched.values())):
            message = (
                f"{len(unused)} of {len(self._files)} label files belong to no cloud of the "
                f"recording, the first is {unused[0]}"
            )
            # Named by stamp, a folder may serve several recordings.
            outcome: Outcome = "left out" if self.by_index else "noted"
            found.append(Finding("labels-without-cloud", subject, outcome, message))
        return found + self._notes.findings()

    def of(self, cloud: Any, index: int, stamp_ns: int) -> np.ndarray:
        """Class ids [N] uint8 of a cloud, in its order; one without a file is unlabelled.

        Raises:
            Unusable: a file for another number of points.
            InputError: a file that can't be read, or an id that the label map doesn't name.
        """
        name, points = self._matching.files.get(index), cloud.width * cloud.height
        if name is None:
            return _unlabelled(points)
        file = self._files[name]
        raw = read_label_file(file)
        kept = np.ones(points, bool) if len(raw) == points else _kept(cloud, len(raw))
        if kept is None:
            self._notes.add_wrong_size(index, name, len(raw), points)
            raise Unusable("label file is for another number of points")
        if len(raw) < points:
            self._notes.add_file_of_returns()
        try:
            found = class_ids(
                raw, self._map, lambda: ~_returns(cloud)[kept], file.suffix == PANOPTIC
            )
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        self._notes.add(found)
        labels = _unlabelled(points)
        labels[kept] = found.ids
        return labels


class NoLabelSource:
    """A recording without labels: every point is unlabelled."""

    def identity(self) -> list[str]:
        return []

    def files(self) -> list[Path]:
        return []

    def findings(self) -> list[Finding]:
        return []

    def of(self, cloud: Any, index: int, stamp_ns: int) -> np.ndarray:
        return _unlabelled(cloud.width * cloud.height)


def _unlabelled(points: int) -> np.ndarray:
    return np.full(points, UNLABELLED, np.uint8)


def _returns(cloud: Any) -> np.ndarray:
    return valid_returns(read_xyz_intensity(cloud)[0])


def _kept(cloud: Any, labels: int) -> np.ndarray | None:
    """The points [N] bool that a labelling tool kept, if it dropped those that are NaN, or all that
    are no returns; None where neither leaves that many."""
    points, _ = read_xyz_intensity(cloud)
    masks = (np.isfinite(points[:, :3]).all(1), valid_returns(points))
    return next((mask for mask in masks if mask.sum() == labels), None)


def _own_folder(folder: Path, recording: str) -> Path:
    """Several recordings have a folder each, named like the recording."""
    own = folder / recording
    return own if own.is_dir() else folder


def _match(
    folder: Path, files: Mapping[str, Path], recording: str, clouds: Sequence[CloudTime]
) -> Matching:
    of_cloud = {cloud.name: index for index, cloud in enumerate(clouds) if cloud.name}
    named = {of_cloud[file.stem]: name for name, file in files.items() if file.stem in of_cloud}
    if named:
        return Matching("name of the cloud's file", by_index=False, files=named)
    numbers = {name: name_number(file.stem) for name, file in files.items()}
    matching = match({name: number for name, number in numbers.items() if number}, clouds)
    if matching is None:
        stamps = f", of stamps {clouds[0].stamp_ns} to {clouds[-1].stamp_ns} ns" if clouds else ""
        raise InputError(
            f"label folder {folder}: none of its {len(files)} files, {min(files)} to {max(files)}, "
            f"belongs to one of the {len(clouds)} clouds of {recording}{stamps}; name them by the "
            "cloud's stamp (in ns, us, ms or s) or by its index, from 0 or 1"
        )
    return matching


def check_folders(label_map: LabelMap, recordings: Sequence[tuple[str, CloudTimes]]) -> None:
    """Check that every recording has its own labels: files named by index match any recording, so
    that several would read the labels of one of them.

    Args:
        recordings: name and clouds of each.

    Raises:
        InputError: several recordings would read such files from one folder.
    """
    if label_map.folder is None:
        return
    folder = Path(label_map.folder)
    label_folders = [_own_folder(folder, name) for name, _ in recordings]
    for (name, clouds), label_folder in zip(recordings, label_folders, strict=True):
        users = label_folders.count(label_folder)
        if users > 1 and FolderLabels(label_map, folder, name, clouds).by_index:
            raise InputError(
                f"{users} recordings would read their labels from {label_folder}, whose files are "
                "named by index and so belong to one recording; give each recording a "
                f"folder of its name, as {folder / name}, or name the files by stamp"
            )


LabelSource = FieldLabels | FolderLabels | NoLabelSource


def label_source(label_map: LabelMap | None, recording: str, clouds: CloudTimes) -> LabelSource:
    """Where the labels of a recording come from: the map's folder, else its field; no map, none.

    Args:
        recording: its name.
        clouds: of the recording; called for a folder alone.

    Raises:
        InputError: as of `FolderLabels`.
    """
    if label_map is None:
        return NoLabelSource()
    if label_map.folder is not None:
        return FolderLabels(label_map, Path(label_map.folder), recording, clouds)
    return FieldLabels(label_map)
