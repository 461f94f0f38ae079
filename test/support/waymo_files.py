"""Segments in the published form of Waymo's data set, version 2, a few small sweeps each: the
components' columns and types as the development kit declares them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from pyarrow import parquet
from scipy.spatial.transform import Rotation

START_US = 1552440195362591
STEP_US = 100_000

# The sensor is turned by 90 degrees, 1.5 m before the vehicle's origin and 2 m above
TOP = np.array([[0.0, -1, 0, 1.5], [1, 0, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]])
# The camera, x ahead
FRONT = np.array([[1.0, 0, 0, 1.5], [0, 1, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]])

SEGMENT = ("key.segment_context_name", pa.string())
TIME = ("key.frame_timestamp_micros", pa.int64())
LASER = ("key.laser_name", pa.int8())
CAMERA = ("key.camera_name", pa.int8())
TRANSFORM = pa.list_(pa.float64(), 16)
SHAPE = pa.list_(pa.int32(), 3)


@dataclass
class Sweep:
    """Images of both returns.

    Attributes:
        ranges: [2, H, W, 4]: range, intensity, elongation, 1 in a zone without labels.
        classes: [2, H, W]; None: the frame has no labels.
        poses: [H, W, 6], roll pitch yaw x y z; None: those of the frame.
    """

    ranges: np.ndarray
    classes: np.ndarray | None
    poses: np.ndarray | None = None


@dataclass
class Scene:
    """A segment.

    Attributes:
        inclinations: [H] rad, from the lowest row.
        sweep: by number of the frame.
    """

    inclinations: np.ndarray
    sweep: Callable[[int], Sweep]
    frames: int = 3
    images: bool = False
    row_group: int = 1000
    place: tuple[float, float, float] = (5000.0, 3000.0, 30.0)
    yaw: float = np.pi / 2
    written: dict[str, Path] = field(default_factory=dict)

    def pose(self, number: float) -> np.ndarray:
        """T_world_vehicle [4, 4]: 2 m ahead from each frame to the next."""
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("z", self.yaw).as_matrix()
        pose[:3, 3] = np.array(self.place) + pose[:3, 0] * 2 * number
        return pose


def by_hand(number: int) -> Sweep:
    """Two rows of five columns. A car straight ahead in 10 m; a road 5 m away in the lower row,
    which was measured when the vehicle was 0.5 m further; behind a first return that is not
    labelled, a building as the second, which was measured when the vehicle was turned by 0.1."""
    ranges = np.full((2, 2, 5, 4), -1.0)
    ranges[0, 0, 2] = [10, 0.5, 0, -1]
    ranges[0, 1, 2] = [5, 0.25, 0, -1]
    ranges[0, 0, 1] = [15, 0.125, 0, 1]
    ranges[1, 0, 1] = [20, 2, 0, -1]
    classes = np.zeros((2, 2, 5), int)
    classes[0, 0, 2], classes[0, 1, 2], classes[1, 0, 1] = 1, 18, 14
    poses = np.zeros((2, 5, 6))
    poses[:] = [0, 0, np.pi / 2, 5000, 3000 + 2 * number, 30]
    poses[1, 2, 4] += 0.5
    poses[0, 1, 2] += 0.1
    return Sweep(ranges, classes if number != 1 else None, poses)


HAND = {"inclinations": np.array([-np.arcsin(0.6), 0.0]), "sweep": by_hand}


def write_segment(root: Path, split: str, name: str, scene: Scene | None = None) -> Scene:
    """`ROOT/SPLIT/COMPONENT/NAME.parquet` of all components that are read."""
    scene = scene or Scene(**HAND)
    labelled = split != "testing"
    tables: dict[str, list[dict[str, Any]]] = {}
    columns: dict[str, list[tuple[str, pa.DataType]]] = {}
    for number in range(scene.frames):
        sweep, time = scene.sweep(number), START_US + number * STEP_US
        pose = scene.pose(number)
        # The LiDAR in front comes before the TOP one
        for laser, images in ((2, np.zeros((2, 3, 4, 4))), (1, sweep.ranges)):
            row = {SEGMENT: name, TIME: time, LASER: laser}
            add(tables, columns, "lidar", row | pictures("LiDARComponent", images, pa.float32()))
        poses = sweep.poses
        if poses is None:
            angles = Rotation.from_matrix(pose[:3, :3]).as_euler("ZYX")[::-1]
            poses = np.broadcast_to([*angles, *pose[:3, 3]], (*sweep.ranges.shape[1:3], 6))
        row = {SEGMENT: name, TIME: time, LASER: 1}
        values = pictures("LiDARPoseComponent", poses[None], pa.float32())
        add(tables, columns, "lidar_pose", row | values)
        if labelled and sweep.classes is not None:
            both = np.stack([np.zeros_like(sweep.classes), sweep.classes], -1)
            values = pictures("LiDARSegmentationLabelComponent", both, pa.int32())
            add(tables, columns, "lidar_segmentation", row | values)
        row = {SEGMENT: name, TIME: time}
        values = {("[VehiclePoseComponent].world_from_vehicle.transform", TRANSFORM): pose.ravel()}
        add(tables, columns, "vehicle_pose", row | values)
        if scene.images:
            add(tables, columns, "camera_image", row | image(scene, number, time))
    for laser, rows in ((2, None), (1, scene.inclinations)):
        row = {SEGMENT: name, LASER: laser}
        add(tables, columns, "lidar_calibration", row | lidar_calibration(rows))
    if scene.images:
        row = {SEGMENT: name, CAMERA: 1}
        add(tables, columns, "camera_calibration", row | camera_calibration())
    for component, rows in tables.items():
        file = root / split / component / f"{name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        schema = pa.schema(columns[component])
        parquet.write_table(
            pa.Table.from_pylist(rows, schema), file, row_group_size=scene.row_group
        )
        scene.written[component] = file
    return scene


def add(tables: Any, columns: Any, component: str, row: Mapping[Any, Any]) -> None:
    columns.setdefault(component, list(row))
    values = {name: v.tolist() if isinstance(v, np.ndarray) else v for (name, _), v in row.items()}
    tables.setdefault(component, []).append(values)


def pictures(component: str, images: Iterable[np.ndarray], kind: pa.DataType) -> dict[Any, Any]:
    row = {}
    for number, picture in enumerate(images, 1):
        start = f"[{component}].range_image_return{number}"
        row[f"{start}.values", pa.list_(kind)] = picture.ravel()
        row[f"{start}.shape", SHAPE] = list(picture.shape)
    return row


def image(scene: Scene, number: int, time: int) -> dict[Any, Any]:
    """Of the front camera, taken 50 ms after the frame's time, 1 m further ahead."""
    start, float32, float64 = "[CameraImageComponent].", pa.float32(), pa.float64()
    picture = np.full((128, 192, 3), 40 * number, np.uint8)
    row: dict[Any, Any] = {
        CAMERA: 1,
        (f"{start}image", pa.binary()): cv2.imencode(".jpg", picture)[1].tobytes(),
        (f"{start}pose.transform", TRANSFORM): scene.pose(number + 0.5).ravel(),
    }
    for axis in "xyz":
        row[f"{start}velocity.linear_velocity.{axis}", float32] = 0.0
    for axis in "xyz":
        row[f"{start}velocity.angular_velocity.{axis}", float64] = 0.0
    row[f"{start}pose_timestamp", float64] = time * 1e-6 + 0.05
    shutter = ("shutter", "camera_trigger_time", "camera_readout_done_time")
    return row | {(f"{start}rolling_shutter_params.{part}", float64): 0.0 for part in shutter}


