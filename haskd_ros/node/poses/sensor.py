"""Where the sensor is in a frame that stands still: by TF, or by Odometry and where the sensor is
mounted."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node

from haskd_ros.clouds.crop import frame_name
from haskd_ros.clouds.motion import Poses
from haskd_ros.clouds.point_times import SECOND_NS
from haskd_ros.clouds.sweeps import Moment
from haskd_ros.node.clock import nanoseconds, stamp_fault
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.node.poses.odometry import (
    NoPosesError,
    OdometrySubscription,
    check_topic,
    odometry_type,
)
from haskd_ros.node.poses.transforms import NoTransformError, Transforms

_POLL_S = 0.002


def check_poses(parameters: Parameters, *, needed: bool) -> None:
    """
    Args:
        needed: whether it has to be known where the sensor is.

    Raises:
        InputError: what Odometry needs is not installed, or its topic can't be one.
    """
    if needed and parameters.poses_source == "odometry":
        check_topic("poses.odometry_topic", parameters.poses_odometry_topic)
        odometry_type()


def stamp_of(cloud: Any) -> int:
    """The stamp of a PointCloud2 in ns.

    Raises:
        NoPosesError: it is none.
    """
    stamp = cloud.header.stamp
    if (fault := stamp_fault(stamp)) is not None:
        raise NoPosesError("bad stamp", f"the clouds' stamps: {fault}")
    return nanoseconds(stamp)


class SensorPoses:
    """Finds poses from the worker's thread; the rest is called in the executor's.

    Args:
        node: that subscribes.
        transforms: where frames are.
    """

    def __init__(self, node: Node, transforms: Transforms) -> None:
        self._transforms = transforms
        self._odometry = OdometrySubscription(node)

    def follow(self, parameters: Parameters, *, needed: bool) -> None:
        """Receive what poses by these parameters need from now on; nothing where none is needed.

        Raises:
            InputError: as `check_poses`.
        """
        by_odometry = needed and parameters.poses_source == "odometry"
        self._odometry.follow(parameters.poses_odometry_topic if by_odometry else "")

    def close(self) -> None:
        """Receive nothing more."""
        self._odometry.follow("")

    def over(
        self,
        sensor: str,
        stamp_ns: int,
        times: np.ndarray,
        parameters: Parameters,
        until_s: float,
    ) -> Poses:
        """The poses of a sensor's frame from the first to the last of times [K], ascending, in s
        relative to a stamp. Waits for those that are not there yet, until `until_s` of
        `time.monotonic`.

        Raises:
            NoPosesError: they are not known.
        """
        try:
            if parameters.poses_source == "tf":
                return self._by_tf(parameters.poses_fixed_frame, sensor, stamp_ns, times, until_s)
            return self._by_odometry(sensor, stamp_ns, times, until_s)
        except NoTransformError as error:
            raise NoPosesError("no transform", str(error)) from error

    def moment_of(
        self, cloud: Any, parameters: Parameters, until_s: float
    ) -> Moment | NoPosesError:
        """When and where a PointCloud2 was measured, or why that is not known; waits as `over`."""
        frame = cloud.header.frame_id
        try:
            stamp_ns = stamp_of(cloud)
            poses = self.over(frame, stamp_ns, np.zeros(1), parameters, until_s)
        except NoPosesError as error:
            return error
        return Moment(stamp_ns, poses.matrix(0.0))

    def _by_tf(
        self, fixed: str, sensor: str, stamp_ns: int, times: np.ndarray, until_s: float
    ) -> Poses:
        if frame_name(fixed) == frame_name(sensor):
            raise NoPosesError(
                "fixed frame moves", f"poses.fixed_frame is {fixed}, the sensor's own frame"
            )
        lookup = partial(self._transforms.lookup, fixed, sensor)
        # The last one first: that is what there is to wait for.
        found = [
            _values_of(lookup(stamp_ns + round(seconds * SECOND_NS), until_s))
            for seconds in times[::-1]
        ]
        values = np.array(found[::-1])
        return Poses(times, values[:, :3], values[:, 3:])

    def _by_odometry(self, sensor: str, stamp_ns: int, times: np.ndarray, until_s: float) -> Poses:
        first_ns = stamp_ns + math.floor(times[0] * SECOND_NS)
        last_ns = stamp_ns + math.ceil(times[-1] * SECOND_NS)
        odometry = self._odometry.poses
        while True:
            try:
                base, poses = odometry.between(first_ns, last_ns, stamp_ns)
                break
            except NoPosesError as error:
                if not error.may_come or time.monotonic() > until_s:
                    told = f"{self._odometry.topic}: {error}"
                    raise NoPosesError(error.reason, told) from error
            time.sleep(_POLL_S)
        if base == frame_name(sensor):
            return poses
        mount = _values_of(self._transforms.lookup(base, sensor, stamp_ns, until_s))
        return poses.of_mounted(mount[:3], mount[3:])


def source_told(parameters: Parameters) -> str:
    """Where poses come from, in words."""
    if parameters.poses_source == "tf":
        return f"tf, fixed frame {parameters.poses_fixed_frame}"
    return f"odometry on {parameters.poses_odometry_topic}"


def _values_of(transform: Any) -> np.ndarray:
    """x y z in m and unit quaternion x y z w of a geometry_msgs/Transform."""
    t, q = transform.translation, transform.rotation
    rotation = np.array([q.x, q.y, q.z, q.w])
    return np.array([t.x, t.y, t.z, *rotation / np.linalg.norm(rotation)])
