"""The clouds of other LiDARs than the input's: received, kept for a moment, found by stamp."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy

# From here, because the module that defines it has another name on Humble.
from rclpy.subscription import SubscriptionEventCallbacks
from sensor_msgs.msg import PointCloud2

from haskd_ros.clouds.point_times import SECOND_NS
from haskd_ros.errors import InputError
from haskd_ros.node.clock import nanoseconds, stamp_fault
from haskd_ros.node.inputs import INPUT_TOPIC
from haskd_ros.node.parameters.qos import OVERRIDABLE
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.node.poses.odometry import check_topic
from haskd_ros.text import QUOTED_CHARACTERS, listed, quoted

KEPT = 10
"""Clouds of a LiDAR: at 20 Hz an input may wait half a second for the network before it asks."""

SILENT_S = 1.0
"""A LiDAR that has sent nothing for so long, or whose clouds are so late, isn't waited for."""


def topics_to_merge(node: LifecycleNode, parameters: Parameters) -> tuple[str, ...]:
    """Of the other LiDARs, fully qualified and remapped.

    Raises:
        InputError: one that no topic can have, that is the input's, or that stands twice.
    """
    resolved: list[str] = []
    for name in parameters.other_lidars:
        check_topic("merge.topics", name)
        topic = node.resolve_topic_name(name)
        if topic == node.resolve_topic_name(INPUT_TOPIC):
            raise InputError(
                f"parameter merge.topics has {quoted(name)}, must be topics of other LiDARs: "
                f"{topic} is the input's"
            )
        if topic in resolved:
            raise InputError(
                f"parameter merge.topics is {listed(parameters.other_lidars, QUOTED_CHARACTERS)}: "
                f"{topic} stands there twice"
            )
        resolved.append(topic)
    return tuple(resolved)


