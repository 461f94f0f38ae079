"""The other side of a node that merges the clouds of two LiDARs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticArray
from driving_robot import stamp
from robot import BEST_EFFORT, Robot, cloud_of
from sensor_msgs.msg import PointCloud2

REAR = "/rear/points"
CLOUDS = ("output/segmentation", "output/labelled", "output/visualization", "output/filtered")
PARAMETERS = (
    "warmup_points:=1000", f"merge.topics:=['{REAR}']", "merge.timeout:=1.0",
    "diagnostics.period:=0.2", "diagnostics.max_age:=0.0",
)  # fmt: skip


class TwoLidars:
    """Sends the clouds of a front LiDAR, the node's input, and of a rear one, and collects what the
    node publishes."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self._stamp_ns = robot.node.get_clock().now().nanoseconds
        for topic in CLOUDS:
            robot.subscribe(topic)
        robot.subscribe("/diagnostics", DiagnosticArray, 50)
        self._rear = robot.node.create_publisher(PointCloud2, REAR, BEST_EFFORT)

    def has_subscriber(self) -> bool:
        return self._rear.get_subscription_count() > 0

    def next_stamp(self) -> int:
        """ns; long after the one before."""
        self._stamp_ns += 10 * 10**9
        return self._stamp_ns

    def send_rear(self, cloud: PointCloud2, stamp_ns: int) -> None:
        cloud.header.stamp = stamp(stamp_ns)
        self._rear.publish(cloud)

    def send_front(self, points, stamp_ns: int) -> None:
        cloud = cloud_of(points)
        cloud.header.stamp = stamp(stamp_ns)
        self.robot.send(cloud)

    def label(
        self, front, rear: Sequence[tuple[PointCloud2, float]] = (), *, width: int, sent=None
    ):
        """What the node publishes of a cloud with so many points, by topic.

        Args:
            front: points of the input.
            rear: clouds of the rear LiDAR, sent before, and by how many s they are later.
            sent: called with the stamp before anything else is sent.
        """
        replies: dict[str, PointCloud2] = {}
        again, stamp_ns = 0.0, 0

        def done() -> bool:
            nonlocal again, stamp_ns
            # A cloud may be lost, and what the node knows of a topic comes with the next one.
            if time.monotonic() > again:
                again, stamp_ns = time.monotonic() + 3.0, self.next_stamp()
                self.robot.received["/diagnostics"].clear()
                if sent is not None:
                    sent(stamp_ns)
                for cloud, later_s in rear:
                    self.send_rear(cloud, stamp_ns + round(later_s * 1e9))
                self.send_front(front, stamp_ns)
            for topic in CLOUDS:
                for reply in self.robot.received[topic]:
                    if reply.header.stamp == stamp(stamp_ns):
                        replies[topic] = reply
            found = [reply for reply in replies.values() if reply.header.stamp == stamp(stamp_ns)]
            return len(found) == len(CLOUDS) and replies[CLOUDS[0]].width == width

        self.robot.wait(done)
        return replies

    def status(self, text: str) -> tuple[bytes, str, dict[str, str]]:
        """Level, message and values of a report about merging with this text in its message, since
        the last cloud was sent."""
        return self.robot.told("merging", text)
