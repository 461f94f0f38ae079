"""The clouds of a recording's other LiDARs in those of its main one, as the node merges them, by
the recording's TF."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from haskd_ros.clouds.crop import frame_name
from haskd_ros.clouds.merging import MergedIntensity, OtherCloud, check_layout, merged_cloud
from haskd_ros.clouds.motion import Poses, knot_times
from haskd_ros.clouds.placing import MainCloud, main_cloud, placed_cloud
from haskd_ros.clouds.point_layout import CloudError
from haskd_ros.clouds.point_times import PointTimes
from haskd_ros.model_header import Intensity
from haskd_ros.node.parameters.values import Parameters
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.bag import frame_of, stamp_ns
from haskd_training.recordings.transform_tree import NoTransform, TransformTree
from haskd_training.robot.offline.bag_motion import sensor_poses
from haskd_training.robot.offline.bag_outcomes import BagOutcomes
from haskd_training.robot.offline.lidar_pairs import Gap

_NO_MODEL = Intensity(scale=1.0, mean=0.0)
"""There is no model yet: of integers, an intensity that was not measured is 0."""


class BagMerging:
    """Puts the points of other LiDARs behind those of a main cloud, in its frame and at its stamp.

    Args:
        tree: all transforms of the recording.
        intensity: has seen all clouds, so that the first ones are in the same unit as the last.
        parameters: of the node.
    """

    def __init__(
        self, tree: TransformTree, intensity: MergedIntensity, parameters: Parameters
    ) -> None:
        self._tree, self._intensity, self._parameters = tree, intensity, parameters
        self._merged: dict[str, BagOutcomes] = {}
        self._left_still: dict[str, BagOutcomes] = {}

    def __call__(self, measured: Any, moved: Any, others: Mapping[str, Any | Gap]) -> Any:
        """A PointCloud2 with the points of all LiDARs that can be had.

        Args:
            measured: the main cloud as it was recorded.
            moved: the same after motion compensation.
            others: clouds of the other LiDARs, by topic, or why there is none.
        """
        if not others:
            return moved
        field, unit = self._parameters.motion_time_field, self._parameters.motion_time_unit
        try:
            check_layout(moved)
            self._intensity.look_at(moved)
            into = main_cloud(measured, stamp_ns(measured), self._intensity, field, unit)
        except CloudError as error:
            for topic in others:
                self._of(topic).note_left(f"main: {error.reason}", f"the main cloud: {error}")
            return moved
        placed = []
        for topic, cloud in others.items():
            try:
                placed.append(self._placed(topic, cloud, into))
            except CloudError as error:
                self._of(topic).note_left(error.reason, str(error))
            except NoTransform as error:
                self._of(topic).note_left(str(error), str(error))
            else:
                self._of(topic).note()
        return merged_cloud(moved, placed) if placed else moved

    def _placed(self, topic: str, cloud: Any | Gap, into: MainCloud) -> OtherCloud:
        """
        Raises:
            CloudError, NoTransform: it can't be had in the main cloud's frame.
        """
        if isinstance(cloud, Gap):
            raise _no_cloud(cloud, self._parameters.merge_max_gap)
        field, unit = self._parameters.motion_time_field, self._parameters.motion_time_unit
        frame, mount = frame_of(cloud), np.eye(4)
        if frame != into.frame:
            mount = self._tree.lookup(into.frame, frame, into.stamp_ns)
        poses = None
        if self._parameters.motion_compensation:
            poses = partial(self._poses_of, topic, frame, into.stamp_ns)
        return placed_cloud(
            topic, cloud, stamp_ns(cloud), into, mount, _NO_MODEL, field, unit, poses
        )

    def _poses_of(self, topic: str, frame: str, stamp: int, times: PointTimes) -> Poses | None:
        """As of `placed_cloud`; None, noted, where they are not known."""
        fixed = frame_name(self._parameters.poses_fixed_frame)
        try:
            return sensor_poses(self._tree, fixed, frame, stamp, knot_times(times))
        except NoTransform as error:
            outcomes = BagOutcomes(
                "lidar-compensated",
                "its points are moved in {count} clouds",
                "lidar-not-compensated",
                "its points are merged where they were measured in {count} clouds",
            )
            self._left_still.setdefault(topic, outcomes).note_left(str(error), str(error))
            return None

    def _of(self, topic: str) -> BagOutcomes:
        return self._merged.setdefault(
            topic,
            BagOutcomes(
                "lidar-merged",
                "its points are in {count} clouds",
                "lidar-not-merged",
                "{count} clouds are without its points",
            ),
        )

    @property
    def findings(self) -> list[Finding]:
        """What became of each LiDAR's clouds."""
        told = (*self._merged.items(), *self._left_still.items())
        return [finding for topic, outcomes in told for finding in outcomes.findings(topic)]


def _no_cloud(gap: Gap, max_gap_s: float) -> CloudError:
    if gap.seconds is None:
        return CloudError("no cloud", "none was recorded within 2 s")
    return CloudError(
        "stamps too far apart",
        f"the nearest cloud is {gap.seconds:+.3f} s from the main one, merge.max_gap is "
        f"{max_gap_s:g} s",
    )
