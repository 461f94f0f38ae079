"""The simulated drive as a rosbag2: topics, frames and messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from haskd_ros.clouds.pointcloud import create_cloud
from haskd_training.simulation.camera import SimulatedCamera
from haskd_training.simulation.messages import (
    BASE,
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    MAP,
    TF,
    TYPES,
    MessageWriter,
    camera_info,
    jpeg_message,
    stamped,
    transform,
)

_LIDAR = "lidar"
_CLOUD = TYPES.types["sensor_msgs/msg/PointCloud2"]
_FIELD = TYPES.types["sensor_msgs/msg/PointField"]


class BagWriter(MessageWriter):
    """Writes the messages of one drive; a context manager."""

    def __init__(self, folder: Path, storage: str, cameras: tuple[SimulatedCamera, ...]) -> None:
        """folder: must not exist. storage: `mcap` or `sqlite3`."""
        topics = {"/tf_static": TF, "/tf": TF, "/lidar/points": _CLOUD}
        for camera in cameras:
            topics[f"/camera/{camera.name}/camera_info"] = CAMERA_INFO
            topics[f"/camera/{camera.name}/image/compressed"] = COMPRESSED_IMAGE
        super().__init__(folder, storage, topics)
        self._cameras = cameras

    def static_transforms(self, time_ns: int, T_base_lidar: np.ndarray) -> None:
        """Poses of the sensors on the vehicle."""
        transforms = [transform(time_ns, BASE, _LIDAR, T_base_lidar)]
        for camera in self._cameras:
            frame = f"camera_{camera.name}_optical"
            transforms.append(transform(time_ns, BASE, frame, camera.T_base_camera))
        self.write("/tf_static", time_ns, TF(transforms))

    def pose(self, time_ns: int, x: float, y: float, yaw: float) -> None:
        """Pose of the vehicle: `map` to `base_link`."""
        T_map_base = np.eye(4)
        T_map_base[:3, :3] = Rotation.from_euler("z", yaw).as_matrix()
        T_map_base[:2, 3] = x, y
        self.write("/tf", time_ns, TF([transform(time_ns, MAP, BASE, T_map_base)]))

    def cloud(self, time_ns: int, points: np.ndarray) -> None:
        """One sweep; points: [N] structured, its fields become the cloud's."""
        header = stamped(time_ns, _LIDAR)
        message = create_cloud(header, points, _CLOUD, _FIELD, is_dense=True)
        self.write("/lidar/points", time_ns, message)

    def image(self, time_ns: int, camera: SimulatedCamera, image: np.ndarray) -> None:
        """One image, [H, W, 3] uint8 RGB, as JPEG, with its calibration."""
        header = stamped(time_ns, f"camera_{camera.name}_optical")
        info = camera_info(header, camera.width, camera.height, camera.K, camera.distortion)
        self.write(f"/camera/{camera.name}/camera_info", time_ns, info)
        message = jpeg_message(header, image)
        self.write(f"/camera/{camera.name}/image/compressed", time_ns, message)
