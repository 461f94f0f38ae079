"""PandaSet: 103 drives of 8 s through San Francisco and Silicon Valley, 76 of them with a class for
every point.

P. Xiao et al., PandaSet: Advanced Sensor Suite Dataset for Autonomous Driving, 2021.

ROOT/NNN/lidar/NN.pkl.gz                  a table of pandas: x y z in the world, i, t, and d: 0 for
                                          the Pandar64, 1 for the PandarGT
ROOT/NNN/lidar/{poses,timestamps}.json    of the vehicle in the world: x to the right, y forward
ROOT/NNN/camera/NAME/NN.jpg, {intrinsics,poses,timestamps}.json     of the camera in the world
ROOT/NNN/annotations/semseg/NN.pkl.gz     a table: class, a row for each of the sweep's
ROOT/NNN/meta/gps.json                    where it is
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from haskd_ros.errors import InputError
from haskd_training.data.readers.interface import (
    DatasetReader,
    Drive,
    EncodedImage,
    Frame,
    FrameImage,
    FramePoints,
    PublishedSplit,
    Shortfalls,
)
from haskd_training.data.readers.pandaset import files
from haskd_training.data.readers.pandaset.pickled_table import read_table
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.reading import reading
from haskd_training.recordings.transform_tree import invert

_LABELLED = (
    1, 2, 3, 5, 11, 13, 15, 16, 17, 19, 21, 23, 24, 27, 28, 29, 30, 32, 33, 34, 35, 37, 38, 39, 40,
    41, 42, 43, 44, 46, 52, 53, 54, 56, 57, 58, 64, 65, 66, 67, 69, 70, 71, 72, 73, 77, 78, 80, 84,
    88, 89, 90, 94, 95, 97, 98, 101, 102, 103, 105, 106, 109, 110, 112, 113, 115, 116, 117, 119,
    120, 122, 123, 124, 139, 149, 158,
)  # fmt: skip
_UNLABELLED = (
    4, 6, 8, 12, 14, 18, 20, 45, 47, 48, 50, 51, 55, 59, 62, 63, 68, 74, 79, 85, 86, 91, 92, 93, 99,
    100, 104,
)  # fmt: skip
_SWEEPS = 80
"""Of each sequence."""

LABELLED = tuple(f"{number:03d}" for number in _LABELLED)
ALL = tuple(f"{number:03d}" for number in sorted(_LABELLED + _UNLABELLED))
_SPLITS = {"train": 49, "val": 27, "all": len(ALL)}

_NORTH_OF = 37.6
"""Latitude in degrees: train is San Francisco, val lies in Silicon Valley."""

_PANDAR64 = 0

_IMAGE_SIZE = (1920, 1080)

_TILT = 0.0157
_T_VEHICLE_LIDAR = np.array(
    [
        [0, -1, 0, 0],
        [np.cos(_TILT), 0, -np.sin(_TILT), 0.780],
        [np.sin(_TILT), 0, np.cos(_TILT), 1.859],
        [0, 0, 0, 1],
    ]
)
"""The Pandar64, x forward, in the frame of the published poses, whose origin is near the ground.

