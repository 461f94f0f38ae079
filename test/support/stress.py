"""What a node has to bear: steady traffic while others do things to it. Shared by the tests and by
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

from haskd_training.robot.node_client import RecordedCloud


def recorded(count: int) -> RecordedCloud:
    """A cloud of so many points, as a bag would have it."""
    return RecordedCloud(0, serialize_message(cloud_of(some_points(count))))


class Traffic:
    """Clouds that a robot sends at a steady rate while it spins, and when their answers came.

    Attributes:
        sent: when each cloud was handed to DDS, by stamp in ns; s of `time.perf_counter`.
        answers: (stamp, when it came) of every labelled cloud, in the order of their coming.
    """

    def __init__(
        self, robot: Robot, clouds: Sequence[RecordedCloud], rate_hz: float, node: str = "/segment"
    ) -> None:
        self._robot = robot
        self._clouds = itertools.cycle(clouds)
        self.sent: dict[int, float] = {}
        self.answers: list[tuple[int, float]] = []
        self._publisher = robot.node.create_publisher(
            PointCloud2, f"{node}/input/points", BEST_EFFORT
        )
        self._topic = f"{node}/output/segmentation"
        self.listen()
        self._timer = robot.node.create_timer(1 / rate_hz, self.send)

    def send(self) -> None:
        """One cloud, now."""
        stamp = self._robot.node.get_clock().now().nanoseconds
        cdr = next(self._clouds).restamped(stamp).cdr
        self.sent[stamp] = time.perf_counter()
        self._publisher.publish(cdr)

    def listen(self) -> None:
        """Subscribe to the labelled clouds."""
        self._subscription = self._robot.node.create_subscription(
            PointCloud2, self._topic, self._came, 50, raw=True
        )

    def look_away(self) -> None:
        """Subscribe no more."""
        self._robot.node.destroy_subscription(self._subscription)

    def _came(self, cdr: bytes) -> None:
        seconds, nanoseconds = struct.unpack_from("<iI", cdr, 4)
        self.answers.append((seconds * 10**9 + nanoseconds, time.perf_counter()))

    def go_on(self, seconds: float) -> None:
        """Send and listen for a while."""
        end = time.monotonic() + seconds
        self._robot.wait(lambda: time.monotonic() >= end)

    def stop(self) -> None:
        """Send no more, and wait until no answer has come for a second."""
        self._robot.node.destroy_timer(self._timer)
        came = -1
        while came != len(self.answers):
            came = len(self.answers)
            self.go_on(1.0)

    def stamps(self) -> list[int]:
        """Of the answers, in the order of their coming."""
        return [stamp for stamp, _ in self.answers]

    def latencies_ms(self) -> np.ndarray:
        """[answers] from handing the cloud to DDS to having its labels in hand."""
        return 1e3 * np.array([came - self.sent[stamp] for stamp, came in self.answers])


@contextmanager
def traffic(
    robot: Robot, clouds: Sequence[RecordedCloud], rate_hz: float, node: str = "/segment"
) -> Iterator[Traffic]:
    """Traffic that a node has begun to answer; at the end all its answers are there."""
    flow = Traffic(robot, clouds, rate_hz, node)
    robot.wait(lambda: bool(flow.answers))
    yield flow
    flow.stop()


@dataclass(frozen=True)
class Round:
    """The node after a round of `operate`."""

    memory_mib: float
    threads: int


def operate(robot: Robot, node: NodeProcess, rounds: int) -> list[Round]:
    """All that a team does to a running node, over and over: another parameter, the model loaded
    anew, deactivated, cleaned up, configured, activated.

    Raises:
        AssertionError: the node refused something.
    """
    process = psutil.Process(node.process.pid)
    found = []
    for number in range(rounds):
        assert robot.set_parameter("range.max", 60.0 + number % 2) == (True, "")
        answer = robot.call(Trigger, "reload", Trigger.Request())
        assert answer.success, answer.message
        for transition in ("deactivate", "cleanup", "configure", "activate"):
            assert robot.change(transition), transition
        found.append(Round(process.memory_info().rss / 2**20, process.num_threads()))
    return found
