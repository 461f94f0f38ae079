"""The frames of one of Waymo's segments, from its Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import listed
from haskd_training.data.readers.interface import EncodedImage, Frame, FrameImage, FramePoints
from haskd_training.data.readers.waymo.parquet_rows import ParquetRows, read_columns
from haskd_training.data.readers.waymo.range_images import TopLidar, uniform_inclinations
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.transform_tree import invert

LIDAR, PIXEL_POSES, LABELS = "lidar", "lidar_pose", "lidar_segmentation"
LIDAR_CALIBRATION, VEHICLE_POSES = "lidar_calibration", "vehicle_pose"
IMAGES, CAMERA_CALIBRATION = "camera_image", "camera_calibration"

_SEGMENT = "key.segment_context_name"
_TIME, _LIDAR, _CAMERA = "key.frame_timestamp_micros", "key.laser_name", "key.camera_name"
_TOP, _TOP_ROWS = 1, 64
_CAMERAS = {1: "front", 2: "front_left", 3: "front_right", 4: "side_left", 5: "side_right"}

_RETURNS = ("range_image_return1", "range_image_return2")
_RANGE, _INTENSITY = 0, 1
_CLASS = 1

_T_CAMERA_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""Waymo's camera looks along its x, with z upwards."""


@dataclass(frozen=True)
class _Camera:
    name: str
    model: CameraModel
    T_vehicle_camera: np.ndarray


@dataclass(frozen=True)
class Segment:
    """What a segment's small files say, and where its frames stand in the large ones.

    Attributes:
        files: by component.
        times: of its frames, us.
        rows: numbers of rows by component, and there by time or, of images, time and camera.
        vehicle: T_world_vehicle [4, 4] by time.
    """

    files: Mapping[str, Path]
    times: Sequence[int]
    rows: Mapping[str, Mapping[Any, int]]
    vehicle: Mapping[int, np.ndarray]
    top: TopLidar
    cameras: Mapping[int, _Camera]

    @classmethod
    def open(cls, files: Mapping[str, Path], asked: Sequence[int]) -> Segment:
        """
        Args:
            asked: the times that are meant where there are no labels, which say it.

        Raises:
            InputError: a file can't be read, or lacks a frame.
        """
        large = [name for name in (LIDAR, PIXEL_POSES, LABELS) if name in files]
        rows: dict[str, Mapping[Any, int]] = {name: _rows_of_top(files[name]) for name in large}
        times = sorted(rows.get(LABELS, asked))
        vehicle = _vehicle_poses(files[VEHICLE_POSES])
        for name, there in {**rows, VEHICLE_POSES: vehicle}.items():
            if absent := [time for time in times if time not in there]:
                lacks = f"lacks {len(absent)} of {len(times)} frames"
                raise InputError(f"{files[name]} {lacks}: {listed(absent[:3])}")
        cameras = {}
        if IMAGES in files:
            cameras = _cameras(files[CAMERA_CALIBRATION])
            rows[IMAGES] = _rows_of_images(files[IMAGES], times, cameras)
        return cls(files, times, rows, vehicle, _top_lidar(files[LIDAR_CALIBRATION]), cameras)

    def frames(self) -> Iterator[Frame]:
        """Its frames in time order."""
        sweeps = _Sweeps(self)
        images = _Images(self) if IMAGES in self.rows else None
        for time in self.times:
            yield Frame(
                name=str(time),
                stamp_ns=time * 1000,
                T_world_lidar=self.vehicle[time] @ self.top.T_vehicle_lidar,
                images=() if images is None else tuple(images.of(time)),
                points=partial(sweeps.points, time),
                raw_labels=partial(sweeps.labels, time) if LABELS in self.rows else None,
            )


