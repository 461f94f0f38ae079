"""What a reader of a public data set gives, sweep by sweep.

Making the tables reads no sweep and no image: of both there is what reads them, so that a data set
of any size is prepared in little memory, and an interrupted run passes over what it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.channels import CHANNELS, ChannelName
from haskd_ros.errors import InputError
from haskd_ros.taxonomy import LabelMap
from haskd_ros.text import listed
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.findings import Finding

_EXAMPLES = 3
"""Names of missing files that a line shows."""

NO_LABEL = -(2**40)
"""Raw id of a point that has none, where others of its sweep have one; no label map can name it."""


@dataclass(frozen=True)
class EncodedImage:
    """An image file: its bytes, and its format as a CompressedImage names it (png, jpeg)."""

    data: bytes
    format: str


@dataclass(frozen=True)
class FrameImage:
    """An image that belongs to a sweep.

    Attributes:
        T_camera_lidar: [4, 4], neglecting the vehicle's motion between sweep and image.
        T_world_camera: [4, 4] at the image's own stamp; None where the motion isn't known.
        read: reads its file; raises InputError.
    """

    camera: str
    stamp_ns: int
    model: CameraModel
    T_camera_lidar: np.ndarray
    T_world_camera: np.ndarray | None
    read: Callable[[], EncodedImage]


@dataclass(frozen=True)
class FramePoints:
    """The N points of a sweep or scene.

    Attributes:
        xyz_intensity: [N, 4] float32, x y z in m in the sensor's frame, z upwards, and intensity
            in the data set's unit; 0 for one that has none.
        channels: what else the data set says of every point, by name: [N] or [N, D], in the unit
            of that channel (`rgb`: [N, 3] uint8).
    """

    xyz_intensity: np.ndarray
    channels: Mapping[ChannelName, np.ndarray] = field(default_factory=dict)

    def columns(self) -> dict[ChannelName, np.ndarray]:
        """The channels, [N, D] each."""
        return {
            name: values.reshape(-1, CHANNELS[name].width) for name, values in self.channels.items()
        }


@dataclass(frozen=True)
class Frame:
    """A LiDAR sweep, or a scene that was put together of many, of N points with what belongs to it.

    Attributes:
        name: of the sweep in its drive, as the data set's files are named.
        T_world_lidar: [4, 4] at the stamp; None where the motion isn't known.
        images: those that are new with this sweep; gone through once.
        points: reads them; raises InputError, or Unusable where the sweep is to be left out.
        raw_labels: reads [N] raw class ids of any integer type, without instances, `NO_LABEL` for
            points without one; raises InputError. None: the sweep has no labels.
    """

    name: str
    stamp_ns: int
    T_world_lidar: np.ndarray | None
    images: Iterable[FrameImage]
    points: Callable[[], FramePoints]
    raw_labels: Callable[[], np.ndarray] | None


@dataclass(frozen=True)
class Drive:
    """A drive of a data set: a sequence, scene or segment, whole and checked.

    Attributes:
        frames, images: how many sweeps and images it has.
        files: that it is read from.
        iterate: gives its sweeps in time order, each made when it is asked for.
        findings: what its owner should know of its files.
    """

    name: str
    labelled: bool
    frames: int
    images: int
    files: tuple[Path, ...]
    iterate: Callable[[], Iterator[Frame]]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class PublishedSplit:
    """How large a split is, as published: number of drives, and of the sweeps that are labelled or,
    in a split without labels, to be predicted. digest: `names_digest` of its drives; None: their
    number and sweeps tell them."""

    drives: int
    sweeps: int
    digest: str | None = None


def names_digest(names: Iterable[str]) -> str:
    """What stands for names of drives, in any order: where there are hundreds of them, no reader
    holds those of a split."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Rule:
    """How a benchmark counts.

    Attributes:
        split: whose labelled sweeps count, all of them.
        text: what is counted, in one sentence.
        absent_iou: IoU, for the mean, of a class that is neither there nor predicted; NaN: it is
            left out of the mean.
        unlabelled: name of the class that a point without a prediction counts as; None: it counts
            against its own class alone.
    """

    split: str
    text: str
    absent_iou: float
    unlabelled: str | None = None


