"""Motion compensation by the real TF: a sensor that is mounted on a base, which drives a curve
through a room."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
pytest.importorskip("nav_msgs", reason="needs nav_msgs (pip install '.[ros-wheels]')")
pytest.importorskip("tf2_ros", reason="needs tf2_ros, which no package index has")

import tf2_ros
from driving_robot import ODOMETRY, Drive, measured, stamp, xyz_of
from geometry_msgs.msg import TransformStamped
from moving_sensor import MOUNT_PLACE, MOUNT_TURN, pose, sweep

pytestmark = pytest.mark.live

COUNT = 20_000
SWEEP_S = np.linspace(0, 0.1, COUNT)
SEEN, STANDING = sweep(SWEEP_S, mounted=True)
POINTS = measured(SEEN, "t", np.round(SWEEP_S * 1e9).astype("u4"))
AROUND_S = np.arange(-0.15, 0.16, 0.01)
MM = 1e-3
WARN = b"\1"


def transform(stamp_ns, parent, child, place, quaternion) -> TransformStamped:
    found = TransformStamped(child_frame_id=child)
    found.header.frame_id, found.header.stamp = parent, stamp(stamp_ns)
    translation, rotation = found.transform.translation, found.transform.rotation
    translation.x, translation.y, translation.z = map(float, place)
    rotation.x, rotation.y, rotation.z, rotation.w = map(float, quaternion)
    return found


class TfDrive(Drive):
    """Sends transforms instead of odometry."""

    def __init__(self, robot) -> None:
        super().__init__(robot)
        self._broadcaster = tf2_ros.TransformBroadcaster(robot.node)

    def send_poses(self, stamp_ns, seconds, base="base_link") -> None:
        turn, place = pose(seconds)
        self._broadcaster.sendTransform(
            [
                transform(stamp_ns + round(when * 1e9), "odom", base, xyz, q)
                for when, xyz, q in zip(seconds, place, turn.as_quat())
            ]
        )


def mount(robot):
    """base_link -> lidar, latched as long as the result lives."""
    broadcaster = tf2_ros.StaticTransformBroadcaster(robot.node)
    broadcaster.sendTransform(transform(0, "base_link", "lidar", MOUNT_PLACE, MOUNT_TURN.as_quat()))
    return broadcaster


PARAMETERS = ("warmup_points:=1000", "diagnostics.period:=0.2", "diagnostics.max_age:=0.0",
              "poses.timeout:=0.5")  # fmt: skip


def test_the_walls_are_where_a_mounted_sensor_that_stands_would_see_them(
    start, second_robot, tiny_model
):
    node = start(f"model:={tiny_model}", "motion.compensation:=true", *PARAMETERS)
    node.wait_for_log("active")
    drive = TfDrive(second_robot)
    # Without a transform at all
    stamp_ns = drive.next_stamp()
    segmentation, _ = drive.label(POINTS, stamp_ns)
    np.testing.assert_array_equal(xyz_of(segmentation), xyz_of(POINTS))
    level, _, values = drive.status("not compensated recently: no transform from lidar to odom")
    assert level == WARN and int(values["not compensated: no transform"]) >= 1

    latched = mount(second_robot)
    assert np.linalg.norm(SEEN - STANDING, axis=1).max() > 0.3

    def compensated() -> bool:
        # TF hears of the mount when it has been discovered
        segmentation, filtered = drive.label(POINTS, drive.next_stamp(), AROUND_S, "base_link")
        off = [np.linalg.norm(xyz_of(each) - STANDING, axis=1).max() for each in
               (segmentation, filtered)]  # fmt: skip
        return max(off) < MM and not filtered["t"].any()

    second_robot.wait(compensated)
    _, _, values = drive.status("clouds compensated recently", "t (uint32)")
    assert values["poses"] == "tf, fixed frame odom"
    # Poses that end half way through the sweep
    segmentation, _ = drive.label(POINTS, drive.next_stamp(), AROUND_S[:20], "base_link")
    np.testing.assert_array_equal(xyz_of(segmentation), xyz_of(POINTS))
    assert drive.status("extrapolation into the future")[0] == WARN
    # Another frame that stands still, with ROS 1's slash
    assert second_robot.set_parameter("poses.fixed_frame", "/map") == (True, "")
    drive.label(POINTS, drive.next_stamp(), AROUND_S, "base_link")
    assert drive.status("no transform from lidar to map")[0] == WARN
    del latched


def test_odometry_of_the_base_and_its_mount_from_tf(start, second_robot, tiny_model):
    node = start(
        f"model:={tiny_model}", "motion.compensation:=true", "poses.source:=odometry",
        f"poses.odometry_topic:={ODOMETRY}", *PARAMETERS,
    )  # fmt: skip
    node.wait_for_log("active")
    latched = mount(second_robot)
    drive = Drive(second_robot)

    def compensated() -> bool:
        segmentation, _ = drive.label(POINTS, drive.next_stamp(), AROUND_S, "base_link")
        return np.linalg.norm(xyz_of(segmentation) - STANDING, axis=1).max() < MM

    second_robot.wait(compensated)
    assert "source" in drive.status("clouds compensated recently", "t (uint32)")[2]
    del latched
