"""A yard of known size, recorded: ground, a wall, a parked box; and what may be wrong with it.

The LiDAR is 2 m above base_link and looks along x. The ground lies 2 m below it from x = 3 to 11 m,
the wall stands at x = 12 m, the box is at x = 8 m. The camera, 0.5 m ahead of base_link and 1.5 m
high, has 200 x 120 px, a focal length of 150 px and its centre at (100, 60). base_link drives 5 m/s
along x of odom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import street_scene
from rosbags.rosbag2 import StoragePlugin
from rosbags.typesys import Stores, get_typestore

from haskd_ros.clouds.pointcloud import create_cloud

STORE = get_typestore(Stores.ROS2_HUMBLE)
START_NS = 1_600_000_000 * 10**9
PERIOD_NS = 100_000_000
IMAGE_DELAY_NS = 20_000_000
LIDAR, CAMERA = "lidar", "camera_optical"
POINTS, IMAGES, INFO = "/points", "/front/image_raw/compressed", "/front/camera_info"
POINT = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("label", "u1")]
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
STRAIGHT = (0.0, 0.0, 0.0, 1.0)

LABELS = """\
classes:
  - {name: ground, color: [128, 128, 128], ids: [1]}
  - {name: wall, color: [200, 150, 50], ids: [2]}
  - {name: box, color: [50, 80, 250], ids: [3], movable: true}
ignore: [0]
field: label
"""

Message = tuple[int, str, Any]
"""Time of recording in ns, topic, message."""


def points(dtype: list | np.dtype = POINT) -> np.ndarray:
    """495 points in the LiDAR's frame: 17 x 17 of the ground, 17 x 8 of the wall, 7 x 10 of the
    box, with intensities of 50, 100 and 200 and the labels 1, 2 and 3."""
    side = np.linspace(-4, 4, 17)
    parts = (
        (np.linspace(3, 11, 17), side, [-2.0], 50, 1),
        ([12.0], side, np.linspace(-1.5, 2, 8), 100, 2),
        ([8.0], np.linspace(1, 2.2, 7), np.linspace(-1.8, -0.9, 10), 200, 3),
    )
    rows = []
    for x, y, z, intensity, label in parts:
        grid = np.stack(np.meshgrid(x, y, z, indexing="ij"), -1).reshape(-1, 3)
        rows += [(*xyz, intensity, label) for xyz in grid.tolist()]
    table = np.array(rows)
    found = np.zeros(len(table), dtype)
    for column, name in enumerate(("x", "y", "z", "intensity", "label")):
        if name in (found.dtype.names or ()):
            found[name] = table[:, column]
    return found


def header(time_ns: int, frame: str) -> Any:
    stamp = STORE.types["builtin_interfaces/msg/Time"](time_ns // 10**9, time_ns % 10**9)
    return STORE.types["std_msgs/msg/Header"](stamp, frame)


def cloud(time_ns: int, rows: np.ndarray, frame: str = LIDAR) -> Any:
    types = STORE.types
    return create_cloud(
        header(time_ns, frame),
        rows,
        types["sensor_msgs/msg/PointCloud2"],
        types["sensor_msgs/msg/PointField"],
    )


def transforms(*edges: tuple[int, str, str, tuple, tuple]) -> Any:
    """edges: (stamp in ns, parent, child, translation in m, quaternion x y z w)."""
    types = STORE.types
    return types["tf2_msgs/msg/TFMessage"](
        [
            types["geometry_msgs/msg/TransformStamped"](
                header(at, parent),
                child,
                types["geometry_msgs/msg/Transform"](
                    types["geometry_msgs/msg/Vector3"](*map(float, xyz)),
                    types["geometry_msgs/msg/Quaternion"](*q),
                ),
            )
            for at, parent, child, xyz, q in edges
        ]
    )


def camera_info(time_ns: int, frame: str = CAMERA, focal: float = 150.0) -> Any:
    k = np.array([focal, 0, 100, 0, focal, 60, 0, 0, 1])
    p = np.array([focal, 0, 100, 0, 0, focal, 60, 0, 0, 0, 1, 0])
    region = STORE.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return STORE.types["sensor_msgs/msg/CameraInfo"](
        header(time_ns, frame), 120, 200, "plumb_bob", np.zeros(5), k, np.eye(3).ravel(), p, 0, 0,
        region,
    )  # fmt: skip


def picture(time_ns: int, frame: str = CAMERA, shade: int = 90) -> Any:
    pixels = np.full((120, 200, 3), shade, np.uint8)
    pixels[70:, :, 1] = 140
    data = cv2.imencode(".jpg", pixels)[1].ravel()
    return STORE.types["sensor_msgs/msg/CompressedImage"](header(time_ns, frame), "jpeg", data)


@dataclass
class Yard:
    """What is recorded; change what a test is about.

    rows: points of a cloud by its number; cloud_frame: its frame.
    clock_ns: stamp of the first message; cloud_clock_ns: of the first cloud, if it has its own.
    begin_ns: when recording begins.
    """

    clouds: int = 6
    rows: Callable[[int], np.ndarray] = lambda number: points()
    cloud_frame: Callable[[int], str] = lambda number: LIDAR
    clock_ns: int = START_NS
    cloud_clock_ns: int | None = None
    begin_ns: int = START_NS
    y: float = 0.0
    static: Iterable[tuple[str, str, tuple, tuple]] = field(
        default_factory=lambda: [
            ("base_link", LIDAR, (0, 0, 2), STRAIGHT),
            ("base_link", CAMERA, (0.5, 0, 1.5), OPTICAL),
        ]
    )
    info: Callable[[int], Any] = camera_info
    image: Callable[[int], Any] = picture

    def messages(self) -> Iterator[Message]:
        """In the order of recording."""
        edges = [(self.clock_ns, *edge) for edge in self.static]
        if edges:
            yield self.begin_ns, "/tf_static", transforms(*edges)
        for number in range(self.clouds):
            passed = number * PERIOD_NS
            recorded, stamp = self.begin_ns + passed, self.clock_ns + passed
            for half in (0, PERIOD_NS // 2):
                at = (0.5 * number + 5e-9 * half, self.y, 0)
                pose = (stamp + half, "odom", "base_link", at, STRAIGHT)
                yield recorded + half, "/tf", transforms(pose)
            own = stamp if self.cloud_clock_ns is None else self.cloud_clock_ns + passed
            yield recorded, POINTS, cloud(own, self.rows(number), self.cloud_frame(number))
            yield recorded + IMAGE_DELAY_NS, INFO, self.info(stamp + IMAGE_DELAY_NS)
            yield recorded + IMAGE_DELAY_NS, IMAGES, self.image(stamp + IMAGE_DELAY_NS)


def write(
    folder: Path, messages: Iterable[Message], storage: StoragePlugin = StoragePlugin.SQLITE3
) -> Path:
    """Write `folder/yard` and `folder/labels.yaml`; the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.yaml").write_text(LABELS)
    return street_scene.write(folder / "yard", messages, storage)


def record(folder: Path, **changes: Any) -> Path:
    """The bag of a yard in which something is changed."""
    return write(folder, Yard(**changes).messages())