class LeftOutError(Exception):
    """A cloud of another LiDAR can't be had. `reason` is the kind in a few words without numbers,
    for counting."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Stamped(NamedTuple):
    stamp_ns: int
    cloud: PointCloud2


class OtherLidars:
    """Subscribed to their topics while somebody follows them. Clouds are received in the executor's
    thread and taken in the worker's.

    Args:
        node: that subscribes.
        warn_of_qos: makes the callback for a publisher with incompatible QoS, from a message with a
            gap for the `{policy}`.
    """

    def __init__(
        self, node: LifecycleNode, warn_of_qos: Callable[[str], Callable[[Any], None]]
    ) -> None:
        self._node, self._warn_of_qos = node, warn_of_qos
        self._changed = threading.Condition()
        self._lidars: tuple[_Lidar, ...] = ()

    @property
    def topics(self) -> tuple[str, ...]:
        """Those followed, fully qualified."""
        return tuple(lidar.topic for lidar in self._lidars)

    def follow(self, topics: Sequence[str]) -> None:
        """Receive clouds on these topics, fully qualified, instead of any others."""
        if tuple(topics) == self.topics:
            return
        former = {lidar.topic: lidar for lidar in self._lidars}
        kept = {topic: former.pop(topic) for topic in topics if topic in former}
        for lidar in former.values():
            lidar.close()
        # Whatever fails below, what is closed is not used any more.
        self._lidars = tuple(kept.values())
        for topic in topics:
            if topic not in kept:
                kept[topic] = _Lidar(self._node, topic, self._changed, self._warn_of_qos)
                self._lidars = tuple(kept.values())
        self._lidars = tuple(kept[topic] for topic in topics)

    def silent_s(self) -> dict[str, float]:
        """s since the last cloud, by the topics of those that are silent."""
        silent = {lidar.topic: lidar.silent_s for lidar in self._lidars}
        return {topic: seconds for topic, seconds in silent.items() if seconds > SILENT_S}

    def nearest(
        self, stamp_ns: int, max_gap_s: float, until_s: float
    ) -> dict[str, PointCloud2 | LeftOutError]:
        """The cloud of each LiDAR that is nearest to a stamp, by its topic, or why there is none.
        Waits for those that may still come.

        Args:
            max_gap_s: that its stamp is off at most, s.
            until_s: of `time.monotonic`; no longer than that.
        """
        lidars = self._lidars
        with self._changed:
            self._changed.wait_for(
                lambda: not any(lidar.may_bring_nearer(stamp_ns) for lidar in lidars),
                max(0.0, until_s - time.monotonic()),
            )
            return {lidar.topic: lidar.nearest(stamp_ns, max_gap_s) for lidar in lidars}


class _Lidar:
    """One of them, and its newest clouds.

    Args:
        topic: fully qualified.
        changed: held by who reads; notified of each cloud.
    """

    def __init__(
        self,
        node: LifecycleNode,
        topic: str,
        changed: threading.Condition,
        warn_of_qos: Callable[[str], Callable[[Any], None]],
    ) -> None:
        self._node, self.topic, self._changed = node, topic, changed
        self._clouds: deque[_Stamped] = deque(maxlen=KEPT)
        self._heard_s = time.monotonic()
        self._fault: str | None = None
        self._is_closed = False
        self._subscription = node.create_subscription(
            PointCloud2,
            topic,
            self._receive,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=warn_of_qos(
                    f"a publisher of {topic} offers less than this node requests; set this node's "
                    f"parameter qos_overrides.{topic}.subscription.{{policy}}"
                )
            ),
            qos_overriding_options=OVERRIDABLE,
        )

    def close(self) -> None:
        """Unsubscribe; nobody waits for it any more."""
        self._node.destroy_subscription(self._subscription)
        with self._changed:
            self._is_closed = True
            self._clouds.clear()
            self._changed.notify_all()

    @property
    def silent_s(self) -> float:
        """s since the last cloud, or since it is followed."""
        return time.monotonic() - self._heard_s

    def _receive(self, cloud: PointCloud2) -> None:
        stamp = cloud.header.stamp
        with self._changed:
            self._heard_s, self._fault = time.monotonic(), stamp_fault(stamp)
            if self._fault is None:
                stamp_ns = nanoseconds(stamp)
                # A bag or a simulation that has started again.
                if self._clouds and stamp_ns < self._newest_ns() - SECOND_NS:
                    self._clouds.clear()
                self._clouds.append(_Stamped(stamp_ns, cloud))
            self._changed.notify_all()

    def _newest_ns(self) -> int:
        return max(each.stamp_ns for each in self._clouds)

    def may_bring_nearer(self, stamp_ns: int) -> bool:
        """Whether a cloud may still come that is nearer to a stamp than those that are there."""
        if self._is_closed or self.silent_s > SILENT_S:
            return False
        if not self._clouds:
            return self._fault is None
        behind_ns = stamp_ns - self._newest_ns()
        if not 0 < behind_ns < SILENT_S * SECOND_NS:
            return False
        if len(self._clouds) < 2:
            return True
        # It would be further away where more than half a period is left to it.
        period_ns = np.median(np.diff(sorted(each.stamp_ns for each in self._clouds)))
        return bool(behind_ns > period_ns / 2)

    def nearest(self, stamp_ns: int, max_gap_s: float) -> PointCloud2 | LeftOutError:
        """As of `OtherLidars`."""
        if self._clouds:
            found = min(self._clouds, key=lambda each: abs(each.stamp_ns - stamp_ns))
            gap_s = (found.stamp_ns - stamp_ns) / SECOND_NS
            if abs(gap_s) <= max_gap_s:
                return found.cloud
        if self._fault is not None:
            return LeftOutError("bad stamp", f"the clouds' stamps: {self._fault}")
        if not self._clouds or self.silent_s > SILENT_S:
            return LeftOutError("no cloud", f"no cloud for {self.silent_s:.1f} s")
        return LeftOutError(
            "stamps too far apart",
            f"the nearest cloud is {gap_s:+.3f} s from the input's, merge.max_gap is "
            f"{max_gap_s:g} s",
        )