def lidar_calibration(inclinations: np.ndarray | None) -> dict[Any, Any]:
    start, float64 = "[LiDARCalibrationComponent].", pa.float64()
    return {
        (f"{start}extrinsic.transform", TRANSFORM): TOP.ravel(),
        (f"{start}beam_inclination.min", float64): -1.5,
        (f"{start}beam_inclination.max", float64): 0.5,
        (f"{start}beam_inclination.values", pa.list_(float64)): inclinations,
    }


def camera_calibration() -> dict[Any, Any]:
    start = "[CameraCalibrationComponent]."
    numbers = {"f_u": 100, "f_v": 100, "c_u": 96.5, "c_v": 64.5}
    numbers |= {"k1": 0.01, "k2": -0.02, "p1": 0.001, "p2": -0.002, "k3": 0.03}
    row = {(f"{start}intrinsic.{part}", pa.float64()): value for part, value in numbers.items()}
    return row | {
        (f"{start}extrinsic.transform", TRANSFORM): FRONT.ravel(),
        (f"{start}width", pa.int32()): 192,
        (f"{start}height", pa.int32()): 128,
        (f"{start}rolling_shutter_direction", pa.int8()): 2,
    }


def street(number: int, seed: int = 0) -> Sweep:
    """A road below, a wall on the left, a car ahead: 16 rows, see `STREET`, of 90 columns."""
    random = np.random.default_rng(seed + number)
    row, column = np.mgrid[:16, :90]
    down = -STREET["inclinations"][::-1][row]
    azimuth = np.pi * (2 * (90 - column - 0.5) / 90 - 1)
    distance = np.full(row.shape, -1.0)
    classes = np.zeros(row.shape, int)
    ground = down > 0.05
    distance[ground], classes[ground] = 2 / np.sin(down[ground]), 18
    wall = ~ground & (azimuth > 0.5) & (azimuth < 2.6)
    distance[wall], classes[wall] = 8 / np.sin(azimuth[wall]), 14
    car = (np.abs(azimuth) < 0.3) & (down > -0.02) & (down < 0.2)
    distance[car], classes[car] = 6, 1
    ranges = np.full((2, *row.shape, 4), -1.0)
    ranges[0, ..., 0] = np.where(distance > 0, distance + random.normal(0, 0.02, row.shape), -1)
    ranges[0, ..., 1] = random.uniform(0, 1, row.shape)
    second = wall & (random.random(row.shape) < 0.2)
    ranges[1, second] = ranges[0, second] + [0.5, 0, 0, 0]
    both = np.zeros((2, *row.shape), int)
    both[0], both[1, second] = classes, 15
    return Sweep(ranges, both)


STREET = {"inclinations": np.linspace(-0.5, 0.1, 16), "sweep": street}
