"""The clouds of other LiDARs in the input's cloud, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode

from haskd_ros.clouds.crop import frame_name, matrix_of
from haskd_ros.clouds.merging import MergedIntensity, OtherCloud, check_layout, merged_cloud
from haskd_ros.clouds.motion import Poses, knot_times
from haskd_ros.clouds.placing import MainCloud, main_cloud, placed_cloud
from haskd_ros.clouds.point_layout import CloudError
from haskd_ros.clouds.point_times import ONE_TIME, PointTimes
from haskd_ros.model_header import Intensity
from haskd_ros.node.inputs import wrong_type_advice
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.node.poses.odometry import NoPosesError
from haskd_ros.node.poses.other_lidars import LeftOutError, OtherLidars, topics_to_merge
from haskd_ros.node.poses.sensor import SensorPoses, stamp_of
from haskd_ros.node.poses.transforms import NoTransformError, Transforms
from haskd_ros.node.reports.outcomes import Outcomes
from haskd_ros.node.reports.statuses import OK, WARN, Status

_SOME_MISSING = "without some"


class CloudMerging:
    """Puts the points of other LiDARs behind those of the input's cloud, in its frame and at its
    stamp, where the parameters say so. A cloud that can't be had, or read, or placed is left out.

    Clouds are merged in the worker's thread; the rest is called in the executor's.

    Args:
        node: that subscribes and logs.
        poses: of the sensors.
        transforms: where frames are.
        warn_seldom: logs a warning, but not each one of a kind.
        warn_of_qos: as of `OtherLidars`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        poses: SensorPoses,
        transforms: Transforms,
        warn_seldom: Callable[[str, str], None],
        warn_of_qos: Callable[[str], Callable[[Any], None]],
    ) -> None:
        self._node, self._poses, self._transforms = node, poses, transforms
        self._warn_seldom = warn_seldom
        self._lidars = OtherLidars(node, warn_of_qos)
        self._begin()

    def _begin(self) -> None:
        self._clouds, self._others = Outcomes(), Outcomes()
        self._intensity = MergedIntensity()

    def follow(self, parameters: Parameters) -> None:
        """Receive the clouds that the parameters name from now on.

        Raises:
            InputError: as `topics_to_merge`.
        """
        topics = topics_to_merge(self._node, parameters)
        if topics == self._lidars.topics:
            return
        self._begin()
        self._lidars.follow(topics)
        if topics and not self._transforms.are_known:
            self._node.get_logger().warning(
                "tf2_ros is not installed: of the clouds on merge.topics only those in the input's "
                "own frame can be merged"
            )

    def close(self) -> None:
        """Receive nothing more."""
        self._lidars.follow(())

    def __call__(
        self,
        measured: Any,
        moved: Any,
        rule: Intensity,
        parameters: Parameters,
        until_s: float,
    ) -> Any:
        """A PointCloud2 with the points of all LiDARs, or the input's alone where there are no
        others.

        Args:
            measured: the input's cloud as it came.
            moved: the same after motion compensation.
            rule: of the model, for intensities.
            until_s: of `time.monotonic`; no longer than that it waits for clouds and transforms.
        """
        if not self._lidars.topics:
            return moved
        if self._intensity.fixed != parameters.intensity_scale:
            self._intensity = MergedIntensity(parameters.intensity_scale)
        try:
            check_layout(moved)
            intensity = self._intensity  # a change of topics replaces it
            intensity.look_at(moved)
            stamp_ns = stamp_of(measured)
            into = main_cloud(measured, stamp_ns, intensity, *_time_field(parameters))
        except (CloudError, NoPosesError) as error:
            self._note_cloud({"the input's cloud": error})
            return moved
        others: list[OtherCloud] = []
        left_out: dict[str, LeftOutError | CloudError | NoPosesError] = {}
        found = self._lidars.nearest(stamp_ns, parameters.merge_max_gap, until_s)
        for topic, cloud in found.items():
            try:
                if isinstance(cloud, LeftOutError):
                    raise cloud
                others.append(self._placed(topic, cloud, into, rule, parameters, until_s))
            except (LeftOutError, CloudError) as error:
                left_out[topic] = error
        self._note_cloud(left_out)
        return merged_cloud(moved, others) if others else moved

    def _placed(
        self,
        topic: str,
        cloud: Any,
        into: MainCloud,
        rule: Intensity,
        parameters: Parameters,
        until_s: float,
    ) -> OtherCloud:
        """
        Raises:
            LeftOutError, CloudError: it can't be had in the input's frame.
        """
        frame, own_ns = frame_name(cloud.header.frame_id), stamp_of(cloud)
        mount = np.eye(4)
        if frame != into.frame:
            try:
                found = self._transforms.lookup(into.frame, frame, into.stamp_ns, until_s)
            except NoTransformError as error:
                raise LeftOutError("no transform", str(error)) from error
            mount = matrix_of(found)
        poses = None
        if parameters.motion_compensation:
            poses = partial(
                self._poses_of, topic, frame, into.stamp_ns, parameters=parameters, until_s=until_s
            )
        return placed_cloud(
            topic, cloud, own_ns, into, mount, rule, *_time_field(parameters), poses
        )

    def _poses_of(
        self,
        topic: str,
        frame: str,
        stamp_ns: int,
        times: PointTimes,
        parameters: Parameters,
        until_s: float,
    ) -> Poses | None:
        """The poses of another LiDAR over the times of its points, s from the input's stamp on;
        None, noted, where they are not known."""
        if times.problem is not None and times.problem.reason != ONE_TIME:
            self._warn_seldom(
                f"times of {topic}",
                f"{topic}: its points are taken as measured at its stamp: {times.problem.message}",
            )
        try:
            return self._poses.over(frame, stamp_ns, knot_times(times), parameters, until_s)
        except NoPosesError as error:
            self._others.note(f"{topic}: not compensated, {error.reason}", str(error))
            self._warn_seldom(
                f"motion of {topic}", f"{topic}: merged without motion compensation: {error}"
            )
            return None

    # What became of the clouds

    def _note_cloud(self, left_out: Mapping[str, LeftOutError | CloudError | NoPosesError]) -> None:
        """Note a cloud, and why it lacks the points of other LiDARs, by their topics."""
        told = "; ".join(f"{topic}: {error}" for topic, error in left_out.items())
        self._clouds.note(_SOME_MISSING if left_out else "", told)
        for topic, error in left_out.items():
            what = f"{topic}: {error.reason}"
            self._others.note(what, str(error))
            self._warn_seldom(f"merging {what}", f"not merged: {topic}: {error}")

    def status(self, parameters: Parameters) -> Status:
        """Whether the clouds since the last report have the points of all LiDARs."""
        clouds, recent, _, message = self._clouds.ask()
        if not parameters.other_lidars:
            return Status("merging", OK, "off: the input's clouds alone")
        topics = self._lidars.topics
        values = {
            "topics": ", ".join(topics),
            "clouds merged with all": str(clouds[""]),
            "clouds without some": str(clouds[_SOME_MISSING]),
        }
        values |= {each: str(count) for each, count in self._others.ask().counts.items()}
        faults = self._wrong_types()
        if missing := recent[_SOME_MISSING]:
            faults.insert(0, f"{missing} of {recent.total()} clouds without some: {message}")
        if faults:
            return Status("merging", WARN, "; ".join(faults), values)
        told = f"{recent['']} clouds merged recently" if recent else "no cloud recently"
        return Status("merging", OK, told, values)

    def _wrong_types(self) -> list[str]:
        """What is wrong with what is offered on the topics of silent LiDARs."""
        faults = []
        for topic in self._lidars.silent_s():
            if (fault := wrong_type_advice(self._node, topic)) is not None:
                self._warn_seldom(f"type of {topic}", f"not merged: {fault}")
                faults.append(fault)
        return faults


def _time_field(parameters: Parameters) -> tuple[str, str]:
    return parameters.motion_time_field, parameters.motion_time_unit
