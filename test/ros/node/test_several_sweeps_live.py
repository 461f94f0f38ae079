"""The node with a model of several sweeps, with Odometry from a robot."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
pytest.importorskip("nav_msgs", reason="needs nav_msgs (pip install '.[ros-wheels]')")

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from robot import cloud_of, some_points, steady_node
from several_sweeps import several_sweep_model

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.clouds.sweeps import Moment, SweepHistory
from haskd_ros.node.labelling import label_cloud
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmenter import Segmenter

pytestmark = pytest.mark.live

WARN = b"\1"


@pytest.fixture(scope="module")
def model(tiny_metadata, tmp_path_factory):
    return several_sweep_model(tmp_path_factory.mktemp("three") / "m.safetensors", tiny_metadata, 3)


@pytest.fixture(scope="module")
def node(ros_environment, model, tmp_path_factory, warm_starts):
    with steady_node(
        tmp_path_factory.mktemp("sweeps"), f"model:={model}", "warmup_points:=1000",
        "diagnostics.period:=0.2", "diagnostics.max_age:=0.0", "poses.timeout:=1.0",
        "poses.source:=odometry", "poses.odometry_topic:=/odom", "precision:=fp32",
        warm=warm_starts,
    ) as node:  # fmt: skip
        yield node


class Driver:
    """Sends clouds with odometry, and reads what comes back."""

    def __init__(self, robot) -> None:
        self.robot = robot
        self.start_ns = robot.node.get_clock().now().nanoseconds
        robot.subscribe("output/segmentation")
        robot.subscribe("/diagnostics", DiagnosticArray, 50)
        self._odometry = robot.node.create_publisher(Odometry, "/odom", 100)
        robot.wait(lambda: robot.node.count_subscribers("/odom") > 0)

    def stamp_ns(self, at_s: float) -> int:
        return self.start_ns + round(at_s * 1e9)

    def cloud(self, points: np.ndarray, at_s: float):
        cloud = cloud_of(points)
        cloud.header.stamp.sec, cloud.header.stamp.nanosec = divmod(self.stamp_ns(at_s), 10**9)
        return cloud

    def label(self, cloud, at_x: float | None, wanted=None) -> np.ndarray:
        """Probabilities of a cloud from a sensor at that x; None: nobody knows where. It is sent
        until they are those that are wanted: odometry that comes after its cloud is too late."""
        received, again = self.robot.received["output/segmentation"], 0.0
        received.clear()

        def done() -> bool:
            nonlocal again
            if time.monotonic() > again:
                again = time.monotonic() + 3.0
                if at_x is not None:
                    message = Odometry(child_frame_id="lidar")
                    message.header.stamp = cloud.header.stamp
                    message.header.frame_id = "odom"
                    message.pose.pose.position.x = at_x
                    message.pose.pose.orientation.w = 1.0
                    self._odometry.publish(message)
                self.robot.send(cloud)
            replies = [reply for reply in received if reply.header == cloud.header]
            if wanted is None:
                return bool(replies)
            return any(
                np.array_equal(read_points(reply)["probability"], wanted) for reply in replies
            )

        self.robot.wait(done)
        return read_points(received[-1])["probability"]


def test_the_node_stacks_as_everybody_does_and_says_where_it_can_not(node, model, robot):
    driver = Driver(robot)
    segmenter, history = Segmenter.load(model, device="cpu", precision="fp32"), SweepHistory(3)
    parameters = replace(DEFAULTS, precision="fp32")
    points, alone = some_points(), []
    for number in range(4):
        at_s, at_x = 0.1 * number, 1.3 * number
        cloud = driver.cloud(points, at_s)
        pose = np.eye(4)
        pose[0, 3] = at_x
        earlier, _ = history.before(driver.stamp_ns(at_s))
        assert len(earlier) == min(number, 2)
        expected = label_cloud(
            cloud, segmenter, parameters, history=history,
            moment=Moment(driver.stamp_ns(at_s), pose, earlier),
        ).result.probability  # fmt: skip
        driver.label(cloud, at_x, expected)
        alone.append(expected)
    assert not np.array_equal(alone[0], alone[3])
    _, _, values = robot.told(
        "sweeps", "", lambda told: int(told.get("clouds labelled with all", 0)) > 1
    )
    assert values["poses"] == "odometry on /odom"
    # Three clouds are kept, no more, however many came
    assert values["points kept"] == str(3 * len(points))

    # Where nobody knows the place a cloud is labelled by itself
    driver.label(driver.cloud(points, 5.0), None, alone[0])
    level, message, _ = robot.told("sweeps", "older than")
    assert level == WARN and "with fewer than 3 sweeps recently" in message

    # A bag that starts again
    driver.label(driver.cloud(points, -60.0), 0.0, alone[0])
    level, _, _ = robot.told("sweeps", "time went back: labelled by 1 of 3 sweeps")
    assert level == WARN
