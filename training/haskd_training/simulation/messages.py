"""What simulated recordings have in common: messages, and a bag that they are written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import cv2
import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from haskd_training.recordings.bag_writing import LATCHED, bag_writer

START_NS = 1_700_000_000_000_000_000
"""Stamp of a recording's first moment: fixed, so that the same seed gives the same bytes."""

MAP, BASE = "map", "base_link"

TYPES = get_typestore(Stores.ROS2_HUMBLE)
TF = TYPES.types["tf2_msgs/msg/TFMessage"]
COMPRESSED_IMAGE = TYPES.types["sensor_msgs/msg/CompressedImage"]
CAMERA_INFO = TYPES.types["sensor_msgs/msg/CameraInfo"]

_JPEG_QUALITY = 90
_TIME = TYPES.types["builtin_interfaces/msg/Time"]
_HEADER = TYPES.types["std_msgs/msg/Header"]
_REGION = TYPES.types["sensor_msgs/msg/RegionOfInterest"]
_TRANSFORM_STAMPED = TYPES.types["geometry_msgs/msg/TransformStamped"]
_TRANSFORM = TYPES.types["geometry_msgs/msg/Transform"]
_VECTOR = TYPES.types["geometry_msgs/msg/Vector3"]
_QUATERNION = TYPES.types["geometry_msgs/msg/Quaternion"]


def stamped(time_ns: int, frame: str) -> Any:
    """A header."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return _HEADER(_TIME(seconds, nanoseconds), frame)


def transform(time_ns: int, parent: str, child: str, T_parent_child: np.ndarray) -> Any:
    """A TransformStamped of [4, 4]."""
    quaternion = Rotation.from_matrix(T_parent_child[:3, :3]).as_quat()
    return _TRANSFORM_STAMPED(
        stamped(time_ns, parent),
        child,
        _TRANSFORM(
            _VECTOR(*(float(value) for value in T_parent_child[:3, 3])),
            _QUATERNION(*(float(value) for value in quaternion)),
        ),
    )


def camera_info(header: Any, width: int, height: int, K: np.ndarray, distortion: np.ndarray) -> Any:
    """A CameraInfo of the model plumb_bob; K: [3, 3], px. distortion: [5]."""
    projection = np.column_stack([K, np.zeros(3)])
    return CAMERA_INFO(
        header, height, width, "plumb_bob", distortion,
        K.reshape(-1), np.eye(3).reshape(-1), projection.reshape(-1),
        0, 0, _REGION(0, 0, 0, 0, False),
    )  # fmt: skip


def jpeg_of(image: np.ndarray) -> np.ndarray:
    """[B] uint8: an image, [H, W, 3] uint8 RGB, as JPEG."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, jpeg = cv2.imencode(".jpg", image[..., ::-1], quality)
    return jpeg.reshape(-1)


def jpeg_message(header: Any, image: np.ndarray) -> Any:
    """A CompressedImage of an image, [H, W, 3] uint8 RGB."""
    return COMPRESSED_IMAGE(header, "jpeg", jpeg_of(image))


_Writer = TypeVar("_Writer", bound="MessageWriter")


class MessageWriter:
    """A rosbag2 that messages are written to; a context manager."""

    def __init__(self, folder: Path, storage: str, topics: Mapping[str, Any]) -> None:
        """folder: must not exist. storage: `mcap` or `sqlite3`. topics: their types by name."""
        self._writer = bag_writer(folder, StoragePlugin[storage.upper()])
        self._topics = topics
        self._connections: dict[str, Connection] = {}

    def __enter__(self: _Writer) -> _Writer:
        self._writer.open()
        for topic, message_type in self._topics.items():
            self._connections[topic] = self._writer.add_connection(
                topic,
                message_type.__msgtype__,
                typestore=TYPES,
                offered_qos_profiles=(LATCHED,) if topic == "/tf_static" else (),
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def write(self, topic: str, time_ns: int, message: Any) -> None:
        """A message, recorded at `time_ns`."""
        data = TYPES.serialize_cdr(message, message.__msgtype__)
        self._writer.write(self._connections[topic], time_ns, data)