Fitted on sequence 002: about this place the rings' angles of elevation are sharpest. What follows
from the static calibration that comes with the development kit is 3 cm away."""


def names(root: Path, split: str | None) -> Sequence[str]:
    """Of sequences. train and val are those of ScaLR (valeoai), by where each was driven."""
    if split is None or split == "all":
        return ALL
    missing = Shortfalls()
    absent = [name for name in LABELLED if not (root / name / files.GPS).is_file()]
    missing.add_files(f"{files.GPS}, which says to which split a sequence belongs, lacks", absent)
    missing.check(root, files.EXPECTED)
    north = {name for name in LABELLED if files.read_latitude(root / name / files.GPS) > _NORTH_OF}
    if len(north) != _SPLITS["train"]:
        raise InputError(
            f"{root}: by {files.GPS} {len(north)} of the sequences with labels lie north of "
            f"{_NORTH_OF} degrees, {_SPLITS['train']} expected: a file belongs to another sequence"
        )
    return tuple(name for name in LABELLED if (name in north) == (split == "train"))


def open_drives(root: Path, names: Sequence[str]) -> list[Drive]:
    """Sequences that are whole; looks at the names and sizes of all their files.

    Raises:
        InputError: what is missing or of a wrong size, all of it.
    """
    missing = Shortfalls()
    for name in names:
        files.check(root / name, name in LABELLED, _SWEEPS, missing)
    missing.check(root, files.EXPECTED)
    return [_drive(root / name, name in LABELLED) for name in names]


@dataclass(frozen=True)
class _Camera:
    """Of N images: times [N] in s, T_world_camera [N, 4, 4], files by number; and T_camera_lidar
    [4, 4]."""

    name: str
    model: CameraModel
    times: np.ndarray
    poses: np.ndarray
    images: dict[str, Path]
    T_camera_lidar: np.ndarray


def _drive(folder: Path, labelled: bool) -> Drive:
    # Numbers that can't be read are told before the work starts.
    times = files.read_times(folder / files.LIDAR / files.TIMES)
    poses = files.read_poses(folder / files.LIDAR / files.POSES) @ _T_VEHICLE_LIDAR
    cameras = [_camera(folder / name, times, poses) for name in files.cameras(folder)]
    sweeps = files.tables(folder / files.LIDAR)
    labels = files.tables(folder / files.LABELS) if labelled else {}
    images = [image for camera in cameras for image in camera.images.values()]
    texts = [folder / files.LIDAR / text for text in (files.TIMES, files.POSES)]
    for name in files.cameras(folder):
        texts += [folder / name / text for text in (files.TIMES, files.POSES, files.INTRINSICS)]
    return Drive(
        name=folder.name,
        labelled=labelled,
        frames=len(sweeps),
        images=len(images),
        files=(*texts, *sweeps.values(), *labels.values(), *images),
        iterate=partial(_frames, sweeps, labels, times, poses, cameras),
    )


def _camera(folder: Path, lidar_times: np.ndarray, lidar_poses: np.ndarray) -> _Camera:
    times = files.read_times(folder / files.TIMES)
    poses = files.read_poses(folder / files.POSES)
    K = files.read_intrinsics(folder / files.INTRINSICS)
    middle = len(times) // 2
    return _Camera(
        folder.name,
        CameraModel(K, "plumb_bob", np.zeros(5), *_IMAGE_SIZE),  # the images are rectified
        times,
        poses,
        files.images(folder),
        invert(poses[middle]) @ _pose_at(float(times[middle]), lidar_times, lidar_poses),
    )


def _pose_at(time: float, times: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """[4, 4] between poses [N, 4, 4] at increasing times [N]; outside of them the nearest."""
    pose: np.ndarray = poses[0].copy()
    if len(times) > 1:
        inside = float(np.clip(time, times[0], times[-1]))
        pose[:3, :3] = Slerp(times, Rotation.from_matrix(poses[:, :3, :3]))(inside).as_matrix()
        pose[:3, 3] = [np.interp(inside, times, poses[:, axis, 3]) for axis in range(3)]
    return pose


def _frames(
    sweeps: dict[str, Path],
    labels: dict[str, Path],
    times: np.ndarray,
    poses: np.ndarray,
    cameras: Sequence[_Camera],
) -> Iterator[Frame]:
    for number, stem in enumerate(sweeps):
        images = tuple(
            FrameImage(
                camera=camera.name,
                stamp_ns=_ns(camera.times[number]),
                model=camera.model,
                T_camera_lidar=camera.T_camera_lidar,
                T_world_camera=camera.poses[number],
                read=partial(_read_image, camera.images[stem]),
            )
            for camera in cameras
        )
        table, label_table = sweeps[stem], labels.get(stem)
        yield Frame(
            name=stem,
            stamp_ns=_ns(times[number]),
            T_world_lidar=poses[number],
            images=images,
            points=partial(_read_points, table, poses[number]),
            raw_labels=None if label_table is None else partial(_read_labels, table, label_table),
        )


def _ns(seconds: float) -> int:
    return round(float(seconds) * 1e9)


def _read_points(file: Path, T_world_lidar: np.ndarray) -> FramePoints:
    table = read_table(file, ("x", "y", "z", "i", "d"))
    rows = table["d"] == _PANDAR64
    world = np.stack([table[axis][rows] for axis in "xyz"], 1).astype(np.float64)
    # The world's coordinates are too large for float32.
    xyz = (world - T_world_lidar[:3, 3]) @ T_world_lidar[:3, :3]
    return FramePoints(np.column_stack([xyz, table["i"][rows]]).astype(np.float32))


def _read_labels(file: Path, label_file: Path) -> np.ndarray:
    classes = read_table(label_file, ("class",))["class"]
    rows = read_table(file, ("d",))["d"] == _PANDAR64
    if len(classes) != len(rows):
        raise InputError(
            f"{label_file} has labels for {len(classes)} points, {file} has {len(rows)}"
        )
    own: np.ndarray = classes[rows]
    return own


def _read_image(file: Path) -> EncodedImage:
    with reading(file):
        return EncodedImage(file.read_bytes(), "jpeg")


READER = DatasetReader(
    name="pandaset",
    title="PandaSet",
    splits={name: PublishedSplit(drives, drives * _SWEEPS) for name, drives in _SPLITS.items()},
    label_map=Path(__file__).with_name("classes.yaml"),
    intensity_scale=255.0,
    names=names,
    open_drives=open_drives,
    sweeps=dict.fromkeys(ALL, _SWEEPS),
)
