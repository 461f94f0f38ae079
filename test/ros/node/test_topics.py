"""The node's topics as other people need them: their QoS, and who gets what without the rest."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import cloud_of, some_points
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

pytestmark = pytest.mark.live

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
OUTPUT = "/segment/output/segmentation"


def test_outputs_take_qos_overrides_and_those_without_effect_are_said(
    start, second_robot, tiny_model
):
    node = start(
        f"model:={tiny_model}", "warmup_points:=1000",
        f"qos_overrides.{OUTPUT}.publisher.durability:=transient_local",
        f"qos_overrides.{OUTPUT}.publisher.durabilty:=volatile",
        "qos_overrides./points.subscription.depth:=5",
    )  # fmt: skip
    node.wait_for_log(
        "QoS overrides that have no effect: qos_overrides./points.subscription.depth, "
        f"qos_overrides.{OUTPUT}.publisher.durabilty; there are "
    )
    second_robot.subscribe("output/segmentation")
    labelled = second_robot.label(cloud_of(some_points()))
    late: list[PointCloud2] = []
    second_robot.node.create_subscription(PointCloud2, OUTPUT, late.append, LATCHED)
    second_robot.wait(lambda: bool(late))
    assert late[0] == labelled
    assert node.end() == 0


def test_who_subscribes_to_the_legend_alone_gets_it_but_not_with_each_cloud(
    start, second_robot, tiny_model
):
    node = start(f"model:={tiny_model}", "warmup_points:=1000")
    second_robot.subscribe("output/legend", MarkerArray, LATCHED)
    legends = second_robot.received["output/legend"]
    front, rear = cloud_of(some_points()), cloud_of(some_points())
    rear.header.frame_id = "rear_lidar"
    node.wait_for_log("active")
    second_robot.send(front)
    # Best effort: the first may be lost.
    second_robot.wait(lambda: bool(legends) or second_robot.send_now(front))
    begin, sent = time.monotonic(), 0
    while time.monotonic() < begin + 2.0 or sent < 40:
        for cloud in (front, rear):
            second_robot.send_now(cloud)
            sent += 1
            pause = time.monotonic() + 0.02
            second_robot.wait(lambda pause=pause: time.monotonic() > pause)
    periods = (time.monotonic() - begin) / 0.5
    assert 2 <= len(legends) <= periods + 2
    assert len(legends) < sent / 2
    assert {legend.markers[0].header.frame_id for legend in legends} >= {"lidar"}
    assert node.end() == 0
    assert second_robot.final_counts()["that nobody watched"] > 0


def test_a_parameter_that_can_only_be_read_may_be_set_to_what_it_is(segment, robot):
    # As `ros2 param load` of what `ros2 param dump` has written
    assert robot.set_parameter("autostart", True) == (True, "")
    successful, reason = robot.set_parameter("autostart", False)
    assert not successful and "read-only" in reason
