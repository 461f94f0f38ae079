"""Small bags for tests: a vehicle that drives 10 m/s along x, one LiDAR, one camera.

t = 0.00 0.10 0.20 ...: cloud and TF, map -> base_link at x = 10 m/s * t
t = 0.05 0.15 0.25 ...: image
base_link -> lidar: (0, 0, 2); base_link -> camera_front_optical: (0, 0, 1), looking along x
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags import rosbag1, rosbag2
from rosbags.rosbag2.enums import StoragePlugin
from rosbags.typesys import Stores, get_typestore

from haskd_ros.clouds.pointcloud import create_cloud
from haskd_training.recordings.readers.bag import ros1_types

START_NS = 1_000_000_000_000

POINT = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("time", "<f4"),
     ("label", "u1")]
)  # fmt: skip

SUFFIX = {"mcap": "", "sqlite3": "", "ros1": ".bag"}

_TF = "tf2_msgs/msg/TFMessage"


def points_of(rows: list[tuple[float, ...]], dtype: np.dtype = POINT) -> np.ndarray:
    return np.array(rows, dtype)


# The point ahead is what the projection is worked out for; ids are those of PandaSet.
SCENE = points_of(
    [
        (11.0, 0.0, 0.0, 51.0, -0.05, 13),  # car
        (-5.0, 1.0, 0.0, 102.0, -0.10, 7),  # road, behind the camera
        (4.0, 3.0, 0.0, 255.0, 0.00, 41),  # building
        (3.0, 0.0, -2.0, 0.0, -0.02, 0),  # ignored
    ]
)


@dataclass
class Scene:
    """What goes into a bag; change what a test is about."""

    clouds: int = 4
    images: int = 4
    points: Callable[[int], np.ndarray] = lambda index: SCENE
    encoding: str = "jpeg"
    with_tf: bool = True
    with_motion: bool = True
    with_camera_info: bool = True
    distortion_model: str = "plumb_bob"
    d: list[float] = field(default_factory=lambda: [0.0] * 5)
    points_topics: tuple[str, ...] = ("/lidar/points",)
    other_clouds: dict[str, np.ndarray] = field(default_factory=dict)
    """Points of other topics."""
    image_topic: str = "/camera/front/image"
    lidar_frame: str = "lidar"
    rename: dict[str, str] = field(default_factory=dict)
    """Fields of the clouds whose names begin with a key are called by its value."""


def write_bag(folder: Path, scene: Scene | None = None, kind: str = "mcap") -> Path:
    """Write `folder/drive` (`.bag` for ROS 1) and return its path."""
    path = folder / f"drive{SUFFIX[kind]}"
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "ros1":
        store = ros1_types()
        writer, serialize = rosbag1.Writer(path), store.serialize_ros1
    else:
        store = get_typestore(Stores.ROS2_HUMBLE)
        plugin = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
        writer = rosbag2.Writer(path, version=8, storage_plugin=plugin)
        serialize = store.serialize_cdr
    connections: dict[str, Any] = {}
    with writer:
        for time_ns, topic, message in _messages(store, scene or Scene(), kind == "ros1"):
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic, message.__msgtype__, typestore=store
                )
            writer.write(connections[topic], time_ns, serialize(message, message.__msgtype__))
    return path


def _messages(store: Any, scene: Scene, ros1: bool) -> Iterator[tuple[int, str, Any]]:
    types = store.types

    def header(time_ns: int, frame: str) -> Any:
        stamp = types["builtin_interfaces/msg/Time"](time_ns // 10**9, time_ns % 10**9)
        sequence = (0,) if ros1 else ()
        return types["std_msgs/msg/Header"](*sequence, stamp, frame)

    def transform(time_ns: int, parent: str, child: str, xyz: tuple, q: tuple) -> Any:
        return types["geometry_msgs/msg/TransformStamped"](
            header(time_ns, parent),
            child,
            types["geometry_msgs/msg/Transform"](
                types["geometry_msgs/msg/Vector3"](*xyz),
                types["geometry_msgs/msg/Quaternion"](*q),
            ),
        )

    if scene.with_tf:
        fixed = [
            transform(
                START_NS, "base_link", scene.lidar_frame, (0.0, 0.0, 2.0), (0.0, 0.0, 0.0, 1.0)
            ),
            transform(
                START_NS, "base_link", "camera_front_optical", (0.0, 0.0, 1.0),
                (-0.5, 0.5, -0.5, 0.5),
            ),
        ]  # fmt: skip
        yield START_NS, "/tf_static", types[_TF](fixed)
    for index in range(max(scene.clouds, scene.images)):
        time_ns = START_NS + index * 100_000_000
        if index < scene.clouds:
            if scene.with_tf and scene.with_motion:
                pose = transform(
                    time_ns, "map", "base_link", (float(index), 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)
                )
                yield time_ns, "/tf", types[_TF]([pose])
            clouds = dict.fromkeys(scene.points_topics, scene.points(index)) | scene.other_clouds
            for topic, points in clouds.items():
                cloud = create_cloud(
                    header(time_ns, scene.lidar_frame),
                    points,
                    types["sensor_msgs/msg/PointCloud2"],
                    types["sensor_msgs/msg/PointField"],
                )
                for one in cloud.fields:
                    for begin, name in scene.rename.items():
                        one.name = name if one.name.startswith(begin) else one.name
                yield time_ns, topic, cloud
        if index < scene.images:
            time_ns += 50_000_000
            at = header(time_ns, "camera_front_optical")
            topic, image = scene.image_topic, _image(types, at, scene.encoding)
            if scene.encoding == "jpeg":
                topic += "/compressed"
            yield time_ns, topic, image
            if scene.with_camera_info:
                yield time_ns, "/camera/front/camera_info", _camera_info(types, at, scene)


def picture() -> np.ndarray:
    """[80, 100, 3] uint8 RGB: left half red, right half blue."""
    image = np.zeros((80, 100, 3), np.uint8)
    image[:, :50, 0] = 255
    image[:, 50:, 2] = 255
    return image


def _image(types: Any, header: Any, encoding: str) -> Any:
    bgr = cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR)
    if encoding == "jpeg":
        data = cv2.imencode(".jpg", bgr)[1].reshape(-1)
        return types["sensor_msgs/msg/CompressedImage"](header, "jpeg", data)
    raw = {
        "rgb8": picture(),
        "bgr8": bgr,
        "rgba8": cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA),
        "bgra8": cv2.cvtColor(bgr, cv2.COLOR_BGR2BGRA),
        "mono8": cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY),
        "bayer_rggb8": _rggb(picture()),
        "32FC1": np.zeros((80, 100), np.float32),
    }[encoding]
    # Four bytes of padding at the end of each row.
    rows = np.pad(raw.reshape(80, -1).view(np.uint8), ((0, 0), (0, 4)))
    return types["sensor_msgs/msg/Image"](
        header, 80, 100, encoding, 0, rows.shape[1], rows.reshape(-1)
    )


def _rggb(rgb: np.ndarray) -> np.ndarray:
    """What a sensor with the pattern RG / GB would record."""
    bayer = rgb[:, :, 1].copy()
    bayer[::2, ::2] = rgb[::2, ::2, 0]
    bayer[1::2, 1::2] = rgb[1::2, 1::2, 2]
    return bayer


def _camera_info(types: Any, header: Any, scene: Scene) -> Any:
    k = np.array([100.0, 0, 50, 0, 100, 40, 0, 0, 1])
    p = np.array([100.0, 0, 50, 0, 0, 100, 40, 0, 0, 0, 1, 0])
    roi = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return types["sensor_msgs/msg/CameraInfo"](
        header, 80, 100, scene.distortion_model, np.array(scene.d), k, np.eye(3).reshape(-1), p,
        0, 0, roi,
    )  # fmt: skip
