"""Waymo Open Dataset, perception, version 2: segments of 20 s, some of whose sweeps have a class
for every point of the TOP LiDAR.

P. Sun et al., Scalability in Perception for Autonomous Driving: Waymo Open Dataset, 2020.

ROOT/{training,validation,testing}/COMPONENT/SEGMENT.parquet with the components
lidar, lidar_pose, lidar_segmentation     a row for each frame and LiDAR
lidar_calibration, camera_calibration     a row for each sensor
vehicle_pose                              a row for each frame
camera_image                              a row for each frame and camera
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from haskd_ros.documents import read_text
from haskd_ros.errors import InputError
from haskd_training.data.readers.interface import (
    DatasetReader,
    Drive,
    PublishedSplit,
    Rule,
    Shortfalls,
)
from haskd_training.data.readers.waymo.parquet_rows import is_whole
from haskd_training.data.readers.waymo.segment import (
    CAMERA_CALIBRATION,
    IMAGES,
    LABELS,
    LIDAR,
    LIDAR_CALIBRATION,
    PIXEL_POSES,
    VEHICLE_POSES,
    Segment,
)

_FOLDERS = {"train": "training", "val": "validation", "test": "testing"}

_ALWAYS = (LIDAR, PIXEL_POSES, LIDAR_CALIBRATION, VEHICLE_POSES)

TEST_FRAMES = "3d_semseg_test_set_frames.txt"
"""Of the development kit: the frames of the test split that the benchmark asks for."""

_EXPECTED = (
    "training, validation and testing, each with lidar, lidar_pose, lidar_calibration, "
    "vehicle_pose, lidar_segmentation (but for testing) and, where there are images, camera_image "
    "and camera_calibration, and in each of these SEGMENT.parquet; beside them, for testing, the "
    f"development kit's {TEST_FRAMES}"
)


def names(root: Path, split: str | None) -> Sequence[str]:
    """Of the segments that the download has any file of."""
    folders = _FOLDERS.values() if split is None else [_FOLDERS[split]]
    parts = [root / folder / part for folder in folders for part in (*_ALWAYS, LABELS)]
    found = {file.stem for part in parts for file in part.glob("*.parquet")}
    if not found:
        raise InputError(f"{root} has no segments. Expected is {_EXPECTED}")
    return tuple(sorted(found))


def open_drives(root: Path, names: Sequence[str]) -> list[Drive]:
    """Segments that are whole; looks at the names, sizes and ends of all their files.

    Raises:
        InputError: what is missing or cut off, all of it.
    """
    files = {name: _files(root, name) for name in names}
    missing = Shortfalls()
    by_folder: dict[Path, list[Path]] = {}
    for each in files.values():
        for file in each.values():
            by_folder.setdefault(file.parent, []).append(file)
    for folder, expected in by_folder.items():
        what = f"{folder.parent.name}/{folder.name}"
        absent = [file.name for file in expected if not file.is_file()]
        missing.add_files(f"{what} lacks {len(absent)} of {len(expected)}", absent)
        cut_off = [file.name for file in expected if file.is_file() and not is_whole(file)]
        missing.add_files(f"{what}: cut off", cut_off)
    unlabelled = any(LABELS not in each for each in files.values())
    if unlabelled and not (root / TEST_FRAMES).is_file():
        missing.add(f"{TEST_FRAMES}, which says what frames of testing count, is missing")
    missing.check(root, _EXPECTED)
    asked = _test_frames(root / TEST_FRAMES) if unlabelled else {}
    return [_drive(name, files[name], asked.get(name, ())) for name in names]


def _files(root: Path, name: str) -> dict[str, Path]:
    """The files that a segment should have, by component, in the split that has most of them."""

    def there(folder: str) -> int:
        return sum((root / folder / c / f"{name}.parquet").is_file() for c in (*_ALWAYS, LABELS))

    folder = max(_FOLDERS.values(), key=there)
    components = [*_ALWAYS]
    if folder != _FOLDERS["test"]:
        components.append(LABELS)
    if (root / folder / IMAGES).is_dir():
        components += [IMAGES, CAMERA_CALIBRATION]
    return {c: root / folder / c / f"{name}.parquet" for c in components}


def _test_frames(file: Path) -> dict[str, list[int]]:
    """Times of the frames of each segment, us."""
    asked: dict[str, list[int]] = {}
    for number, line in enumerate(read_text(file, str(file)).splitlines(), 1):
        name, _, time = line.partition(",")
        if not time.strip().isdecimal():
            raise InputError(f"{file}, line {number}: wanted is a segment, a comma, and a time")
        asked.setdefault(name.strip(), []).append(int(time))
    return asked


def _drive(name: str, files: Mapping[str, Path], asked: Sequence[int]) -> Drive:
    segment = Segment.open(files, asked)
    return Drive(
        name=name,
        labelled=LABELS in files,
        frames=len(segment.times),
        images=len(segment.rows.get(IMAGES, {})),
        files=tuple(files.values()),
        iterate=segment.frames,
    )


READER = DatasetReader(
    name="waymo",
    title="Waymo Open Dataset",
    splits={
        "train": PublishedSplit(798, 23_691),
        "val": PublishedSplit(202, 5_976),
        "test": PublishedSplit(150, 2_982),
    },
    label_map=Path(__file__).with_name("classes.yaml"),
    intensity_scale=1.0,
    names=names,
    open_drives=open_drives,
    rule=Rule(
        split="val",
        text="mean IoU over the 22 classes, of all points of the TOP LiDAR's two returns that have "
        "one of them, in the labelled sweeps; a point without a prediction is missed, and a class "
        "that is neither there nor predicted counts as 1",
        absent_iou=1.0,
    ),
)