class _Sweeps:
    """The TOP LiDAR's sweeps of a segment."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._ranges = self._opened(LIDAR, "LiDARComponent", _RETURNS)
        self._poses = self._opened(PIXEL_POSES, "LiDARPoseComponent", _RETURNS[:1])
        if LABELS in segment.rows:
            self._labels = self._opened(LABELS, "LiDARSegmentationLabelComponent", _RETURNS)

    def _opened(self, name: str, component: str, returns: Sequence[str]) -> _Pictures:
        rows = self._segment.rows[name]
        columns = [f"[{component}].{each}" for each in returns]
        return _Pictures(self._segment.files[name], columns, rows, self._segment.times)

    def points(self, time: int) -> FramePoints:
        (poses,) = self._poses.of(time, 6)
        xyz, intensity, echo = [], [], []
        for number, picture in enumerate(self._ranges.of(time, 4)):
            ranges = picture[..., _RANGE]
            if poses.shape[:2] != ranges.shape or len(ranges) != len(
                self._segment.top.inclinations
            ):
                raise InputError(
                    f"{self._ranges.path}, frame {time}: a range image of {ranges.shape}, poses of "
                    f"{poses.shape[:2]}, a LiDAR of {len(self._segment.top.inclinations)} rows"
                )
            xyz.append(self._segment.top.points(ranges, poses, self._segment.vehicle[time]))
            intensity.append(picture[ranges > 0, _INTENSITY])
            echo.append(np.full(len(xyz[-1]), number, np.uint8))
        points = np.column_stack([np.concatenate(xyz), np.concatenate(intensity)])
        return FramePoints(points.astype(np.float32), {"echo": np.concatenate(echo)})

    def labels(self, time: int) -> np.ndarray:
        classes = []
        for ranges, picture in zip(self._ranges.of(time, 4), self._labels.of(time, 2), strict=True):
            if picture.shape[:2] != ranges.shape[:2]:
                raise InputError(
                    f"{self._labels.path}, frame {time}: labels for an image of "
                    f"{picture.shape[:2]}, the range image is {ranges.shape[:2]}"
                )
            classes.append(picture[ranges[..., _RANGE] > 0, _CLASS])
        return np.concatenate(classes)


class _Pictures:
    """Columns of flattened images with their shapes."""

    def __init__(
        self, path: Path, columns: Sequence[str], rows: Mapping[int, int], times: Sequence[int]
    ) -> None:
        self.path, self._columns, self._numbers = path, columns, rows
        parts = [f"{column}.{part}" for column in columns for part in ("values", "shape")]
        self._rows = ParquetRows(path, parts, [rows[time] for time in times])

    def of(self, time: int, channels: int) -> list[np.ndarray]:
        """[H, W, channels] of each column; raises InputError."""
        row = self._rows.row(self._numbers[time])
        images = []
        for column in self._columns:
            values, shape = row[f"{column}.values"], row[f"{column}.shape"]
            found = None if shape is None else tuple(int(size) for size in shape)
            if (
                found is None
                or len(found) != 3
                or found[2] != channels
                or len(values) != np.prod(found)
            ):
                raise InputError(
                    f"{self.path}, frame {time}: {column} has {found} for "
                    f"{0 if values is None else len(values)} values, wanted is (H, W, {channels})"
                )
            images.append(values.reshape(found))
        return images


class _Images:
    """The cameras' images of a segment."""

    def __init__(self, segment: Segment) -> None:
        file, self._rows = segment.files[IMAGES], segment.rows[IMAGES]
        self._segment, self._bytes = segment, "[CameraImageComponent].image"
        self._images = ParquetRows(file, [self._bytes], self._rows.values())
        pose, time = (
            f"[CameraImageComponent].{part}" for part in ("pose.transform", "pose_timestamp")
        )
        table = _table(file, (pose, time))
        self._placed = {
            key: (_matrix(table[row][pose], file), round(table[row][time] * 1e9))
            for key, row in self._rows.items()
        }

    def of(self, time: int) -> Iterator[FrameImage]:
        for number, camera in self._segment.cameras.items():
            if (time, number) in self._rows:
                T_world_vehicle, stamp_ns = self._placed[time, number]
                T_camera_vehicle = invert(camera.T_vehicle_camera)
                yield FrameImage(
                    camera=camera.name,
                    stamp_ns=stamp_ns,
                    model=camera.model,
                    T_camera_lidar=T_camera_vehicle @ self._segment.top.T_vehicle_lidar,
                    T_world_camera=T_world_vehicle @ camera.T_vehicle_camera,
                    read=partial(self._read, self._rows[time, number]),
                )

    def _read(self, row: int) -> EncodedImage:
        return EncodedImage(self._images.row(row)[self._bytes] or b"", "jpeg")


