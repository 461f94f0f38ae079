"""Steady traffic to a node while it is operated. Shared by the tests and by
benchmarks/stress_node.py."""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import psutil
from rclpy.serialization import serialize_message
from robot import BEST_EFFORT, NodeProcess, Robot, cloud_of, some_points
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger

from haskd_training.robot.live.replay import RecordedCloud


def recorded(count: int) -> RecordedCloud:
    """A cloud of so many points, as a bag would have it."""
    return RecordedCloud(0, serialize_message(cloud_of(some_points(count))))


class Traffic:
    """Clouds that a robot sends at a steady rate while it spins, and when their replies came.

    Attributes:
        sent: when each cloud was handed to DDS, by stamp in ns; s of `time.perf_counter`.
        replies: (stamp, when it came) of every labelled cloud, in the order of reception.
    """

    def __init__(
        self, robot: Robot, clouds: Sequence[RecordedCloud], rate_hz: float, node: str = "/segment"
    ) -> None:
        self._robot = robot
        self._clouds = itertools.cycle(clouds)
        self.sent: dict[int, float] = {}
        self.replies: list[tuple[int, float]] = []
        self._publisher = robot.node.create_publisher(
            PointCloud2, f"{node}/input/points", BEST_EFFORT
        )
        self._topic = f"{node}/output/segmentation"
        self.subscribe()
        self._timer = robot.node.create_timer(1 / rate_hz, self.send)

    def send(self) -> None:
        """One cloud, now."""
        stamp = self._robot.node.get_clock().now().nanoseconds
        cdr = next(self._clouds).restamped(stamp).cdr
        self.sent[stamp] = time.perf_counter()
        self._publisher.publish(cdr)

    def publish(self, cdr: bytes) -> None:
        """Something else on the clouds' topic, as it is."""
        self._publisher.publish(cdr)

    def subscribe(self) -> None:
        """Subscribe to the labelled clouds."""
        self._subscription = self._robot.node.create_subscription(
            PointCloud2, self._topic, self._receive, 50, raw=True
        )

    def unsubscribe(self) -> None:
        """End the subscription."""
        self._robot.node.destroy_subscription(self._subscription)

    def _receive(self, cdr: bytes) -> None:
        seconds, nanoseconds = struct.unpack_from("<iI", cdr, 4)
        self.replies.append((seconds * 10**9 + nanoseconds, time.perf_counter()))

    def forget(self) -> np.ndarray:
        """Forget what was sent and received so far.

        Returns:
            [replies] as of `latencies_ms`, of the clouds that this sent.
        """
        latencies = [
            1e3 * (t - self.sent[stamp]) for stamp, t in self.replies if stamp in self.sent
        ]
        self.sent.clear()
        self.replies.clear()
        return np.array(latencies)

    def run_for(self, seconds: float) -> None:
        """Send and receive for a while."""
        end = time.monotonic() + seconds
        self._robot.wait(lambda: time.monotonic() >= end)

    def stop(self) -> None:
        """Stop sending, and wait until no reply has come for a second."""
        self._robot.node.destroy_timer(self._timer)
        received = -1
        while received != len(self.replies):
            received = len(self.replies)
            self.run_for(1.0)

    def stamps(self) -> list[int]:
        """Of the replies, in the order of reception."""
        return [stamp for stamp, _ in self.replies]

    def latencies_ms(self) -> np.ndarray:
        """[replies] from handing the cloud to DDS to having its labels in hand."""
        return 1e3 * np.array([when - self.sent[stamp] for stamp, when in self.replies])


@contextmanager
def traffic(
    robot: Robot, clouds: Sequence[RecordedCloud], rate_hz: float, node: str = "/segment"
) -> Iterator[Traffic]:
    """Traffic that a node has begun to reply to; at the end all its replies are there."""
    flow = Traffic(robot, clouds, rate_hz, node)
    robot.wait(lambda: bool(flow.replies))
    yield flow
    flow.stop()


@dataclass(frozen=True)
class NodeUsage:
    """What the node's process uses after a round of `operate`."""

    memory_mib: float
    threads: int


def operate(robot: Robot, node: NodeProcess, rounds: int) -> list[NodeUsage]:
    """All that can be done to a running node, over and over: another parameter, the model reloaded,
    deactivated, cleaned up, configured, activated.

    Raises:
        AssertionError: the node refused something.
    """
    process = psutil.Process(node.process.pid)
    usages = []
    for number in range(rounds):
        assert robot.set_parameter("range.max", 60.0 + number % 2) == (True, "")
        response = robot.call(Trigger, "reload", Trigger.Request())
        assert response.success, response.message
        for transition in ("deactivate", "cleanup", "configure", "activate"):
            assert robot.change(transition), transition
        usages.append(NodeUsage(process.memory_info().rss / 2**20, process.num_threads()))
    return usages
