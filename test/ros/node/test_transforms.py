"""A crop box in a frame of its own, by the real TF."""

import math
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
pytest.importorskip("tf2_ros", reason="needs tf2_ros, which no package index has")

import tf2_ros
from geometry_msgs.msg import TransformStamped
from robot import cloud_of, some_points

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.taxonomy import UNLABELLED

BOX = ("crop.min:=[0.0, -10.0, -5.0]", "crop.max:=[20.0, 10.0, 5.0]")


def in_the_box(points: np.ndarray) -> np.ndarray:
    """Which points are in it where the base sees the sensor 2 m ahead, 1.5 m up, turned left by
    90 degrees: its x is the base's y, its y the base's -x."""
    x, y, z = 2.0 - points["y"], points["x"], points["z"] + 1.5
    return (x >= 0) & (x <= 20) & (abs(y) <= 10) & (abs(z) <= 5)


def pose(robot, parent: str, child: str) -> TransformStamped:
    """That of the sensor, now."""
    found = TransformStamped()
    found.header.frame_id, found.child_frame_id = parent, child
    found.header.stamp = robot.node.get_clock().now().to_msg()
    found.transform.translation.x, found.transform.translation.z = 2.0, 1.5
    found.transform.rotation.z = found.transform.rotation.w = math.sqrt(0.5)
    return found


def test_the_box_follows_a_fixed_transform(start, second_robot, tiny_model):
    robot, points = second_robot, some_points()
    node = start(f"model:={tiny_model}", "crop.frame:=base", *BOX)
    node.wait_for_log("active")
    robot.subscribe("output/segmentation")

    def rejected() -> bool:
        robot.send(cloud_of(points))
        return "cloud rejected: no transform from lidar to base" in node.log

    robot.wait(rejected)
    broadcaster = tf2_ros.StaticTransformBroadcaster(robot.node)
    broadcaster.sendTransform(pose(robot, "base", "lidar"))
    class_id = read_points(robot.label(cloud_of(points)))["class_id"]
    inside = in_the_box(points)
    assert 50 < inside.sum() < 500
    np.testing.assert_array_equal(class_id != UNLABELLED, inside)
    # ROS 1's slash before a frame's name doesn't count
    assert robot.set_parameter("crop.frame", "/base") == (True, "")
    cloud = cloud_of(points)
    cloud.header.frame_id = "/lidar"
    class_id = read_points(robot.label(cloud))["class_id"]
    np.testing.assert_array_equal(class_id != UNLABELLED, inside)


def test_a_cloud_waits_for_the_transform_of_its_own_time(start, second_robot, tiny_model):
    robot, points = second_robot, some_points()
    node = start(f"model:={tiny_model}", "crop.frame:=odom", *BOX)
    node.wait_for_log("active")
    robot.subscribe("output/segmentation")
    broadcaster = tf2_ros.TransformBroadcaster(robot.node)
    # Sent every 20 ms, so that a cloud is younger than the newest transform.
    robot.node.create_timer(0.02, lambda: broadcaster.sendTransform(pose(robot, "odom", "lidar")))
    answers, sent = robot.received["output/segmentation"], []

    def send() -> None:
        cloud = cloud_of(points)
        cloud.header.stamp = robot.node.get_clock().now().to_msg()
        robot.send(cloud)
        sent.append(cloud.header.stamp)

    def answered() -> bool:
        send()
        return bool(answers)

    robot.wait(answered)
    del sent[:]
    for _ in range(10):
        send()
        end = time.monotonic() + 0.3
        robot.wait(lambda end=end: time.monotonic() > end)
    assert sum(answer.header.stamp in sent for answer in answers) >= 8
    class_id = read_points(answers[-1])["class_id"]
    np.testing.assert_array_equal(class_id != UNLABELLED, in_the_box(points))
