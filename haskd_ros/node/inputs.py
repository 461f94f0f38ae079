"""The node's subscription: the clouds that come, and those that were sent and never came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.event_handler import UnsupportedEventTypeError
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

# From here, because the module that defines it has another name on Humble.
from rclpy.subscription import Subscription, SubscriptionEventCallbacks
from sensor_msgs.msg import PointCloud2

from haskd_ros.node.worker import FrameCounts

INPUT_TOPIC = "~/input/points"


class InputSubscription:
    """Best effort, the newest cloud alone; QoS to be overridden by parameters.

    Args:
        node: that subscribes.
        on_cloud: called with every cloud that comes.
        on_lost: called with the number of clouds that the middleware lost on the way.
        counts: told of clouds that were sent and never came: lost, or overtaken by a newer one
            before the node took them, by the sender's own numbering.
        warn_of_qos: makes the callback for a publisher that offers less than is asked for, from a
            message with a place for the `{policy}`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        on_cloud: Callable[[PointCloud2], None],
        on_lost: Callable[[int], None],
        counts: FrameCounts,
        warn_of_qos: Callable[[str], Callable[[Any], None]],
    ) -> None:
        self._node, self._on_cloud, self._counts = node, on_cloud, counts
        self._last_number: int | None = None
        topic = node.resolve_topic_name(INPUT_TOPIC)
        incompatible = warn_of_qos(
            f"a publisher of {topic} offers less than this node asks for; set this node's "
            f"parameter qos_overrides.{topic}.subscription.{{policy}}"
        )
        try:
            self._subscription = self._subscribe(
                incompatible_qos=incompatible,
                message_lost=lambda event: on_lost(event.total_count_change),
            )
        except UnsupportedEventTypeError:  # not every middleware tells what it lost
            self._subscription = self._subscribe(incompatible_qos=incompatible)

    @property
    def topic(self) -> str:
        """Fully qualified, remapped."""
        return self._subscription.topic_name

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self, **callbacks: Callable[[Any], None]) -> Subscription:
        # Humble hands over the message alone.
        numbered = hasattr(Subscription, "CallbackType")
        return self._node.create_subscription(
            PointCloud2,
            INPUT_TOPIC,
            self._numbered if numbered else self._on_cloud,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            event_callbacks=SubscriptionEventCallbacks(**callbacks),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _numbered(self, cloud: PointCloud2, info: Mapping[str, Any]) -> None:
        number, last = info.get("publication_sequence_number"), self._last_number
        self._last_number = number
        # Several publishers number their clouds each for itself.
        if None not in (number, last) and number > last + 1 and self._is_only_one():
            self._counts.add(never_received=number - last - 1)
        self._on_cloud(cloud)

    def _is_only_one(self) -> bool:
        return self._node.count_publishers(self.topic) == 1
