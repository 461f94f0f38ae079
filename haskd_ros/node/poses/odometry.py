"""Poses from nav_msgs/Odometry."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from typing import Any, NamedTuple

import numpy as np
from rclpy.exceptions import InvalidTopicNameException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.validate_full_topic_name import validate_full_topic_name

from haskd_ros.clouds.crop import frame_name
from haskd_ros.clouds.motion import Poses
from haskd_ros.clouds.point_times import SECOND_NS
from haskd_ros.errors import InputError
from haskd_ros.node.clock import nanoseconds, stamp_fault
from haskd_ros.text import QUOTED_CHARACTERS, quoted, shown

KEPT_NS = 5 * SECOND_NS
"""Of odometry: clouds wait for the network no longer than this."""

LONGEST_GAP_NS = SECOND_NS // 2
"""Between two messages: further apart, nobody knows how the sensor came from one to the other."""

STOPPED_NS = SECOND_NS
"""Odometry that is so late has stopped: clouds don't wait for it."""

MOST_POSES = 10_000


class NoPosesError(Exception):
    """The poses of a sensor over a sweep are not known. `reason` is the kind in a few words without
    numbers, for counting; `may_come`: whether a later message may still bring them."""

    def __init__(self, reason: str, message: str, *, may_come: bool = False) -> None:
        super().__init__(message)
        self.reason, self.may_come = reason, may_come


class _Pose(NamedTuple):
    """T_fixed_base: x y z in m, quaternion x y z w."""

    stamp_ns: int
    values: tuple[float, ...]


class OdometryPoses:
    """The poses of the last seconds, from messages in nearly any order; safe to use from several
    threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poses: list[_Pose] = []
        self._frames = ("", "")
        self._fault: str | None = None

    def add(self, odometry: Any) -> None:
        """Take a nav_msgs/Odometry; one without a pose, a time or a frame is left out, and told
        where poses are missing."""
        fixed, base = frame_name(odometry.header.frame_id), frame_name(odometry.child_frame_id)
        position, q = odometry.pose.pose.position, odometry.pose.pose.orientation
        rotation = np.array([q.x, q.y, q.z, q.w])
        values = np.array([position.x, position.y, position.z, *rotation])
        length = np.linalg.norm(rotation)
        stamp = odometry.header.stamp
        if (fault := stamp_fault(stamp)) is None:
            if not base:
                fault = "no child_frame_id"
            elif not np.isfinite(values).all() or length < 1e-3:
                fault = "a pose of NaN or infinity, or a quaternion of zeros"
        with self._lock:
            self._fault = fault
            if fault is not None:
                return
            values[3:] /= length
            pose = _Pose(nanoseconds(stamp), tuple(values.tolist()))
            newest = self._poses[-1].stamp_ns if self._poses else pose.stamp_ns
            # Another robot's, or a bag or a simulation that has started again.
            if (fixed, base) != self._frames or pose.stamp_ns < newest - LONGEST_GAP_NS:
                self._frames = fixed, base
                self._poses.clear()
            place = bisect_left(self._poses, (pose.stamp_ns,))
            if place < len(self._poses) and self._poses[place].stamp_ns == pose.stamp_ns:
                return
            self._poses.insert(place, pose)
            oldest = self._poses[-1].stamp_ns - KEPT_NS
            del self._poses[: max(
                bisect_left(self._poses, (oldest,)), len(self._poses) - MOST_POSES
            )]  # fmt: skip

    def between(self, first_ns: int, last_ns: int, zero_ns: int) -> tuple[str, Poses]:
        """The base's frame, and its poses from one time to another, s relative to `zero_ns`.

        Raises:
            NoPosesError: they are not known.
        """
        with self._lock:
            poses, fault, base = self._poses, self._fault, self._frames[1]
            if not poses:
                message = "no odometry received" + (f" that can be used: {fault}" if fault else "")
                raise NoPosesError("no odometry", message)
            begin = bisect_right(poses, (first_ns, (np.inf,))) - 1
            end = bisect_left(poses, (last_ns,)) + 1
            oldest, newest = poses[0].stamp_ns, poses[-1].stamp_ns
            chosen = poses[max(begin, 0) : end]
        if begin < 0:
            late_s = (oldest - first_ns) / SECOND_NS
            message = f"the oldest odometry is {late_s:.3f} s younger than the first point"
            raise NoPosesError("no odometry of that time", message)
        if end > len(poses) or newest < last_ns:
            behind_s = (last_ns - newest) / SECOND_NS
            message = f"the newest odometry is {behind_s:.3f} s older than the last point"
            if fault is not None:
                message += f"; left out: {fault}"
            may_come = last_ns - newest < STOPPED_NS
            raise NoPosesError("no odometry of that time", message, may_come=may_come)
        stamps = np.array([pose.stamp_ns for pose in chosen])
        if len(stamps) > 1 and (gap := int(np.diff(stamps).max())) > LONGEST_GAP_NS:
            message = f"odometry has a gap of {gap / SECOND_NS:.3f} s"
            raise NoPosesError("a gap in the odometry", message)
        values = np.array([pose.values for pose in chosen])
        return base, Poses((stamps - zero_ns) / SECOND_NS, values[:, :3], values[:, 3:])


class OdometrySubscription:
    """Subscribed to a topic while somebody follows it.

    Args:
        node: that subscribes.

    Attributes:
        poses: those received.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._subscription: Any = None
        self._given = ""
        self.poses = OdometryPoses()

    def follow(self, topic: str) -> None:
        """Subscribe to this topic instead of any other; empty: to none."""
        if topic == self._given:
            return
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self._given, self.poses = "", OdometryPoses()
        if topic:
            self._subscription = self._node.create_subscription(
                odometry_type(),
                topic,
                self.poses.add,
                # Matches every publisher; a cloud waits for a message that is late.
                QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT),
            )
        self._given = topic

    @property
    def topic(self) -> str:
        """Fully qualified, remapped."""
        return "" if self._subscription is None else str(self._subscription.topic_name)


def odometry_type() -> type[Any]:
    """
    Raises:
        InputError: nav_msgs is not installed.
    """
    try:
        from nav_msgs.msg import Odometry
    except ImportError as error:
        raise InputError(
            "parameter poses.source is 'odometry', which needs nav_msgs: install it, or "
            f"take tf ({shown(str(error), QUOTED_CHARACTERS)})"
        ) from error
    message_type: type[Any] = Odometry
    return message_type


def check_topic(parameter: str, topic: str) -> None:
    """
    Args:
        parameter: that names it.

    Raises:
        InputError: no topic can have this name.
    """
    try:
        validate_full_topic_name(expand_topic_name(topic, "segment", "/"))
    except (InvalidTopicNameException, ValueError) as error:
        raise InputError(
            f"parameter {parameter} is {quoted(topic)}, must be the name of a topic "
            f"({shown(str(error), QUOTED_CHARACTERS).splitlines()[0]})"
        ) from error
