"""The simulated drive as a rosbag2: topics, frames and messages."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import (
    Connection,
    Qos,
)
from rosbags.rosbag2 import StoragePlugin
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from haskd_ros.clouds.pointcloud import create_cloud
from haskd_training.recordings.readers.bag import LATCHED, bag_writer
from haskd_training.simulation.camera import SimulatedCamera

START_NS = 1_700_000_000_000_000_000
"""Stamp of the drive's first moment: fixed, so that the same seed gives the same bytes."""

_MAP, _BASE, _LIDAR = "map", "base_link", "lidar"
_JPEG_QUALITY = 90
_TYPES = get_typestore(Stores.ROS2_HUMBLE)
_TIME = _TYPES.types["builtin_interfaces/msg/Time"]
_HEADER = _TYPES.types["std_msgs/msg/Header"]
_CLOUD = _TYPES.types["sensor_msgs/msg/PointCloud2"]
_FIELD = _TYPES.types["sensor_msgs/msg/PointField"]
_IMAGE = _TYPES.types["sensor_msgs/msg/CompressedImage"]
_CAMERA_INFO = _TYPES.types["sensor_msgs/msg/CameraInfo"]
_REGION = _TYPES.types["sensor_msgs/msg/RegionOfInterest"]
_TF = _TYPES.types["tf2_msgs/msg/TFMessage"]
_TRANSFORM_STAMPED = _TYPES.types["geometry_msgs/msg/TransformStamped"]
_TRANSFORM = _TYPES.types["geometry_msgs/msg/Transform"]
_VECTOR = _TYPES.types["geometry_msgs/msg/Vector3"]
_QUATERNION = _TYPES.types["geometry_msgs/msg/Quaternion"]


def _stamped(time_ns: int, frame: str) -> Any:
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return _HEADER(_TIME(seconds, nanoseconds), frame)


def _transform(time_ns: int, parent: str, child: str, T_parent_child: np.ndarray) -> Any:
    quaternion = Rotation.from_matrix(T_parent_child[:3, :3]).as_quat()
    return _TRANSFORM_STAMPED(
        _stamped(time_ns, parent),
        child,
        _TRANSFORM(
            _VECTOR(*(float(value) for value in T_parent_child[:3, 3])),
            _QUATERNION(*(float(value) for value in quaternion)),
        ),
    )


class BagWriter:
    """Writes the messages of one drive; a context manager."""

    def __init__(self, folder: Path, storage: str, cameras: tuple[SimulatedCamera, ...]) -> None:
        """folder: must not exist. storage: `mcap` or `sqlite3`."""
        self._writer = bag_writer(folder, StoragePlugin[storage.upper()])
        self._cameras = cameras
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        self._writer.open()
        self._connect("/tf_static", _TF, (LATCHED,))
        self._connect("/tf", _TF)
        self._connect("/lidar/points", _CLOUD)
        for camera in self._cameras:
            self._connect(f"/camera/{camera.name}/camera_info", _CAMERA_INFO)
            self._connect(f"/camera/{camera.name}/image/compressed", _IMAGE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def _connect(self, topic: str, message_type: Any, qos: tuple[Qos, ...] = ()) -> None:
        self._connections[topic] = self._writer.add_connection(
            topic, message_type.__msgtype__, typestore=_TYPES, offered_qos_profiles=qos
        )

    def _write(self, topic: str, time_ns: int, message: Any) -> None:
        data = _TYPES.serialize_cdr(message, message.__msgtype__)
        self._writer.write(self._connections[topic], time_ns, data)

    def static_transforms(self, time_ns: int, T_base_lidar: np.ndarray) -> None:
        """Poses of the sensors on the vehicle."""
        transforms = [_transform(time_ns, _BASE, _LIDAR, T_base_lidar)]
        for camera in self._cameras:
            frame = f"camera_{camera.name}_optical"
            transforms.append(_transform(time_ns, _BASE, frame, camera.T_base_camera))
        self._write("/tf_static", time_ns, _TF(transforms))

    def pose(self, time_ns: int, x: float, y: float, yaw: float) -> None:
        """Pose of the vehicle: `map` to `base_link`."""
        T_map_base = np.eye(4)
        T_map_base[:3, :3] = Rotation.from_euler("z", yaw).as_matrix()
        T_map_base[:2, 3] = x, y
        self._write("/tf", time_ns, _TF([_transform(time_ns, _MAP, _BASE, T_map_base)]))

    def cloud(self, time_ns: int, points: np.ndarray) -> None:
        """One sweep; points: [N] structured, its fields become the cloud's."""
        header = _stamped(time_ns, _LIDAR)
        message = create_cloud(header, points, _CLOUD, _FIELD, is_dense=True)
        self._write("/lidar/points", time_ns, message)

    def image(self, time_ns: int, camera: SimulatedCamera, image: np.ndarray) -> None:
        """One image, [H, W, 3] uint8 RGB, as JPEG, with its calibration."""
        header = _stamped(time_ns, f"camera_{camera.name}_optical")
        projection = np.column_stack([camera.K, np.zeros(3)])
        info = _CAMERA_INFO(
            header, camera.height, camera.width, "plumb_bob", camera.distortion,
            camera.K.reshape(-1), np.eye(3).reshape(-1), projection.reshape(-1),
            0, 0, _REGION(0, 0, 0, 0, False),
        )  # fmt: skip
        self._write(f"/camera/{camera.name}/camera_info", time_ns, info)
        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        _, jpeg = cv2.imencode(".jpg", image[..., ::-1], quality)
        message = _IMAGE(header, "jpeg", jpeg.reshape(-1))
        self._write(f"/camera/{camera.name}/image/compressed", time_ns, message)
