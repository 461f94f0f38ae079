"""Messages of a recording -> rows and tensors of a cache, and, once all of its transforms have been
read, the poses of the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from haskd_ros.channels import CHANNELS, ChannelName
from haskd_ros.clouds.channels import read_channels
from haskd_ros.clouds.intensity import is_measured
from haskd_ros.clouds.point_times import point_times
from haskd_ros.clouds.pointcloud import (
    CloudError,
    read_intensity,
    read_xyz_intensity,
    valid_returns,
)
from haskd_ros.errors import InputError
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.recordings.camera_model import CalibrationError
from haskd_training.recordings.camera_track import RecordedCamera
from haskd_training.recordings.image_codec import jpeg_of
from haskd_training.recordings.labels import LabelSource
from haskd_training.recordings.readers.bag import Unusable, frame_of, stamp_ns
from haskd_training.recordings.recording import Recording
from haskd_training.recordings.transform_tree import NoTransform, invert

Tensors = dict[str, np.ndarray]


def sweep_sample(
    cloud: Any,
    recording: Recording,
    *,
    index: int,
    labels: LabelSource,
    classes: int,
    intensity_scale: float,
    channels: Sequence[ChannelName] = (),
) -> tuple[SweepRow, Tensors]:
    """A PointCloud2 as a sweep of its valid returns, without a pose yet.

    Args:
        index: of the cloud in its recording.
        classes: number of classes.
        intensity_scale: intensity of a full return.
        channels: that are kept where the cloud has them.

    Raises:
        Unusable: the sweep is to be skipped.
        InputError: the labels fit neither cloud nor label map.
    """
    stamp = stamp_ns(cloud)
    frame = recording.frame_of(cloud)
    if not recording.places(frame):
        raise Unusable(f"TF does not connect {frame} to {recording.lidar_frame}")
    try:
        points, _ = read_xyz_intensity(cloud)
        if not len(points):
            raise Unusable("cloud of zero points")
        valid = valid_returns(points)
        if not valid.any():
            raise Unusable("cloud without a single return")
        time = point_times(cloud, stamp, valid).seconds[valid]
        has_intensity = is_measured(read_intensity(cloud))
        further: Tensors = {
            name: CHANNELS[name].stored(values[valid])
            for name, values in read_channels(cloud, channels).items()
            if values is not None
        }
    except CloudError as error:
        raise Unusable(f"malformed cloud: {error.reason}") from error
    try:
        label = labels.of(cloud, index, stamp)[valid]
    except InputError as error:
        raise InputError(f"{recording.path}, cloud {index} (stamp {stamp}): {error}") from error
    points = points[valid]
    if not has_intensity:
        points[:, 3] = 0
    row = SweepRow(
        recording=recording.name,
        stamp_ns=stamp,
        points=len(points),
        class_counts=np.bincount(label, minlength=256)[:classes].tolist(),
        frame=frame,
        intensity_scale=intensity_scale if has_intensity else None,
    )
    return row, {"points": points, "time": time, "label": label, **further}


def image_sample(
    message: Any, camera: RecordedCamera, recording: Recording, jpeg_quality: int
) -> tuple[ImageRow, Tensors]:
    """An Image or CompressedImage of a camera, without a pose yet.

    Raises:
        Unusable: the image is to be skipped.
    """
    if camera.problem is not None:
        raise Unusable(f"{camera.name}: {camera.problem}")
    jpeg = jpeg_of(message, jpeg_quality, camera.max_pixels)
    stamp, image_frame = stamp_ns(message), frame_of(message)
    try:
        calibration = camera.track.at(stamp, image_frame)
        model, _ = calibration.fitted(jpeg.width, jpeg.height)
    except CalibrationError as error:
        raise Unusable(f"{camera.name}: {error}") from error
    T_camera_frame = camera.optics(calibration, stamp)
    row = ImageRow(
        recording=recording.name,
        camera=camera.name,
        stamp_ns=stamp,
        width=model.width,
        height=model.height,
        K=shared_list(model.K),
        distortion_model=model.distortion_model,
        D=shared_list(model.D),
        frame=camera.frame_of(image_frame, calibration, recording.tree, recording.lidar_frame),
        T_camera_frame=None if T_camera_frame is None else shared_list(T_camera_frame),
    )
    return row, {"jpeg": jpeg.data}


def with_world_poses(rows: Sequence[SweepRow], recording: Recording) -> list[SweepRow]:
    """Sweeps with their poses, where there is one. Those without stay in the cache: training on the
    cloud alone needs no pose."""
    posed = list(rows)
    for frame in {row.frame for row in rows}:
        indices = [k for k, row in enumerate(rows) if row.frame == frame]
        stamps = [rows[k].stamp_ns for k in indices]
        world, _ = _poses(recording.world_frame, frame, stamps, recording)
        own = frame == recording.lidar_frame
        lidar, _ = _poses(None if own else recording.lidar_frame, frame, stamps, recording)
        for n, k in enumerate(indices):
            posed[k] = replace(rows[k], T_world_lidar=world[n], T_lidar_frame=lidar[n])
    return posed


def with_poses(
    rows: Sequence[ImageRow], recording: Recording
) -> tuple[list[ImageRow], Counter[str]]:
    """The images that have a pose, with it, and reasons why others have none."""
    with_pose: dict[int, ImageRow] = {}
    reasons: Counter[str] = Counter()
    for name, frame in dict.fromkeys((row.camera, row.frame) for row in rows):
        indices = [k for k, row in enumerate(rows) if (row.camera, row.frame) == (name, frame)]
        stamps = [rows[k].stamp_ns for k in indices]
        lidar, no_lidar_pose = _poses(frame, recording.lidar_frame, stamps, recording)
        world, no_world_pose = _poses(recording.world_frame, frame, stamps, recording)
        for n, k in enumerate(indices):
            if reason := no_lidar_pose[n] or no_world_pose[n]:
                reasons[f"{name}: {reason}"] += 1
            else:
                with_pose[k] = _placed(rows[k], np.array(lidar[n]), world[n])
    return [with_pose[k] for k in sorted(with_pose)], reasons


def _placed(
    row: ImageRow, T_frame_lidar: np.ndarray, T_world_frame: list[list[float]] | None
) -> ImageRow:
    """The image with the poses of its camera, by those of its frame."""
    if row.T_camera_frame is None:
        T_lidar = shared_list(T_frame_lidar)
        return replace(row, T_camera_lidar=T_lidar, T_world_camera=T_world_frame)
    T_camera_frame = np.array(row.T_camera_frame)
    T_world_camera = None
    if T_world_frame is not None:
        T_world_camera = (np.array(T_world_frame) @ invert(T_camera_frame)).tolist()
    T_lidar = shared_list(T_camera_frame @ T_frame_lidar)
    return replace(row, T_camera_lidar=T_lidar, T_world_camera=T_world_camera)


def _poses(
    target: str | None, source: str, stamps_ns: Sequence[int], recording: Recording
) -> tuple[list[list[list[float]] | None], list[str | None]]:
    """T_target_source at each time, None without a target frame or a transform, and the reason for
    a missing transform."""
    nothing: list[None] = [None] * len(stamps_ns)
    if target is None or not stamps_ns:
        return list(nothing), list(nothing)
    try:
        transforms, reasons = recording.tree.lookups(target, source, stamps_ns)
    except NoTransform as error:
        return list(nothing), [str(error)] * len(stamps_ns)
    poses = [
        transform if reason is None else None
        for transform, reason in zip(transforms.tolist(), reasons, strict=True)
    ]
    return poses, reasons


def shared_list(values: np.ndarray) -> list[Any]:
    """As a list of float64, the same one for the same values: an hour of a camera's images has
    36,000 rows, and one calibration."""
    return _as_list(values.shape, values.astype(np.float64).tobytes())


@lru_cache
def _as_list(shape: tuple[int, ...], octets: bytes) -> list[Any]:
    values: Any = np.frombuffer(octets).reshape(shape).tolist()
    return list(values)
