"""What a reader of a public data set gives, sweep by sweep.

Making the tables reads no sweep and no image: of both there is what reads them, so that a data set
of any size is prepared in little memory, and an interrupted run passes over what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import LabelMap
from haskd_ros.text import listed
from haskd_training.recordings.camera_model import CameraModel

_EXAMPLES = 3
"""Names of missing files that a line shows."""


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
class Frame:
    """A LiDAR sweep of N points with what belongs to it.

    Attributes:
        name: of the sweep in its drive, as the data set's files are named.
        T_world_lidar: [4, 4] at the stamp; None where the motion isn't known.
        images: those that are new with this sweep.
        points: reads [N, 4] float32, x y z in m in the sensor's frame and intensity; raises
            InputError.
        raw_labels: reads [N] raw class ids of any integer type, without instances; raises
            InputError. None: the sweep has no labels.
    """

    name: str
    stamp_ns: int
    T_world_lidar: np.ndarray | None
    images: tuple[FrameImage, ...]
    points: Callable[[], np.ndarray]
    raw_labels: Callable[[], np.ndarray] | None


@dataclass(frozen=True)
class Drive:
    """A drive of a data set: a sequence, scene or segment, whole and checked.

    Attributes:
        frames, images: how many sweeps and images it has.
        files: that it is read from.
        iterate: gives its sweeps in time order, each made when it is asked for.
    """

    name: str
    labelled: bool
    frames: int
    images: int
    files: tuple[Path, ...]
    iterate: Callable[[], Iterator[Frame]]


@dataclass(frozen=True)
class Submission:
    """How a benchmark takes predictions: a file for each sweep.

    Attributes:
        file: its path in the folder, with {drive} and {frame}.
        kind: numpy's type of the id that each point has: the first of its class in the label map.
        unlabelled: the id of a point without a prediction.
    """

    file: str
    kind: str
    unlabelled: int


@dataclass(frozen=True)
class DatasetReader:
    """A data set's layout and definitions.

    Attributes:
        title: the data set's own name.
        splits: drives by split, as published.
        sweeps: how many each drive has, as published.
        label_map: file of its own classes, see `LabelMap.load`.
        intensity_scale: intensity of a full return; None: the data set has no intensity.
        open_drives: (root, names of drives) -> these drives. Looks at names and sizes of all files
            first; raises one InputError with all that is missing or of a wrong size.
        submission: how its benchmark takes predictions.
    """

    name: str
    title: str
    splits: Mapping[str, tuple[str, ...]]
    sweeps: Mapping[str, int]
    label_map: Path
    intensity_scale: float | None
    open_drives: Callable[[Path, Sequence[str]], list[Drive]]
    submission: Submission

    def load_label_map(self) -> LabelMap:
        """The classes by their published names and ids."""
        return LabelMap.load(self.label_map)

    def choose(self, split: str | None, drives: Sequence[str] | None) -> tuple[str, ...]:
        """Names of drives: a split's, or those of them that are named; without a split, those that
        are named.

        Raises:
            InputError: neither is given, or one that there is not.
        """
        if split is None and drives is None:
            raise InputError(
                f"{self.title}: --split says which part is meant: {listed(self.splits)}; or "
                "--sequences names drives"
            )
        if split is not None and split not in self.splits:
            raise InputError(f"{self.title} has no split {split!r}; it has {listed(self.splits)}")
        there = tuple(self.sweeps) if split is None else self.splits[split]
        if drives is None:
            return there
        if unknown := [name for name in drives if name not in there]:
            where = self.title if split is None else f"the split {split} of {self.title}"
            raise InputError(f"{listed(unknown)} not in {where}: it has {listed(there)}")
        return tuple(name for name in there if name in drives)

    def published_sweeps(self, drives: Sequence[str]) -> int:
        """How many sweeps these drives have, as published."""
        return sum(self.sweeps[name] for name in drives)


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
