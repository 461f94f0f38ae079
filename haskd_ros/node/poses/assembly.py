"""A cloud as it is labelled: moved to its stamp, with other LiDARs' points, and with what was
before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import PointCloud2

from haskd_ros.clouds.sweeps import Moment, SweepHistory
from haskd_ros.node.loaded_model import LabellingSetup
from haskd_ros.node.poses.merging import CloudMerging
from haskd_ros.node.poses.motion import MotionCompensation
from haskd_ros.node.poses.remembering import Remembering
from haskd_ros.node.poses.sensor import SensorPoses
from haskd_ros.node.poses.stacking import SweepStacking
from haskd_ros.node.poses.transforms import Transforms
from haskd_ros.node.reports.statuses import Status
from haskd_ros.segmentation import Refine


class AssembledCloud(NamedTuple):
    """What there is to label.

    Attributes:
        cloud: with the header of the one that came.
        refine: adds the memory to its labels; None: it is labelled without.
        moment: when and where it was measured, and the sweeps below it; None: it is by itself.
        history: gets it when it is labelled.
    """

    cloud: PointCloud2
    refine: Refine | None
    moment: Moment | None
    history: SweepHistory


class CloudAssembly:
    """Assembles clouds in the worker's thread; the rest is called in the executor's.

    Args:
        node: that subscribes.
        transforms: where frames are.
        warn_seldom: logs a warning, but not each one of a kind.
        warn_of_qos: as of `OtherLidars`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        transforms: Transforms,
        warn_seldom: Callable[[str, str], None],
        warn_of_qos: Callable[[str], Callable[[Any], None]],
    ) -> None:
        self._poses = SensorPoses(node, transforms)
        self._motion = MotionCompensation(node, self._poses, warn_seldom)
        self._merging = CloudMerging(node, self._poses, transforms, warn_seldom, warn_of_qos)
        self._remembering = Remembering(warn_seldom)
        self._stacking = SweepStacking(warn_seldom)

    def follow(self, setup: LabellingSetup) -> None:
        """Receive what clouds need from now on.

        Raises:
            InputError: as `SensorPoses.follow` and `CloudMerging.follow`.
        """
        self._poses.follow(setup.parameters, needed=setup.needs_poses)
        self._merging.follow(setup.parameters)

    def close(self) -> None:
        """Receive nothing more."""
        self._merging.close()
        self._poses.close()

    def forget(self) -> None:
        """Begin anew, and hold no model."""
        self._remembering.forget()
        self._stacking.forget()

    def __call__(self, cloud: PointCloud2, setup: LabellingSetup) -> AssembledCloud:
        """What is to be labelled of a cloud that came. Waits for poses and other LiDARs as long as
        the parameters say."""
        model, parameters, now_s = setup.model, setup.parameters, time.monotonic()
        until_s, merge_until_s = now_s + parameters.poses_timeout, now_s + parameters.merge_timeout
        moved = self._motion(cloud, parameters, until_s)
        rule = model.metadata.intensity
        assembled = self._merging(cloud, moved, rule, parameters, merge_until_s)
        if not setup.needs_moments:
            self.forget()
            return AssembledCloud(assembled, None, None, self._stacking.history)
        # Once for both: each of them may wait for it.
        moment = self._poses.moment_of(assembled, parameters, until_s)
        refine = self._remembering.refine_for(moment, model, parameters)
        stacked = self._stacking.moment_for(moment, model, parameters)
        return AssembledCloud(assembled, refine, stacked, self._stacking.history)

    def statuses(self, setup: Callable[[], LabellingSetup]) -> dict[str, Callable[[], Status]]:
        """What is told of each part, by its name in the diagnostics.

        Args:
            setup: gives the one that clouds are labelled with now.
        """
        return {
            "motion": lambda: self._motion.status(setup().parameters),
            "merging": lambda: self._merging.status(setup().parameters),
            "memory": lambda: self._remembering.status(setup().parameters),
            "sweeps": lambda: self._stacking.status(setup().model, setup().parameters),
        }
