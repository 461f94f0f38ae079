"""The node's subscription: the clouds that are received, and those that were sent and lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.event_handler import UnsupportedEventTypeError
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

# From here, because the module that defines it has another name on Humble.
from rclpy.subscription import Subscription, SubscriptionEventCallbacks
from sensor_msgs.msg import PointCloud2

from haskd_ros.node.parameters.qos import OVERRIDABLE
from haskd_ros.node.worker import FrameCounts
from haskd_ros.text import listed

INPUT_TOPIC = "~/input/points"

CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"


def wrong_type_advice(node: Node, topic: str) -> str | None:
    """What is wrong where a topic has publishers and none of them sends PointCloud2: no middleware
    says so. None where one does, or there is none.

    Args:
        topic: fully qualified, remapped.
    """
    types = {publisher.topic_type for publisher in node.get_publishers_info_by_topic(topic)}
    if not types or CLOUD_TYPE in types:
        return None
    advice = "give the topic on which the driver publishes clouds of that type"
    if "point_cloud_interfaces/msg/CompressedPointCloud2" in types:
        base, _, transport = topic.rpartition("/")
        advice = (
            "compressed clouds have to be unpacked: ros2 run point_cloud_transport republish "
            f"--ros-args -p in_transport:={transport} -p out_transport:=raw "
            f"-r in/{transport}:={topic} -r out:={base}_unpacked, and take {base}_unpacked"
        )
    return f"{topic} is offered as {listed(sorted(types))}, must be {CLOUD_TYPE}; {advice}"


class InputSubscription:
    """Best effort, the newest cloud alone; QoS can be overridden by parameters.

    Args:
        node: that subscribes.
        on_cloud: called with every cloud.
        on_lost: called with the number of clouds that the middleware reports as lost.
        counts: of clouds; those missing in the publisher's sequence numbers are counted here.
        warn_of_qos: makes the callback for a publisher with incompatible QoS, from a message with a
            gap for the `{policy}`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        on_cloud: Callable[[PointCloud2], None],
        *,
        on_lost: Callable[[int], None],
        counts: FrameCounts,
        warn_of_qos: Callable[[str], Callable[[Any], None]],
    ) -> None:
        self._node, self._on_cloud, self._counts = node, on_cloud, counts
        self._last_number: int | None = None
        topic = node.resolve_topic_name(INPUT_TOPIC)
        incompatible = warn_of_qos(
            f"a publisher of {topic} offers less than this node requests; set this node's "
            f"parameter qos_overrides.{topic}.subscription.{{policy}}"
        )
        try:
            self._subscription = self._subscribe(
                SubscriptionEventCallbacks(
                    incompatible_qos=incompatible,
                    message_lost=lambda event: on_lost(event.total_count_change),
                )
            )
        except UnsupportedEventTypeError:  # not every middleware reports lost messages
            self._subscription = self._subscribe(
                SubscriptionEventCallbacks(incompatible_qos=incompatible)
            )

    @property
    def topic(self) -> str:
        """Fully qualified, remapped."""
        return self._subscription.topic_name

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self, callbacks: SubscriptionEventCallbacks) -> Subscription[PointCloud2]:
        # Humble passes the message alone, without its sequence number.
        has_info = hasattr(Subscription, "CallbackType")
        return self._node.create_subscription(
            PointCloud2,
            INPUT_TOPIC,
            self._on_numbered_cloud if has_info else self._on_cloud,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            event_callbacks=callbacks,
            qos_overriding_options=OVERRIDABLE,
        )

    def _on_numbered_cloud(self, cloud: PointCloud2, info: Mapping[str, Any]) -> None:
        number: int | None = info.get("publication_sequence_number")
        last, self._last_number = self._last_number, number
        # Each publisher has a numbering of its own.
        if number is not None and last is not None and number > last + 1 and self._has_one_sender():
            self._counts.add(never_received=number - last - 1)
        self._on_cloud(cloud)

    def _has_one_sender(self) -> bool:
        return self._node.count_publishers(self.topic) == 1
