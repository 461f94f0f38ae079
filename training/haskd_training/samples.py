"""Messages of a recording -> rows and tensors of a cache."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.pointcloud import CloudError, came_back, read_points, read_xyz_intensity
from haskd_training.bags import Unusable, stamp_ns
from haskd_training.cache import ImageRow, SweepRow
from haskd_training.calibration import NoTransform
from haskd_training.images import jpeg_of
from haskd_training.labels import LabelSource
from haskd_training.recording import Camera, Recording

Tensors = dict[str, np.ndarray]


def sweep_sample(
    cloud: Any,
    index: int,
    recording: Recording,
    labels: LabelSource,
    classes: int,
    intensity_scale: float,
) -> tuple[SweepRow, Tensors]:
    """A PointCloud2, the `index`-th of its recording, as a sweep without returns that did not come.

    Raises:
        Unusable: the sweep is to be skipped.
        InputError: the labels fit neither cloud nor label map.
    """
    stamp = stamp_ns(cloud)
    try:
        points, _ = read_xyz_intensity(cloud)
        if not len(points):
            raise Unusable("cloud of zero points")
        valid = kept_points(points)
        if not valid.any():
            raise Unusable("cloud without a single return")
        time = _point_times(cloud, stamp)[valid]
    except CloudError as error:
        raise Unusable(f"malformed cloud: {error.reason}") from error
    try:
        label = labels.of(cloud, index, stamp)[valid]
    except InputError as error:
        raise InputError(f"{recording.path}, cloud {index} (stamp {stamp}): {error}") from error
    points = points[valid]
    points[:, 3] /= intensity_scale
    row = SweepRow(
        recording=recording.name,
        stamp_ns=stamp,
        points=len(points),
        class_counts=np.bincount(label, minlength=256)[:classes].tolist(),
        T_world_lidar=_world_pose(recording, recording.lidar_frame, stamp),
    )
    return row, {"points": points, "time": time, "label": label}


def kept_points(points: np.ndarray) -> np.ndarray:
    """[N] bool: the points [N, 4] of a cloud that a cache keeps."""
    return came_back(points) & np.isfinite(points[:, 3])


def image_sample(
    message: Any, camera: Camera, recording: Recording, jpeg_quality: int
) -> tuple[ImageRow, Tensors]:
    """An Image or CompressedImage of a camera, with its pose at its own stamp.

    Raises:
        Unusable: the image is to be skipped.
    """
    if camera.model is None:
        raise Unusable(f"{camera.name}: {camera.problem}")
    stamp = stamp_ns(message)
    try:
        t_camera_lidar = recording.tree.lookup(camera.frame, recording.lidar_frame, stamp)
        t_world_camera = None
        if recording.world_frame is not None:
            t_world_camera = recording.tree.lookup(
                recording.world_frame, camera.frame, stamp
            ).tolist()
    except NoTransform as error:
        raise Unusable(f"{camera.name}: {error}") from error
    jpeg = jpeg_of(message, jpeg_quality)
    model = camera.model
    if (jpeg.width, jpeg.height) != (model.width, model.height):
        raise Unusable(f"{camera.name}: image is of another size than its CameraInfo says")
    row = ImageRow(
        recording=recording.name,
        camera=camera.name,
        stamp_ns=stamp,
        width=model.width,
        height=model.height,
        K=_shared_list(model.K),
        distortion_model=model.distortion_model,
        D=_shared_list(model.D),
        T_world_camera=t_world_camera,
        T_camera_lidar=_shared_list(t_camera_lidar),
    )
    return row, {"jpeg": jpeg.data}


def _shared_list(values: np.ndarray) -> list[Any]:
    """As a list of float64, the same one for the same values: an hour of a camera's images has
    36,000 rows, and one calibration."""
    return _as_list(values.shape, values.astype(np.float64).tobytes())


@lru_cache
def _as_list(shape: tuple[int, ...], octets: bytes) -> list[Any]:
    return np.frombuffer(octets).reshape(shape).tolist()


def _world_pose(recording: Recording, frame: str, stamp: int) -> list[list[float]] | None:
    """A sweep without a pose still serves training on the cloud alone, so it is kept."""
    if recording.world_frame is None:
        return None
    try:
        return recording.tree.lookup(recording.world_frame, frame, stamp).tolist()
    except NoTransform:
        return None


def _point_times(cloud: Any, stamp: int) -> np.ndarray:
    """Time of each point [N] float32, s relative to the stamp; 0 where the cloud doesn't tell.

    Drivers differ: `time` is s relative to the stamp (Velodyne, this package's simulation), `t`
    ns relative to it (Ouster), `timestamp` s since the epoch (Hesai).
    """
    present = {field.name for field in cloud.fields}
    if "time" in present:
        return read_points(cloud, ["time"])["time"].astype(np.float32)
    if "t" in present:
        return (read_points(cloud, ["t"])["t"] * 1e-9).astype(np.float32)
    if "timestamp" in present:
        return (read_points(cloud, ["timestamp"])["timestamp"] - stamp * 1e-9).astype(np.float32)
    return np.zeros(cloud.width * cloud.height, np.float32)