def _rows_of_top(file: Path) -> dict[int, int]:
    """Numbers of the TOP LiDAR's rows by time, us."""
    keys = _table(file, (_TIME, _LIDAR))
    return {key[_TIME]: number for number, key in enumerate(keys) if key[_LIDAR] == _TOP}


def _rows_of_images(
    file: Path, times: Sequence[int], cameras: Mapping[int, _Camera]
) -> dict[tuple[int, int], int]:
    meant = set(times)
    return {
        (key[_TIME], key[_CAMERA]): number
        for number, key in enumerate(_table(file, (_TIME, _CAMERA)))
        if key[_TIME] in meant and key[_CAMERA] in cameras
    }


def _vehicle_poses(file: Path) -> dict[int, np.ndarray]:
    pose = "[VehiclePoseComponent].world_from_vehicle.transform"
    return {row[_TIME]: _matrix(row[pose], file) for row in _table(file, (_TIME, pose))}


def _top_lidar(file: Path) -> TopLidar:
    start = "[LiDARCalibrationComponent]."
    transform = f"{start}extrinsic.transform"
    lowest, highest, values = (f"{start}beam_inclination.{p}" for p in ("min", "max", "values"))
    for row in _table(file, (_LIDAR, transform, lowest, highest, values)):
        if row[_LIDAR] != _TOP:
            continue
        if row[values] is not None and len(row[values]):
            inclinations = np.asarray(row[values], np.float64)[::-1]
        else:
            inclinations = uniform_inclinations(row[lowest], row[highest], _TOP_ROWS)
        return TopLidar(_matrix(row[transform], file), inclinations)
    raise InputError(f"{file} has no TOP LiDAR")


def _cameras(file: Path) -> dict[int, _Camera]:
    start = "[CameraCalibrationComponent]."
    own = [f"{start}intrinsic.{part}" for part in ("f_u", "f_v", "c_u", "c_v")]
    distortion = [f"{start}intrinsic.{part}" for part in ("k1", "k2", "p1", "p2", "k3")]
    transform, width, height = (f"{start}{p}" for p in ("extrinsic.transform", "width", "height"))
    cameras = {}
    for row in _table(file, (_CAMERA, *own, *distortion, transform, width, height)):
        if row[_CAMERA] in _CAMERAS:
            f_u, f_v, c_u, c_v = (row[column] for column in own)
            # Waymo's pixel 0 begins at the image's edge, `CameraModel`'s has its centre at 0.
            K = np.array([[f_u, 0, c_u - 0.5], [0, f_v, c_v - 0.5], [0, 0, 1]])
            D = np.array([row[column] for column in distortion])
            cameras[row[_CAMERA]] = _Camera(
                _CAMERAS[row[_CAMERA]],
                CameraModel(K, "plumb_bob", D, row[width], row[height]),
                _matrix(row[transform], file) @ _T_CAMERA_OPTICAL,
            )
    return cameras


def _table(file: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Columns of all rows; raises InputError, also where a row is another segment's."""
    rows = read_columns(file, (_SEGMENT, *columns))
    if others := {row[_SEGMENT] for row in rows} - {file.stem}:
        raise InputError(f"{file} holds another segment: {listed(others)}")
    return rows


def _matrix(values: Any, file: Path) -> np.ndarray:
    if values is None or len(values) != 16 or not np.isfinite(values).all():
        raise InputError(f"{file}: a transform that is no 16 numbers")
    return np.asarray(values, np.float64).reshape(4, 4)
