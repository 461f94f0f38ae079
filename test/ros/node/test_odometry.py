"""Poses from odometry."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.node.poses.odometry import NoPosesError, OdometryPoses
from haskd_ros.node.poses.sensor import SensorPoses
from haskd_ros.node.poses.transforms import Transforms

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000


def odometry(stamp_ns: int, x: float = 0.0, *, q=(0, 0, 0, 1), base="base", fixed="odom"):
    xyz, names = SimpleNamespace(x=x, y=0.0, z=0.0), ("x", "y", "z", "w")
    stamp = SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    pose = SimpleNamespace(position=xyz, orientation=SimpleNamespace(**dict(zip(names, q))))
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id=fixed),
        child_frame_id=base,
        pose=SimpleNamespace(pose=pose),
    )


def received(*stamps_ms: float, **changes) -> OdometryPoses:
    """x is the time in ms."""
    poses = OdometryPoses()
    for ms in stamps_ms:
        poses.add(odometry(START_NS + round(ms * MS), ms, **changes))
    return poses


def between(poses: OdometryPoses, first_ms: float, last_ms: float):
    first, last = START_NS + round(first_ms * MS), START_NS + round(last_ms * MS)
    base, found = poses.between(first, last, START_NS)
    assert base == "base"
    return found


def test_the_poses_around_a_sweep_are_given_relative_to_its_stamp():
    poses = received(-100, -50, 0, 50, 100, base="/base")
    found = between(poses, -60, 40)
    assert found.times == pytest.approx([-0.1, -0.05, 0, 0.05])
    assert found.translation[:, 0].tolist() == [-100, -50, 0, 50]
    # No more than is needed where a pose is of just that time
    assert between(poses, -50, 50).times == pytest.approx([-0.05, 0, 0.05])
    assert between(poses, 50, 50).times == pytest.approx([0.05])
    # Between two messages: 20 ms is x = 20
    assert found.at(np.array([0.02])).translation[0] == pytest.approx([20, 0, 0])


def test_the_order_of_the_messages_and_repeats_do_not_matter():
    found = between(received(0, 40, 20, 20, 60, 40), 0, 60)
    assert found.times == pytest.approx([0, 0.02, 0.04, 0.06])


@pytest.mark.parametrize(
    ("stamps_ms", "span_ms", "reason", "said", "may_come"),
    [
        ([], (0, 100), "no odometry", "no odometry received", False),
        ([0, 50], (0, 100), "no odometry of that time",
         "the newest odometry is 0.050 s older than the last point", True),
        # It has stopped
        ([0, 50], (2000, 2100), "no odometry of that time", "2.050 s older", False),
        ([0, 50, 100], (-30, 70), "no odometry of that time",
         "the oldest odometry is 0.030 s younger than the first point", False),
        ([0, 600], (500, 600), "a gap in the odometry", "a gap of 0.600 s", False),
    ],
)  # fmt: skip
def test_missing_poses_say_what_is_missing(stamps_ms, span_ms, reason, said, may_come):
    with pytest.raises(NoPosesError, match=said) as refused:
        between(received(*stamps_ms), *span_ms)
    assert (refused.value.reason, refused.value.may_come) == (reason, may_come)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x": math.nan}, "NaN or infinity"),
        ({"q": (0, 0, 0, 0)}, "a quaternion of zeros"),
        ({"q": (0, 0, math.inf, 1)}, "NaN or infinity"),
        ({"base": ""}, "no child_frame_id"),
        ({"stamp_ns": -(10**9)}, "before 1970"),
    ],
)
def test_odometry_without_a_pose_is_left_out_and_told(changes, said):
    poses = OdometryPoses()
    message = {"stamp_ns": START_NS} | changes
    poses.add(odometry(**message))
    with pytest.raises(NoPosesError, match=f"no odometry received that can be used: .*{said}"):
        between(poses, 0, 100)


def test_a_quaternion_of_any_length_is_a_rotation():
    found = between(received(0, q=(0, 0, 3, 4)), 0, 0)
    assert found.rotation[0] == pytest.approx([0, 0, 0.6, 0.8])


def test_another_frame_or_a_bag_that_starts_again_begins_anew():
    poses = received(0, 50, 100)
    poses.add(odometry(START_NS + 150 * MS, base="trailer"))
    with pytest.raises(NoPosesError, match="oldest"):
        between(poses, 100, 150)
    poses = received(60_000, 0, 50)
    assert between(poses, 0, 50).times == pytest.approx([0, 0.05])


def test_only_the_last_seconds_are_kept():
    poses = received(*range(0, 20_000, 10))
    assert between(poses, 15_500, 15_600).times[0] == pytest.approx(15.5)
    with pytest.raises(NoPosesError, match="oldest"):
        between(poses, 14_000, 14_100)


def test_a_frame_does_not_stand_still_in_itself():
    poses = SensorPoses(None, Transforms(None))
    parameters = replace(DEFAULTS, poses_fixed_frame="/lidar")
    with pytest.raises(NoPosesError, match="fixed_frame is /lidar, the sensor's own frame"):
        poses.over("lidar", START_NS, np.zeros(1), parameters, 0.0)
