"""The other side of a node that has poses by Odometry: clouds of a sensor that stands somewhere on
a line, and what comes back."""

from __future__ import annotations

import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from robot import Robot, cloud_of

from haskd_ros.clouds.pointcloud import read_points


class PlacedClouds:
    """Sends clouds with odometry, and reads what comes back."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.start_ns = robot.node.get_clock().now().nanoseconds
        robot.subscribe("output/segmentation")
        robot.subscribe("/diagnostics", DiagnosticArray, 50)
        self._odometry = robot.node.create_publisher(Odometry, "/odom", 100)

    def wait_for_node(self) -> None:
        """Until it receives odometry."""
        self.robot.wait(lambda: self.robot.node.count_subscribers("/odom") > 0)

    def cloud(self, points: np.ndarray, stamp_ns: int):
        cloud = cloud_of(points)
        cloud.header.stamp.sec, cloud.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        return cloud

    def answer(self, cloud, at_x: float | None, wanted: np.ndarray | None = None) -> np.ndarray:
        """The node's answer to a cloud from a sensor at that x; None: nobody knows where. It is
        sent until the probabilities are those that are wanted, if any are: odometry that comes
        after its cloud is too late."""
        received, again = self.robot.received["output/segmentation"], 0.0
        received.clear()

        def done() -> bool:
            nonlocal again
            if time.monotonic() > again:
                again = time.monotonic() + 3.0
                if at_x is not None:
                    self._send_pose(cloud.header.stamp, at_x)
                self.robot.send(cloud)
            replies = [reply for reply in received if reply.header == cloud.header]
            if wanted is None:
                return bool(replies)
            return any(
                np.array_equal(read_points(reply)["probability"], wanted) for reply in replies
            )

        self.robot.wait(done)
        return read_points(received[-1])

    def _send_pose(self, stamp, x: float) -> None:
        message = Odometry(child_frame_id="lidar")
        message.header.stamp = stamp
        message.header.frame_id = "odom"
        message.pose.pose.position.x = x
        message.pose.pose.orientation.w = 1.0
        self._odometry.publish(message)
