"""A launch_testing description: two nodes of the launch file, a robot with two sensors, and how all
processes end. Run by `test_launch.py`, since launch_testing has a runner of its own."""

from __future__ import annotations

import os
import unittest

import launch
import launch_testing
import launch_testing.actions
import launch_testing.asserts
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from robot import REPOSITORY, Robot, cloud_of, some_points

from haskd_ros.clouds.pointcloud import read_points

LAUNCH_FILE = str(REPOSITORY / "launch" / "segment.launch.py")


def generate_test_description() -> launch.LaunchDescription:
    def node(sensor: str) -> IncludeLaunchDescription:
        arguments = {
            "model": LaunchConfiguration("model"),
            "namespace": sensor,
            "input_topic": f"/{sensor}/points",
            "device": "cpu",
        }
        return IncludeLaunchDescription(
            PythonLaunchDescriptionSource(LAUNCH_FILE), launch_arguments=arguments.items()
        )

    return launch.LaunchDescription(
        [
            DeclareLaunchArgument("model"),
            node("front"),
            node("rear"),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class TestActive(unittest.TestCase):
    def test_each_sensor_gets_its_own_labels(self):
        robot = Robot(int(os.environ["ROS_DOMAIN_ID"]))
        self.addCleanup(robot.close)
        for number, sensor in enumerate(("front", "rear"), 1):
            robot.publish_on(f"/{sensor}/points")
            topic = f"/{sensor}/segment/output/segmentation"
            robot.subscribe(topic)
            answer = robot.label(cloud_of(some_points(1000 * number)), topic)
            self.assertEqual(answer.width, 1000 * number)
            self.assertLessEqual(set(read_points(answer)["class_id"]), {0, 1, 2})


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    def test_all_processes_end_well(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
