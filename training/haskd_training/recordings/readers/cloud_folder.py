"""A folder of clouds, read as a rosbag2 of these clouds would be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from haskd_ros.clouds.pointcloud import create_cloud
from haskd_training.recordings.cloud_files.folder import CloudFolder
from haskd_training.recordings.cloud_files.kitti import Camera

POINTS = "/points"
LIDAR_FRAME, WORLD_FRAME = "lidar", "map"
_TF, _TF_STATIC = "/tf", "/tf_static"

_STORE = get_typestore(Stores.ROS2_HUMBLE)
_TYPES = _STORE.types
_CLOUD, _FIELD = _TYPES["sensor_msgs/msg/PointCloud2"], _TYPES["sensor_msgs/msg/PointField"]


class CloudFolderReader:
    """Offers of a folder of clouds what `rosbags` offers of a bag: its topics and their serialised
    messages in time order.

    Attributes:
        connections: the clouds; where there are poses, TF from `WORLD_FRAME` to `LIDAR_FRAME`;
            where there are cameras, their images, calibration and static TF.
        findings: what there is to know of the files.

    Raises:
        InputError: as of `CloudFolder`.
    """

    def __init__(self, path: Path) -> None:
        self._folder = CloudFolder(path)
        self.findings = self._folder.findings()
        self.connections: list[Connection] = []
        count = len(self._folder)
        self._add(POINTS, "sensor_msgs/msg/PointCloud2", count)
        if self._folder.poses is not None:
            self._add(_TF, "tf2_msgs/msg/TFMessage", count)
        if cameras := self._folder.cameras:
            self._add(_TF_STATIC, "tf2_msgs/msg/TFMessage", 1)
            for camera in cameras:
                images = len(camera.images)
                self._add(_image_topic(camera), "sensor_msgs/msg/CompressedImage", images)
                self._add(_info_topic(camera), "sensor_msgs/msg/CameraInfo", images)

    def _add(self, topic: str, kind: str, count: int) -> None:
        extension = ConnectionExtRosbag2("cdr", [])
        definition = MessageDefinition(MessageDefinitionFormat.NONE, "")
        self.connections.append(
            Connection(
                len(self.connections) + 1, topic, kind, definition, "", count, extension, self
            )
        )

    def open(self) -> None:
        """Nothing has to be opened before it is read."""

    def close(self) -> None:
        """Nothing stays open after it was read."""

    def messages(
        self,
        connections: Iterable[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Connection, time in ns and serialised message; only what is asked for is read.

        Args:
            connections: all where there is none.
            start, stop: ns, from and before.

        Raises:
            InputError: a file can't be read.
        """
        asked = {c.topic: c for c in list(connections) or self.connections}
        for time_ns, topic, message in self._messages():
            before = start is not None and time_ns < start
            if topic in asked and not before and (stop is None or time_ns < stop):
                made = message()
                yield asked[topic], time_ns, bytes(_STORE.serialize_cdr(made, made.__msgtype__))

    def _messages(self) -> Iterator[tuple[int, str, Callable[[], Any]]]:
        folder = self._folder
        stamps = folder.stamps_ns
        if folder.cameras:
            yield stamps[0], _TF_STATIC, self._static
        for index in np.argsort(stamps, kind="stable").tolist():
            stamp = stamps[index]
            if folder.poses is not None:
                yield stamp, _TF, partial(self._pose, index)
            yield stamp, POINTS, partial(self._cloud, index)
            for camera in folder.cameras:
                if folder.names[index] in camera.images:
                    yield stamp, _info_topic(camera), partial(_info, camera, stamp)
                    yield stamp, _image_topic(camera), partial(self._image, camera, index)

    def _cloud(self, index: int) -> Any:
        return cloud_message(self._folder.cloud(index), self._folder.stamps_ns[index])

    def _pose(self, index: int) -> Any:
        assert self._folder.poses is not None
        pose = self._folder.poses[index]
        transform = _transform(self._folder.stamps_ns[index], WORLD_FRAME, LIDAR_FRAME, pose)
        return _TYPES["tf2_msgs/msg/TFMessage"]([transform])

    def _static(self) -> Any:
        transforms = [
            _transform(
                self._folder.stamps_ns[0],
                LIDAR_FRAME,
                camera.name,
                np.linalg.inv(camera.T_camera_lidar),
            )
            for camera in self._folder.cameras
        ]
        return _TYPES["tf2_msgs/msg/TFMessage"](transforms)

    def _image(self, camera: Camera, index: int) -> Any:
        file = camera.images[self._folder.names[index]]
        data = np.frombuffer(file.read_bytes(), np.uint8)
        header = _header(self._folder.stamps_ns[index], camera.name)
        kind = "png" if file.suffix.lower() == ".png" else "jpeg"
        return _TYPES["sensor_msgs/msg/CompressedImage"](header, kind, data)


def cloud_message(points: np.ndarray, stamp_ns: int = 0) -> Any:
    """A PointCloud2 in `LIDAR_FRAME` of points [N] structured, see `CloudFolder.cloud`."""
    return create_cloud(_header(stamp_ns, LIDAR_FRAME), _message_points(points), _CLOUD, _FIELD)


def _message_points(points: np.ndarray) -> np.ndarray:
    """With types that a PointCloud2 has: integers of 64 bits and other kinds of float become
    float64 or float32."""
    kinds = []
    for name in points.dtype.names or ():
        kind = points.dtype[name].newbyteorder("=")
        if kind.kind in "iu" and kind.itemsize == 8:
            kind = np.dtype(np.float64)
        elif kind.kind == "f" and kind.itemsize not in (4, 8):
            kind = np.dtype(np.float32 if kind.itemsize == 2 else np.float64)
        elif kind.kind == "b":
            kind = np.dtype(np.uint8)
        kinds.append((name, kind))
    converted = np.empty(len(points), kinds)
    for name, _ in kinds:
        converted[name] = points[name]
    return converted


def _image_topic(camera: Camera) -> str:
    return f"/{camera.name}/image/compressed"


def _info_topic(camera: Camera) -> str:
    return f"/{camera.name}/camera_info"


def _header(stamp_ns: int, frame: str) -> Any:
    time = _TYPES["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    return _TYPES["std_msgs/msg/Header"](time, frame)


def _transform(stamp_ns: int, parent: str, child: str, matrix: np.ndarray) -> Any:
    """T_parent_child [4, 4] as a message."""
    quaternion = Rotation.from_matrix(matrix[:3, :3]).as_quat()
    return _TYPES["geometry_msgs/msg/TransformStamped"](
        _header(stamp_ns, parent),
        child,
        _TYPES["geometry_msgs/msg/Transform"](
            _TYPES["geometry_msgs/msg/Vector3"](*matrix[:3, 3].tolist()),
            _TYPES["geometry_msgs/msg/Quaternion"](*quaternion.tolist()),
        ),
    )


def _info(camera: Camera, stamp_ns: int) -> Any:
    P = np.zeros((3, 4))
    P[:, :3] = camera.K
    roi = _TYPES["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return _TYPES["sensor_msgs/msg/CameraInfo"](
        _header(stamp_ns, camera.name), camera.height, camera.width, "plumb_bob", np.zeros(5),
        camera.K.reshape(-1), np.eye(3).reshape(-1), P.reshape(-1), 0, 0, roi,
    )  # fmt: skip
