"""The other side of a node that compensates motion: sweeps of a sensor that drives through a room,
and what it did meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from moving_sensor import pose
from nav_msgs.msg import Odometry
from robot import Robot, cloud_of

from haskd_ros.clouds.pointcloud import read_points

ODOMETRY = "/drive/odom"
REPORT_S = 10.0
"""Within which a report of a cloud has come: the nodes of these tests send five a second."""


class Drive:
    """Sends sweeps, each after odometry of its time, and collects what the node publishes."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self._stamp_ns = robot.node.get_clock().now().nanoseconds
        for topic in ("output/segmentation", "output/filtered"):
            robot.subscribe(topic)
        robot.subscribe("/diagnostics", DiagnosticArray, 50)
        self._odometry = robot.node.create_publisher(Odometry, ODOMETRY, 100)
        self._send_again: Callable[[], None] = lambda: None

    def next_stamp(self) -> int:
        """Of the next sweep, ns: the drive begins anew with each, long after the one before."""
        self._stamp_ns += 10 * 10**9
        return self._stamp_ns

    def send_poses(self, stamp_ns: int, seconds: np.ndarray, base: str = "lidar") -> None:
        """Odometry of times relative to a stamp."""
        turn, place = pose(seconds)
        for when, xyz, q in zip(seconds, place, turn.as_quat()):
            message = Odometry(child_frame_id=base)
            message.header.frame_id = "odom"
            message.header.stamp = stamp(stamp_ns + round(when * 1e9))
            position, orientation = message.pose.pose.position, message.pose.pose.orientation
            position.x, position.y, position.z = map(float, xyz)
            orientation.x, orientation.y, orientation.z, orientation.w = map(float, q)
            self._odometry.publish(message)

    def label(self, points, stamp_ns, seconds=(), base="lidar", frame="lidar"):
        """The node's segmentation and filtered clouds of a sweep, after odometry of these times."""
        cloud = cloud_of(points)
        cloud.header.stamp, cloud.header.frame_id = stamp(stamp_ns), frame
        received, again = self.robot.received, 0.0
        received["/diagnostics"].clear()

        def replies():
            return [
                [reply for reply in received[topic] if reply.header == cloud.header]
                for topic in ("output/segmentation", "output/filtered")
            ]

        def send() -> None:
            self.send_poses(stamp_ns, np.asarray(seconds), base)
            self.robot.send(cloud)

        def done() -> bool:
            nonlocal again
            if time.monotonic() > again:
                again = time.monotonic() + 3.0
                send()
            return all(replies())

        self._send_again = send
        self.robot.wait(done)
        return [read_points(reply[-1]) for reply in replies()]

    def status(self, text: str, field: str = ""):
        """Level, message and values of a report about motion since the last cloud, with this text
        in its message and this time field. On a busy machine a cloud was sent twice, and once
        before its odometry came: the report of both says something else, and it is sent again."""
        again = time.monotonic() + REPORT_S

        def is_meant(told) -> bool:
            return field in told.get("time field", "")

        def is_told() -> bool:
            nonlocal again
            if time.monotonic() > again:
                again = time.monotonic() + REPORT_S
                self._send_again()
            return self.robot.has_told("motion", text, is_meant)

        self.robot.wait(is_told)
        return self.robot.told("motion", text, is_meant)


def stamp(ns: int) -> Time:
    return Time(sec=int(ns // 10**9), nanosec=int(ns % 10**9))


def measured(xyz: np.ndarray, name: str, times: np.ndarray) -> np.ndarray:
    """A cloud's points, and their times in a field of this name."""
    points = np.zeros(
        len(xyz), [("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4"), (name, times.dtype)]
    )
    for column, axis in enumerate("xyz"):
        points[axis] = xyz[:, column]
    points["intensity"] = np.arange(len(xyz)) % 256
    points[name] = times
    return points


def xyz_of(points: np.ndarray) -> np.ndarray:
    return np.stack([points[axis] for axis in "xyz"], 1)
