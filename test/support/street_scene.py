"""Messages of a standing street scene, for bags with one thing odd about them.

base_link -> lidar: (0, 0, 2); base_link -> camera: (0.5, 0, 1.6), optical, looking along x
camera: 200 x 120 px, focal length 150 px, centre (100, 60)

The point (8, 2, -1) of the LiDAR is at (8, 2, 1) of base_link, and 7.5 ahead, 2 to the left and 0.6
below the camera: pixel (100 - 150 * 2 / 7.5, 60 + 150 * 0.6 / 7.5) = (60, 72).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from haskd_ros.clouds.pointcloud import create_cloud

STORE = get_typestore(Stores.ROS2_HUMBLE)
TYPES = STORE.types
START_NS = 1_700_000_000_000_000_000
TENTH_NS = 100_000_000
NO_TURN = (0.0, 0.0, 0.0, 1.0)
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
MARK = (8.0, 2.0, -1.0)
MOUNTS = (
    ("base_link", "lidar", (0, 0, 2), NO_TURN),
    ("base_link", "camera", (0.5, 0, 1.6), OPTICAL),
)
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("label", "u1")])

Timed = tuple[int, str, Any]


def header(ns: int, frame: str) -> Any:
    stamp = TYPES["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9)
    return TYPES["std_msgs/msg/Header"](stamp, frame)


def cloud(ns: int, frame: str = "lidar", points: np.ndarray | None = None) -> Any:
    """One of the scene's mark and two points more; of PandaSet's ids car, road, building."""
    if points is None:
        rows = [(*MARK, 51, 13), (5, 0, -2, 102, 7), (12, -3, 1, 255, 41)]
        points = np.array(rows, POINT)
    types = (TYPES["sensor_msgs/msg/PointCloud2"], TYPES["sensor_msgs/msg/PointField"])
    return create_cloud(header(ns, frame), points, *types)


def info(
    ns: int,
    frame: str = "camera",
    *,
    size: tuple[int, int] = (200, 120),
    k: tuple[float, float, float] = (150, 100, 60),
    p3: float = 0.0,
    r: np.ndarray | None = None,
    binning: int = 0,
    roi: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Any:
    """k: focal length and centre, px; roi: x, y, width, height."""
    f, cx, cy = map(float, k)
    x, y, width, height = roi
    region = TYPES["sensor_msgs/msg/RegionOfInterest"](x, y, height, width, False)
    return TYPES["sensor_msgs/msg/CameraInfo"](
        header(ns, frame), size[1], size[0], "plumb_bob", np.zeros(5),
        np.array([f, 0, cx, 0, f, cy, 0, 0, 1]), (np.eye(3) if r is None else r).ravel(),
        np.array([f, 0, cx, p3, 0, f, cy, 0, 0, 0, 1, 0]), binning, binning, region,
    )  # fmt: skip


def colours(size: tuple[int, int] = (200, 120)) -> np.ndarray:
    """[H, W, 3] uint8 RGB: grey, the middle third red (220, 30, 30)."""
    picture = np.full((size[1], size[0], 3), 120, np.uint8)
    picture[:, size[0] // 3 : 2 * size[0] // 3] = (220, 30, 30)
    return picture


def compressed(
    ns: int,
    pixels: np.ndarray | None = None,
    *,
    frame: str = "camera",
    told: str = "bgr8; jpeg compressed bgr8",
    suffix: str = ".jpg",
) -> Any:
    """pixels: as OpenCV writes them, BGR or one channel."""
    pixels = colours()[..., ::-1] if pixels is None else pixels
    data = cv2.imencode(suffix, pixels)[1].ravel()
    return TYPES["sensor_msgs/msg/CompressedImage"](header(ns, frame), told, data)


def raw(ns: int, pixels: np.ndarray, encoding: str, frame: str = "camera") -> Any:
    flat = np.ascontiguousarray(pixels).view(np.uint8).ravel()
    height, width = pixels.shape[:2]
    return TYPES["sensor_msgs/msg/Image"](
        header(ns, frame), height, width, encoding, 0, len(flat) // height, flat
    )


def transforms(ns: int, *edges: tuple) -> Any:
    """edges: parent, child, xyz, quaternion xyzw."""
    message = [
        TYPES["geometry_msgs/msg/TransformStamped"](
            header(ns, parent),
            child,
            TYPES["geometry_msgs/msg/Transform"](
                TYPES["geometry_msgs/msg/Vector3"](*map(float, xyz)),
                TYPES["geometry_msgs/msg/Quaternion"](*map(float, turn)),
            ),
        )
        for parent, child, xyz, turn in edges
    ]
    return TYPES["tf2_msgs/msg/TFMessage"](message)


def static(*edges: tuple) -> Timed:
    return START_NS, "/tf_static", transforms(START_NS, *(edges or MOUNTS))


def times(n: int) -> list[int]:
    """Every tenth of a second."""
    return [START_NS + k * TENTH_NS for k in range(n)]


def clouds(n: int = 4) -> Iterator[Timed]:
    for ns in times(n):
        yield ns, "/points", cloud(ns)


def camera(n: int = 4, **of_info: Any) -> Iterator[Timed]:
    for ns in times(n):
        yield ns, "/front/camera_info", info(ns, **of_info)
        yield ns, "/front/image/compressed", compressed(ns)


def motion(n: int = 4, parent: str = "odom") -> Iterator[Timed]:
    """The vehicle drives 5 m/s along x; TF at 20 Hz."""
    for k in range(2 * n):
        ns = START_NS + k * TENTH_NS // 2
        yield ns, "/tf", transforms(ns, (parent, "base_link", (0.25 * k, 0, 0), NO_TURN))


def write(
    path: Path,
    messages: Iterable[Timed],
    storage: StoragePlugin = StoragePlugin.MCAP,
    store: Typestore = STORE,
) -> Path:
    """A bag of these messages, in the order of their times, whose types a store knows."""
    writer = Writer(path, version=9, storage_plugin=storage)
    connections: dict[str, Any] = {}
    with writer:
        for ns, topic, message in sorted(messages, key=lambda timed: timed[0]):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], ns, store.serialize_cdr(message, kind))
    return path
