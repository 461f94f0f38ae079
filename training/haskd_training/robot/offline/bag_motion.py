"""Motion compensation of a recording's clouds, as the node does it, by the recording's TF."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from haskd_ros.clouds.crop import frame_name
from haskd_ros.clouds.motion import Poses, compensated_cloud, knot_times
from haskd_ros.clouds.point_times import NO_RETURNS, point_times
from haskd_ros.clouds.pointcloud import CloudError, read_xyz_intensity, valid_returns
from haskd_ros.errors import InputError
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.text import listed
from haskd_training.recordings.readers.bag import frame_of, stamp_ns
from haskd_training.recordings.transform_tree import NoTransform, TransformTree
from haskd_training.robot.offline.bag_outcomes import BagOutcomes


class BagMotion:
    """Moves the points of clouds to where they were at the clouds' stamps, where the parameters say
    so.

    Args:
        tree: all transforms of the recording.
        parameters: of the node.

    Attributes:
        findings: of `BagOutcomes`.
    """

    def __init__(self, tree: TransformTree, parameters: Parameters) -> None:
        self._tree, self._parameters = tree, parameters
        self._outcomes = BagOutcomes(
            "motion-compensated",
            "the points of {count} clouds are moved to their stamps",
            "motion-not-compensated",
            "{count} clouds stay as they were measured",
        )
        self.findings = self._outcomes.findings

    def __call__(self, cloud: Any) -> Any:
        """A PointCloud2 with its points at its stamp, or the same where that can't be."""
        if not self._parameters.motion_compensation or not cloud.width * cloud.height:
            return cloud
        try:
            moved = self._moved(cloud)
        except (CloudError, NoTransform) as error:
            reason = error.reason if isinstance(error, CloudError) else str(error)
            self._outcomes.note_left(reason, str(error))
            return cloud
        self._outcomes.note()
        return moved

    def _moved(self, cloud: Any) -> Any:
        stamp = stamp_ns(cloud)
        valid = valid_returns(read_xyz_intensity(cloud)[0])
        field, unit = self._parameters.motion_time_field, self._parameters.motion_time_unit
        times = point_times(cloud, stamp, valid, field=field, unit=unit)
        if times.problem is not None:
            if times.problem.reason == NO_RETURNS:
                return cloud
            raise CloudError(*times.problem)
        knots = knot_times(times)
        fixed = frame_name(self._parameters.poses_fixed_frame)
        poses = sensor_poses(self._tree, fixed, frame_of(cloud), stamp, knots)
        return compensated_cloud(cloud, stamp, times, valid, poses)


def sensor_poses(
    tree: TransformTree, fixed: str, frame: str, stamp: int, seconds: np.ndarray
) -> Poses:
    """Where a sensor was in a fixed frame.

    Args:
        frame: the sensor's.
        seconds: [K] from the stamp, in ns, on.

    Raises:
        NoTransform: the recording doesn't tell it at one of the times.
    """
    stamps = [stamp + round(1e9 * each) for each in seconds]
    transforms, reasons = tree.lookups(fixed, frame, stamps)
    if missing := next(filter(None, reasons), None):
        raise NoTransform(f"{missing}, from the first point to the stamp or the last one")
    rotation = Rotation.from_matrix(transforms[:, :3, :3]).as_quat()
    return Poses(seconds, transforms[:, :3, 3].copy(), np.asarray(rotation))


def check_poses(tree: TransformTree, sensor: str, parameters: Parameters) -> None:
    """
    Raises:
        InputError: the recording's TF doesn't tell where the sensor is in the fixed frame, or that
            frame moves with it.
    """
    if parameters.poses_source == "odometry":
        raise InputError("poses.source=odometry: recordings have their poses by TF, take tf")
    fixed = frame_name(parameters.poses_fixed_frame)
    known = f"frames of the recording's TF: {listed(sorted(tree.frames))}"
    if not tree.connects(fixed, sensor):
        raise InputError(f"poses.fixed_frame={fixed}: TF does not connect {sensor} to it; {known}")
    if not tree.moves(fixed, sensor) and tree.moves(tree.root(sensor), sensor):
        raise InputError(f"poses.fixed_frame={fixed}: it moves with {sensor}; {known}")
