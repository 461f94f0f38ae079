"""Senders of other messages than PointCloud2 on the node's input topic."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from diagnostic_msgs.msg import DiagnosticArray
from robot import DOMAIN, Robot, cloud_of, some_points
from sensor_msgs.msg import LaserScan

from haskd_ros.node.inputs import wrong_type_advice

pytestmark = pytest.mark.live
TOPIC = "/segment/input/points"
FAULT = f"{TOPIC} is offered as sensor_msgs/msg/LaserScan, must be sensor_msgs/msg/PointCloud2"


def input_message(robot) -> str:
    messages = [
        status.message
        for message in robot.received["/diagnostics"]
        for status in message.status
        if status.name == "/segment: input"
    ]
    return messages[-1] if messages else ""


def test_a_topic_of_another_type_is_told_until_clouds_come(segment, robot):
    robot.subscribe("/diagnostics", DiagnosticArray)
    scanner = Robot(DOMAIN)  # a process can't have a topic with two types
    scanner.node.create_publisher(LaserScan, TOPIC, 1)
    robot.wait(lambda: FAULT in input_message(robot))
    segment.wait_for_log(f"no clouds: {FAULT}")

    robot.subscribe("output/segmentation")
    robot.label(cloud_of(some_points()))
    robot.wait(lambda: FAULT not in input_message(robot))
    scanner.close()


class Graph:
    """Of a middleware, as rclpy shows it."""

    def __init__(self, *types: str) -> None:
        self._types = types

    def get_publishers_info_by_topic(self, topic: str) -> list:
        return [type("Info", (), {"topic_type": name}) for name in self._types]


def test_compressed_clouds_are_to_be_republished():
    # The type is not to be had beside the wheels of rclpy
    graph = Graph("point_cloud_interfaces/msg/CompressedPointCloud2")
    advice = wrong_type_advice(graph, "/lidar/points/draco")
    assert "republish --ros-args -p in_transport:=draco -p out_transport:=raw" in advice
    assert "-r in/draco:=/lidar/points/draco -r out:=/lidar/points_unpacked" in advice
    assert wrong_type_advice(Graph(), "/lidar/points") is None
