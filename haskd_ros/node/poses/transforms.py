"""Transforms between frames, from TF."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.time import Time

from haskd_ros.clouds.crop import frame_name, is_unbounded, matrix_of
from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.errors import InputError
from haskd_ros.node.clock import nanoseconds, stamp_fault
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.text import quoted

TF_TIMEOUT_S = 0.1
"""How long a cloud waits for the transform at its own time: TF has a rate of its own."""

_POLL_S = 0.002


class NoTransformError(Exception):
    """A transform is not known; `str()` says which and why."""


class Transforms:
    """Transforms between frames by tf2_ros, where that is installed.

    Args:
        node: whose clock and topics are used.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._buffer: Any = None
        self._listener: Any = None
        self._jumps: Any = None

    def check(self, parameters: Parameters, *, poses: bool) -> None:
        """Subscribe to TF where the parameters need it: a box in a frame of its own, or poses of
        the sensor; for those by odometry, and for clouds of other LiDARs, which may be in the
        input's frame, only where tf2_ros is installed.

        Args:
            poses: whether it has to be known where the sensor is.

        Raises:
            InputError: tf2_ros is not installed.
        """
        unbounded = is_unbounded(parameters.crop_min, parameters.crop_max)
        has_frame = bool(parameters.crop_frame) and not unbounded
        needed = has_frame or poses or bool(parameters.other_lidars)
        if not needed or self._buffer is not None:
            return
        try:
            import tf2_ros
        except ImportError as error:
            if has_frame:
                raise InputError(
                    f"parameter crop.frame is {quoted(parameters.crop_frame)}, which needs "
                    "tf2_ros: install it, or leave crop.frame empty for the cloud's own frame "
                    f"({error})"
                ) from error
            if poses and parameters.poses_source == "tf":
                raise InputError(
                    "parameter poses.source is 'tf', which needs tf2_ros: install it, or take "
                    f"odometry ({error})"
                ) from error
            return
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, self._node)
        # After a bag has started again, transforms of later times would hide the new ones.
        self._jumps = self._node.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False
            ),
            post_callback=lambda _: self._buffer.clear(),
        )

    @property
    def are_known(self) -> bool:
        """Whether it listens to TF."""
        return self._buffer is not None

    def matrix(self, target: str, source: str, stamp: Any) -> np.ndarray:
        """T_target_source [4, 4] at a time, as `lookup`.

        Raises:
            CloudError: the transform is not known, or the time is none.
        """
        if (fault := stamp_fault(stamp)) is not None:
            raise CloudError("bad stamp", f"no transform at the cloud's stamp: {fault}")
        try:
            return matrix_of(
                self.lookup(target, source, nanoseconds(stamp), time.monotonic() + TF_TIMEOUT_S)
            )
        except NoTransformError as error:
            raise CloudError("no transform to crop.frame", str(error)) from error

    def lookup(self, target: str, source: str, time_ns: int, until_s: float) -> Any:
        """The geometry_msgs/Transform T_target_source at a time; a slash before a frame's name
        doesn't count. Where TF knows the frames, but has no transform of that time yet, waits: not
        for the thread that spins, nor for a transform of the past, which can't come any more.

        Args:
            until_s: of `time.monotonic`; no longer than that.

        Raises:
            NoTransformError: the transform is not known.
        """
        target, source = frame_name(target), frame_name(source)
        if self._buffer is None:
            raise NoTransformError(
                f"no transform from {source} to {target}: tf2_ros is not installed"
            )
        if time_ns <= 0:  # 0 is the newest one to TF, and below nothing is
            raise NoTransformError(f"no transform from {source} to {target} at time {time_ns} ns")
        import tf2_ros

        time_of = Time(nanoseconds=time_ns)
        while True:
            try:
                return self._buffer.lookup_transform(target, source, time_of).transform
            except tf2_ros.TransformException as error:
                may_come = isinstance(error, tf2_ros.ExtrapolationException) and self._ends_before(
                    target, source, time_ns
                )
                if not may_come or time.monotonic() > until_s:
                    raise NoTransformError(
                        f"no transform from {source} to {target}: {error}"
                    ) from error
            time.sleep(_POLL_S)

    def _ends_before(self, target: str, source: str, time_ns: int) -> bool:
        """Whether the newest known transform is older than a time."""
        import tf2_ros

        try:
            newest = self._buffer.lookup_transform(target, source, Time())
        except tf2_ros.TransformException:
            return True
        return nanoseconds(newest.header.stamp) < time_ns