@dataclass(frozen=True)
class Submission:
    """How a benchmark takes predictions: a file for each sweep.

    Attributes:
        file: its path in the folder, with {drive}, {frame} and {split}.
        kind: numpy's type of the ids, written one after another; None: text, a line for each point.
        unlabelled: the id of a point without a prediction.
        ids: of the classes, in the label map's order; None: the first of each class there.
        beside: further files that belong to it, their text by their path with {split}. Of one in
            JSON the values may be changed, not its form.
    """

    file: str
    kind: str | None
    unlabelled: int
    ids: tuple[int, ...] | None = None
    beside: Mapping[str, str] = field(default_factory=dict)

    def name(self, drive: str, frame: str, split: str | None) -> str:
        """The path of a sweep's file."""
        return self.file.format(drive=drive, frame=frame, split=split)

    def files_beside(self, split: str | None) -> dict[str, str]:
        """`beside` of a split."""
        return {name.format(split=split): text for name, text in self.beside.items()}


@dataclass(frozen=True)
class ReaderSettings:
    """Settings of a reader.

    Attributes:
        model: pydantic's, of `prepare`'s settings with this reader: `CacheConfig` and its own.
        reader: makes a reader that goes by them.
    """

    model: type[Any]
    reader: Callable[[Any], DatasetReader]


@dataclass(frozen=True)
class DatasetReader:
    """A data set's layout and definitions.

    Attributes:
        title: the data set's own name.
        splits: their sizes by name; none where nothing is published: all there is is read.
        label_map: file of its own classes, see `LabelMap.load`.
        intensity_scale: intensity of a full return; None: the data set has no intensity.
        names: (root, split, or None for all that there are) -> names of drives, as published or, of
            a data set whose lists come with the download, as those have it; raises InputError.
        open_drives: (root, names of drives) -> these drives. Looks at names and sizes of all files
            first; raises one InputError with all that is missing or of a wrong size.
        sweeps: how many each drive has, where that is published.
        rule: of its benchmark; None: it has none.
        submission: how its benchmark takes predictions; None: it takes none, or none in such files.
        settings: its own; None: it has none.
    """

    name: str
    title: str
    splits: Mapping[str, PublishedSplit]
    label_map: Path
    intensity_scale: float | None
    names: Callable[[Path, str | None], Sequence[str]]
    open_drives: Callable[[Path, Sequence[str]], list[Drive]]
    sweeps: Mapping[str, int] = field(default_factory=dict)
    rule: Rule | None = None
    submission: Submission | None = None
    settings: ReaderSettings | None = None

    def load_label_map(self) -> LabelMap:
        """The classes by their published names and ids."""
        return LabelMap.load(self.label_map)

    def choose(
        self, root: Path, split: str | None, drives: Sequence[str] | None
    ) -> tuple[str, ...]:
        """Names of drives: a split's, or those of them that are named; without a split, those that
        are named, or all of a data set that has no splits.

        Raises:
            InputError: neither is given, or one that there is not.
        """
        if split is None and drives is None and self.splits:
            raise InputError(
                f"{self.title}: --split says which part is meant: {listed(self.splits)}; or "
                "--sequences names drives"
            )
        if split is not None and split not in self.splits:
            raise InputError(f"{self.title} has no split {split!r}; it has {listed(self.splits)}")
        there = tuple(self.names(root, split))
        if drives is None:
            return there
        if unknown := [name for name in drives if name not in there]:
            where = self.title if split is None else f"the split {split} of {self.title}"
            raise InputError(f"{listed(unknown)} not in {where}: it has {listed(there)}")
        return tuple(name for name in there if name in drives)


class Shortfalls:
    """What a download lacks, collected to be told in one error."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        self._lines.append(line)

    def add_files(self, what: str, names: Sequence[str]) -> None:
        """Add a line that counts files and names the first of them; nothing without any."""
        if names:
            more = len(names) - _EXAMPLES
            ending = f" and {more} more" if more > 0 else ""
            self.add(f"{what}: {', '.join(names[:_EXAMPLES])}{ending}")

    def check(self, root: Path, expected: str) -> None:
        """
        Args:
            expected: the layout that there should be.

        Raises:
            InputError: something was added.
        """
        if self._lines:
            raise InputError(
                f"{root} is not whole: {'; '.join(self._lines)}. Expected is {expected}"
            )
