"""Labelled clouds of a running node, as they arrive, and its classes."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from haskd_ros.errors import InputError
from haskd_ros.node.dds.profiles import profile_environment
from haskd_ros.taxonomy import ClassInfo, Taxonomy

if TYPE_CHECKING:
    from rclpy.node import Node
    from sensor_msgs.msg import PointCloud2
    from visualization_msgs.msg import MarkerArray

FIRST_TIMEOUT_S = 20.0
"""For the first cloud and the legend."""

_WAITING = 4
"""Clouds that wait while one is shown; of more the oldest are dropped."""

_SPIN_S = 0.1


class LiveClouds:
    """A subscription to a node's labelled clouds; made by `live_clouds`.

    Attributes:
        topic: of the clouds.
        taxonomy: of the node's legend; None until it has arrived.
        dropped: clouds that arrived while too many waited.
    """

    def __init__(self, node: Node, topic: str) -> None:
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import PointCloud2
        from visualization_msgs.msg import MarkerArray

        self.topic = topic
        self.taxonomy: Taxonomy | None = None
        self.dropped = 0
        self._waiting: deque[PointCloud2] = deque(maxlen=_WAITING)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        node.create_subscription(
            PointCloud2,
            topic,
            self._on_cloud,
            QoSProfile(depth=_WAITING, reliability=ReliabilityPolicy.RELIABLE),
        )
        node.create_subscription(
            MarkerArray,
            f"{topic.rpartition('/')[0]}/legend",
            self._on_legend,
            QoSProfile(
                depth=1,
                reliability=ReliabilityPolicy.RELIABLE,
                durability=DurabilityPolicy.TRANSIENT_LOCAL,
            ),
        )

    def wait_for_classes(self) -> Taxonomy:
        """The node's classes.

        Raises:
            InputError: no legend, or no cloud, within `FIRST_TIMEOUT_S`.
        """
        deadline = time.monotonic() + FIRST_TIMEOUT_S
        while self.taxonomy is None or not self._waiting:
            if time.monotonic() > deadline:
                missing = "legend beside" if self._waiting else "cloud on"
                raise InputError(
                    f"no {missing} {self.topic} within {FIRST_TIMEOUT_S:.0f} s; is the node active "
                    "and are there clouds (`ros2 topic hz`)?"
                )
            self._executor.spin_once(timeout_sec=_SPIN_S)
        return self.taxonomy

    def __iter__(self) -> Iterator[PointCloud2]:
        """Each cloud as it arrives, without end."""
        while True:
            while not self._waiting:
                self._executor.spin_once(timeout_sec=_SPIN_S)
            yield self._waiting.popleft()

    def _on_cloud(self, message: PointCloud2) -> None:
        self.dropped += len(self._waiting) == _WAITING
        self._waiting.append(message)

    def _on_legend(self, message: MarkerArray) -> None:
        lines = [marker for marker in message.markers if marker.text]
        lines.sort(key=lambda marker: marker.id)
        self.taxonomy = Taxonomy(
            tuple(
                ClassInfo(
                    marker.text,
                    tuple(round(255 * getattr(marker.color, channel)) for channel in "rgb"),
                )
                for marker in lines
            )
        )


@contextmanager
def live_clouds(topic: str) -> Iterator[LiveClouds]:
    """Subscribe to the labelled clouds of a node.

    Args:
        topic: of the clouds; the legend is beside it.

    Raises:
        InputError: ROS 2 is not installed.
    """
    os.environ.update(profile_environment())
    try:
        import rclpy
        from rclpy.signals import SignalHandlerOptions
    except ImportError as error:
        raise InputError(f"ROS 2 is not installed for this Python ({error})") from error
    context = rclpy.Context()
    # Ctrl-C stays Python's, so that what has been shown is written to its end.
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("haskd_view", context=context)
    try:
        yield LiveClouds(node, topic)
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
