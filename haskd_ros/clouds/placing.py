"""Where and when another LiDAR measured its points, as the cloud that they go into tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from haskd_ros.clouds.crop import frame_name
from haskd_ros.clouds.merging import MergedIntensity, OtherCloud, points_in_frame
from haskd_ros.clouds.motion import Poses
from haskd_ros.clouds.point_layout import fields_of
from haskd_ros.clouds.point_times import ONE_TIME, PointTimes, point_times
from haskd_ros.clouds.pointcloud import read_xyz_intensity, valid_returns
from haskd_ros.model_header import Intensity


class MainCloud(NamedTuple):
    """The cloud that others go into.

    Attributes:
        frame, stamp_ns: of it.
        times: of its points as they were measured.
        intensity: has looked at it.
    """

    frame: str
    stamp_ns: int
    times: PointTimes
    intensity: MergedIntensity


def main_cloud(
    measured: Any, stamp_ns: int, intensity: MergedIntensity, field: str, unit: str
) -> MainCloud:
    """
    Args:
        measured: a PointCloud2 as it came, before motion compensation.
        field, unit: of its points' times, as of `point_times`.

    Raises:
        CloudError: the cloud is malformed.
    """
    _, times = _times_of(measured, stamp_ns, field, unit)
    return MainCloud(frame_name(measured.header.frame_id), stamp_ns, times, intensity)


def placed_cloud(
    lidar: str,
    cloud: Any,
    stamp_ns: int,
    into: MainCloud,
    mount: np.ndarray,
    rule: Intensity,
    field: str,
    unit: str,
    poses: Callable[[PointTimes], Poses | None] | None,
) -> OtherCloud:
    """A cloud of another LiDAR in the frame, the units and the times of the main one.

    Args:
        lidar: its name.
        stamp_ns: of the cloud.
        mount: [4, 4] T_main_lidar.
        rule: of the model, for intensities that are missing.
        field, unit: of the main cloud's points' times; another make of LiDAR has other fields,
            which are found then.
        poses: the other LiDAR's over the times of its points, in s from the main cloud's stamp on,
            to which the points are moved; None where they are not known. Without it the points stay
            where they were measured.

    Raises:
        CloudError: the cloud is malformed, or without the intensity that is required.
    """
    has_returns, times = _times_of(cloud, stamp_ns, field, unit)
    gap_s = (stamp_ns - into.stamp_ns) * 1e-9
    seconds = times.seconds + np.float32(gap_s)
    found = None
    if poses is not None and has_returns:
        first_s, last_s = times.span_s
        found = poses(replace(times, seconds=seconds, span_s=(first_s + gap_s, last_s + gap_s)))
    xyz = points_in_frame(cloud, mount, seconds=seconds, poses=found)
    values = into.intensity.of(lidar, cloud, rule)
    values |= _as_times(into, times, seconds, at_stamp=found is not None)
    return OtherCloud(cloud, xyz, values)


def _times_of(cloud: Any, stamp_ns: int, field: str, unit: str) -> tuple[bool, PointTimes]:
    """Whether a cloud has returns, and when its points were measured; with a problem all of them
    at the stamp, unless it is that they have one time."""
    points, _ = read_xyz_intensity(cloud)
    valid = valid_returns(points)
    if field not in {each.name for each in fields_of(cloud)}:
        field, unit = "", "auto"
    times = point_times(cloud, stamp_ns, valid, field=field, unit=unit)
    if times.problem is not None and times.problem.reason != ONE_TIME:
        times = replace(times, seconds=np.zeros_like(times.seconds), span_s=(0.0, 0.0))
    return bool(valid.any()), times


def _as_times(
    into: MainCloud, times: PointTimes, seconds: np.ndarray, *, at_stamp: bool
) -> dict[str, Any]:
    """What the main cloud's time fields hold for the points of another cloud; NaN where nobody
    knows.

    Args:
        seconds: [N] since the main cloud's stamp; counts where they are not `at_stamp`.
    """
    fields = into.times.columns
    problem = into.times.problem
    if not fields:
        return {}
    unknown = dict.fromkeys(fields, np.nan)
    if problem is not None and problem.reason != ONE_TIME:
        return unknown
    if at_stamp:
        return into.times.at(into.stamp_ns)
    if not into.times.unit or times.problem is not None:
        return unknown
    return into.times.at(into.stamp_ns, seconds)
