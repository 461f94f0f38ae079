"""Motion compensation of the node's clouds, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode

from haskd_ros.clouds.motion import compensated_cloud, knot_times
from haskd_ros.clouds.point_times import NO_FIELD, NO_RETURNS, ONE_TIME, PointTimes, point_times
from haskd_ros.clouds.pointcloud import CloudError, read_xyz_intensity, valid_returns
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.node.poses.odometry import NoPosesError
from haskd_ros.node.poses.sensor import SensorPoses, source_told, stamp_of
from haskd_ros.node.reports.outcomes import Outcomes
from haskd_ros.node.reports.statuses import OK, WARN, Status


class MotionCompensation:
    """Moves the points of clouds to where they were at the clouds' stamps, where the parameters say
    so and times and poses are known.

    Clouds are moved in the worker's thread; the rest is called in the executor's.

    Args:
        node: that subscribes and logs.
        poses: of the sensor.
        warn_seldom: logs a warning, but not each one of a kind.
    """

    def __init__(
        self,
        node: LifecycleNode,
        poses: SensorPoses,
        warn_seldom: Callable[[str, str], None],
    ) -> None:
        self._node, self._poses, self._warn_seldom = node, poses, warn_seldom
        self._outcomes = Outcomes()
        self._times: PointTimes | None = None
        self._told = ""

    def __call__(self, cloud: Any, parameters: Parameters, until_s: float) -> Any:
        """A PointCloud2 with its points at its stamp, or the same where that can't be, with what
        that was noted.

        Args:
            until_s: of `time.monotonic`; no longer than that it waits for poses.
        """
        if not parameters.motion_compensation or not cloud.width * cloud.height:
            return cloud
        try:
            return self._moved(cloud, parameters, until_s)
        except (CloudError, NoPosesError) as error:
            self._note(error.reason, str(error))
        return cloud

    def _moved(self, cloud: Any, parameters: Parameters, until_s: float) -> Any:
        stamp_ns = stamp_of(cloud)
        points, _ = read_xyz_intensity(cloud)
        valid = valid_returns(points)
        field, unit = parameters.motion_time_field, parameters.motion_time_unit
        times = point_times(cloud, stamp_ns, valid, field=field, unit=unit)
        if times.problem is None or times.problem.reason != NO_RETURNS:
            self._times = times
        if times.problem is not None:
            self._note(times.problem.reason, times.problem.message)
            return cloud
        knots = knot_times(times)
        poses = self._poses.over(cloud.header.frame_id, stamp_ns, knots, parameters, until_s)
        moved = compensated_cloud(cloud, stamp_ns, times, valid, poses)
        self._note("", "")
        if (told := str(times)) != self._told:
            self._told = told
            self._node.get_logger().info(f"points are moved to the stamp by their times: {told}")
        return moved

    # What became of the clouds

    def _note(self, reason: str, message: str) -> None:
        """Note a cloud; without a reason it is compensated."""
        if reason == NO_RETURNS:
            return
        self._outcomes.note(reason, message)
        if reason == ONE_TIME:
            self._node.get_logger().info(
                f"no motion compensation needed: {message}; the driver did it, or tells no times",
                once=True,
            )
        elif reason:
            self._warn_seldom(f"motion: {reason}", f"no motion compensation: {message}")

    def status(self, parameters: Parameters) -> Status:
        """Whether the clouds since the last report are compensated."""
        outcomes, new, reason, message = self._outcomes.ask()
        if not parameters.motion_compensation:
            return Status("motion", OK, "off: points are published as they were measured")
        compensated, still = outcomes.pop("", 0), outcomes.pop(ONE_TIME, 0)
        values = {"poses": source_told(parameters)} | _told_times(self._times)
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
                hint = "; where the sensor does it itself, set motion.compensation to false"
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
