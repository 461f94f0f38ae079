"""What lies beside the clouds of KITTI's odometry layout: times, poses, calibration, images.

A. Geiger et al., Vision meets Robotics: The KITTI Dataset, 2013; the poses of SemanticKITTI are in
the same form. `poses.txt` has a line for each frame, T_world_camera0 [3, 4]; `calib.txt` has `Tr`,
T_camera0_lidar [3, 4], and `P2`, the projection [3, 4] of camera 0's frame to the pixels of
`image_2`, which is rectified; so has `P3` for `image_3`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import shown
from haskd_training.recordings.image_header import header_of
from haskd_training.recordings.reading import reading

TIMES, POSES, CALIBRATION = "times.txt", "poses.txt", "calib.txt"
IMAGE_FOLDERS = {"image_2": "P2", "image_3": "P3"}
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Camera:
    """A camera of rectified images.

    Attributes:
        name: of its folder.
        K: [3, 3], px.
        T_camera_lidar: [4, 4].
        images: its files by the name of the cloud that they belong to.
        width, height: px.
    """

    name: str
    K: np.ndarray
    T_camera_lidar: np.ndarray
    images: dict[str, Path]
    width: int
    height: int


def read_times(root: Path, stems: Sequence[str]) -> np.ndarray | None:
    """The time of each cloud [n] in s, of `times.txt`; None without one.

    Raises:
        InputError: a file without numbers, or with another count of them.
    """
    table = _table(root / TIMES, 1, stems)
    return None if table is None else table[:, 0]


def read_poses(root: Path, stems: Sequence[str]) -> np.ndarray | None:
    """T_world_lidar of each cloud [n, 4, 4], of `poses.txt`; None without one. The world is the
    first pose's LiDAR frame.

    Without `Tr` in `calib.txt`, the poses are those of the LiDAR itself.

    Raises:
        InputError: as of `read_times`.
    """
    table = _table(root / POSES, 12, stems)
    if table is None:
        return None
    poses = _transform(table)
    T_camera_lidar = read_calibration(root).get("Tr")
    if T_camera_lidar is None:
        return poses
    to_camera = _transform(T_camera_lidar[None])[0]
    return np.asarray(np.linalg.inv(to_camera) @ poses @ to_camera)


def read_cameras(root: Path, stems: Sequence[str]) -> list[Camera]:
    """The cameras whose images and calibration are there.

    Raises:
        InputError: a calibration without numbers, or an image that can't be read.
    """
    calibration = read_calibration(root)
    cameras: list[Camera] = []
    if "Tr" not in calibration:
        return cameras
    T_camera0_lidar = _transform(calibration["Tr"][None])[0]
    for name, key in IMAGE_FOLDERS.items():
        if not (root / name).is_dir() or key not in calibration:
            continue
        files = {
            file.stem: file
            for file in (root / name).iterdir()
            if file.suffix.lower() in _IMAGE_SUFFIXES and file.is_file()
        }
        images = {stem: files[stem] for stem in stems if stem in files}
        if not images:
            continue
        P = calibration[key].reshape(3, 4)
        # P = K [I | t]: the camera stands beside camera 0, turned as it is.
        shift = np.eye(4)
        try:
            shift[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
        except np.linalg.LinAlgError as error:
            raise InputError(f"{root / CALIBRATION}: {key} is no projection ({error})") from error
        # All are of one size; a broken one is left out where it is read.
        size = next(filter(None, map(_size_of, images.values())), None)
        if size is None:
            raise InputError(f"{root / name}: none of its {len(images)} images can be read")
        cameras.append(Camera(name, P[:, :3], shift @ T_camera0_lidar, images, *size))
    return cameras


def _size_of(file: Path) -> tuple[int, int] | None:
    """Width and height in px; None of a file that is no image."""
    with reading(file):
        header = header_of(file.read_bytes())
    return None if header is None else (header.width, header.height)


def _table(path: Path, columns: int, stems: Sequence[str]) -> np.ndarray | None:
    """The line [n, columns] of each cloud: by its number where clouds are named by frame numbers,
    else in their order."""
    if not path.is_file():
        return None
    with reading(path):
        try:
            rows = np.loadtxt(path, np.float64, ndmin=2)
        except ValueError as error:
            raise InputError(f"{path} is no table of numbers: {shown(error)[:200]}") from error
    if rows.shape[1] != columns or not np.isfinite(rows).all():
        raise InputError(f"{path}: {columns} finite numbers a line expected, found {rows.shape[1]}")
    numbers = [int(stem) for stem in stems if stem.isdecimal()]
    if len(numbers) == len(stems) and max(numbers) < len(rows):
        return np.asarray(rows[numbers])
    if len(rows) != len(stems):
        raise InputError(f"{path} has {len(rows)} lines, there are {len(stems)} clouds")
    return rows


def read_calibration(root: Path) -> dict[str, np.ndarray]:
    """The lines `name: 12 numbers` of `calib.txt`, [12] each; none without the file.

    Raises:
        InputError: it can't be read.
    """
    path = root / CALIBRATION
    found: dict[str, np.ndarray] = {}
    if not path.is_file():
        return found
    with reading(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        name, colon, numbers = line.partition(":")
        if not colon:
            continue
        try:
            values = np.array([float(word) for word in numbers.split()])
        except ValueError:
            continue
        if len(values) == 12:
            found[name.strip()] = values
    return found


def _transform(rows: np.ndarray) -> np.ndarray:
    """[n, 12] -> [n, 4, 4]."""
    transforms = np.tile(np.eye(4), (len(rows), 1, 1))
    transforms[:, :3] = rows.reshape(-1, 3, 4)
    return transforms
