"""Motion compensation of the node's clouds: where the poses come from, and what became of it."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode

from haskd_ros.clouds.crop import frame_name
from haskd_ros.clouds.motion import Poses, compensated_cloud, knot_times
from haskd_ros.clouds.point_times import NO_FIELD, NO_RETURNS, ONE_TIME, PointTimes, point_times
from haskd_ros.clouds.pointcloud import CloudError, read_xyz_intensity, valid_returns
from haskd_ros.node.clock import SECOND_NS, nanoseconds, stamp_fault
from haskd_ros.node.odometry import NoPosesError, OdometrySubscription, check_topic, odometry_type
from haskd_ros.node.parameters import Parameters
from haskd_ros.node.statuses import OK, WARN, Status
from haskd_ros.node.transforms import NoTransformError, Transforms

_POLL_S = 0.002


def check_motion(parameters: Parameters) -> None:
    """
    Raises:
        InputError: what the compensation needs is not installed, or its topic can't be one.
    """
    if parameters.motion_compensation == "odometry":
        check_topic(parameters.motion_odometry_topic)
        odometry_type()


class MotionCompensation:
    """Moves the points of clouds to where they were at the clouds' stamps, where the parameters say
    so and times and poses are known.

    Clouds are moved in the worker's thread; the rest is called in the executor's.

    Args:
        node: that subscribes and logs.
        transforms: where frames are.
        warn_seldom: logs a warning, but not each one of a kind.
    """

    def __init__(
        self,
        node: LifecycleNode,
        transforms: Transforms,
        warn_seldom: Callable[[str, str], None],
    ) -> None:
        self._node, self._transforms, self._warn_seldom = node, transforms, warn_seldom
        self._odometry = OdometrySubscription(node)
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._problem = ("", "")
        self._times: PointTimes | None = None
        self._told = ""

    def follow(self, parameters: Parameters) -> None:
        """Receive what the parameters need from now on.

        Raises:
            InputError: as `check_motion`.
        """
        by_odometry = parameters.motion_compensation == "odometry"
        self._odometry.follow(parameters.motion_odometry_topic if by_odometry else "")

    def close(self) -> None:
        """Receive nothing more."""
        self._odometry.follow("")

    def __call__(self, cloud: Any, parameters: Parameters) -> Any:
        """A PointCloud2 with its points at its stamp, or the same where that can't be, with what
        that was noted."""
        if parameters.motion_compensation == "off" or not cloud.width * cloud.height:
            return cloud
        try:
            return self._moved(cloud, parameters)
        except (CloudError, NoPosesError) as error:
            self._note(error.reason, str(error))
        except NoTransformError as error:
            self._note("no transform", str(error))
        return cloud

    def _moved(self, cloud: Any, parameters: Parameters) -> Any:
        stamp = cloud.header.stamp
        if (fault := stamp_fault(stamp)) is not None:
            raise NoPosesError("bad stamp", f"the clouds' stamps: {fault}")
        stamp_ns = nanoseconds(stamp)
        points, _ = read_xyz_intensity(cloud)
        valid = valid_returns(points)
        unit = parameters.motion_time_unit
        times = point_times(
            cloud,
            stamp_ns,
            valid,
            field=parameters.motion_time_field,
            unit="" if unit == "auto" else unit,
        )
        if times.problem is not None:
            self._note(times.problem.reason, times.problem.message, times)
            return cloud
        by_tf = parameters.motion_compensation == "tf"
        poses_of = self._from_tf if by_tf else self._from_odometry
        poses = poses_of(cloud.header.frame_id, stamp_ns, knot_times(times), parameters)
        moved = compensated_cloud(cloud, stamp_ns, times, valid, poses)
        self._note("", "", times)
        return moved

    def _from_tf(
        self, sensor: str, stamp_ns: int, times: np.ndarray, parameters: Parameters
    ) -> Poses:
        """Of the sensor at times [K], ascending, s relative to the stamp."""
        lookup = partial(self._transforms.lookup, parameters.motion_fixed_frame, sensor)
        # The last one first: that is what there is to wait for.
        timeouts = [parameters.motion_timeout, *[0.0] * (len(times) - 1)]
        found = [
            _values_of(lookup(stamp_ns + round(seconds * SECOND_NS), timeout))
            for seconds, timeout in zip(times[::-1], timeouts)
        ]
        values = np.array(found[::-1])
        return Poses(times, values[:, :3], values[:, 3:])

    def _from_odometry(
        self, sensor: str, stamp_ns: int, times: np.ndarray, parameters: Parameters
    ) -> Poses:
        """As `_from_tf`, from the first to the last of the times."""
        first_ns = stamp_ns + math.floor(times[0] * SECOND_NS)
        last_ns = stamp_ns + math.ceil(times[-1] * SECOND_NS)
        odometry = self._odometry.poses
        end = time.monotonic() + parameters.motion_timeout
        while True:
            try:
                poses = odometry.between(first_ns, last_ns, stamp_ns)
                break
            except NoPosesError as error:
                if not error.may_come or time.monotonic() > end:
                    raise
            time.sleep(_POLL_S)
        base = odometry.base
        if base == frame_name(sensor):
            return poses
        mount = _values_of(
            self._transforms.lookup(base, sensor, stamp_ns, parameters.motion_timeout)
        )
        return poses.of_mounted(mount[:3], mount[3:])

    # What became of the clouds

    def _note(self, reason: str, message: str, times: PointTimes | None = None) -> None:
        """Note a cloud; without a reason it is compensated."""
        if reason == NO_RETURNS:
            return
        with self._lock:
            self._outcomes[reason] += 1
            if reason:
                self._problem = reason, message
            self._times = times or self._times
        if reason == "" and times is not None and (told := str(times)) != self._told:
            self._told = told
            self._node.get_logger().info(f"points are moved to the stamp by their times: {told}")
        elif reason == ONE_TIME:
            self._node.get_logger().info(
                f"no motion compensation needed: {message}; the driver did it, or tells no times",
                once=True,
            )
        elif reason:
            self._warn_seldom(f"motion: {reason}", f"no motion compensation: {message}")

    def status(self, parameters: Parameters) -> Status:
        """Whether the clouds since the last report are compensated."""
        source = parameters.motion_compensation
        with self._lock:
            outcomes, times = self._outcomes.copy(), self._times
            reason, message = self._problem
        new, self._reported = outcomes - self._reported, outcomes.copy()
        if source == "off":
            return Status("motion", OK, "off: points are published as they were measured")
        compensated, still = outcomes.pop("", 0), outcomes.pop(ONE_TIME, 0)
        origin = (
            f"tf, fixed frame {parameters.motion_fixed_frame}"
            if source == "tf"
            else f"odometry on {parameters.motion_odometry_topic}"
        )
        values = {"source": origin} | _told_times(times)
        values |= {
            "clouds compensated": str(compensated),
            "clouds with one time for all points": str(still),
            "clouds not compensated": str(outcomes.total()),
        }
        values |= {f"not compensated: {each}": str(count) for each, count in outcomes.items()}
        failed = new.total() - new[""] - new[ONE_TIME]
        if failed:
            hint = ""
            if reason == NO_FIELD:
                hint = "; where the sensor compensates them itself, set motion.compensation to off"
            text = f"{failed} of {new.total()} clouds not compensated recently: {message}{hint}"
            return Status("motion", WARN, text, values)
        if new[""]:
            return Status("motion", OK, f"{new['']} clouds compensated recently", values)
        if new[ONE_TIME]:
            said = f"nothing to compensate: {message}; the driver did it, or tells no times"
            return Status("motion", OK, said, values)
        return Status("motion", OK, "no cloud recently", values)


def _told_times(times: PointTimes | None) -> dict[str, str]:
    if times is None or not times.columns:
        return {"time field": "none found"}
    first_s, last_s = times.span_s
    return {
        "time field": f"{times.field} ({times.datatype})",
        "unit": times.unit or "not known",
        "counts from": times.origin if times.unit else "not known",
        "times since the stamp (ms)": f"{1e3 * first_s:.1f} to {1e3 * last_s:.1f}",
    }


def _values_of(transform: Any) -> np.ndarray:
    """x y z in m and unit quaternion x y z w of a geometry_msgs/Transform."""
    t, q = transform.translation, transform.rotation
    rotation = np.array([q.x, q.y, q.z, q.w])
    return np.array([t.x, t.y, t.z, *rotation / np.linalg.norm(rotation)])
