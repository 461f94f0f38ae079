"""The box outside of which points are not labelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from haskd_ros.errors import InputError


def inside_box(
    points: np.ndarray, low: np.ndarray, high: np.ndarray, transform: np.ndarray | None = None
) -> np.ndarray:
    """Which points lie in a box, its faces included.

    Args:
        points: [N, >= 3], x y z in m.
        low, high: [3] corners in m, in the box's frame; infinite for an open side.
        transform: [4, 4] from the points' frame to the box's; None: the same frame.

    Returns:
        [N] bool; False for points that are not finite.
    """
    xyz = points[:, :3]
    if transform is not None:
        xyz = xyz @ transform[:3, :3].T + transform[:3, 3]
    # A point with an infinite coordinate must not count as inside an open side.
    return ((xyz >= low) & (xyz <= high) & np.isfinite(xyz)).all(1)


def matrix_of(transform: Any) -> np.ndarray:
    """[4, 4] float64 of a geometry_msgs/Transform."""
    r, t = transform.rotation, transform.translation
    x, y, z, w = np.array([r.x, r.y, r.z, r.w]) / np.linalg.norm([r.x, r.y, r.z, r.w])
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = t.x, t.y, t.z
    return matrix


def is_open(values: Mapping[str, Any]) -> bool:
    """Whether the parameters `crop.min` and `crop.max` leave nothing outside."""
    return bool(np.isneginf(values["crop.min"]).all() and np.isposinf(values["crop.max"]).all())


class Transforms:
    """Where other frames are, by tf2_ros where that is installed.

    Args:
        node: whose clock and topics are used.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._buffer: Any = None
        self._listener: Any = None

    def check(self, values: Mapping[str, Any]) -> None:
        """Begin to listen to TF where the parameters need it: a box in a frame of its own.

        Raises:
            InputError: tf2_ros is not installed.
        """
        if not values["crop.frame"] or is_open(values) or self._buffer is not None:
            return
        try:
            import tf2_ros
        except ImportError as error:
            raise InputError(
                f"parameter crop.frame is {values['crop.frame']!r}, which needs tf2_ros: install "
                f"it, or leave crop.frame empty for the cloud's own frame ({error})"
            ) from error
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, self._node)

    def matrix(self, target: str, source: str, stamp: Any) -> np.ndarray:
        """[4, 4] from a source frame to a target frame at a time; does not wait.

        Raises:
            InputError: the transform is not known.
        """
        import tf2_ros
        from rclpy.time import Time

        try:
            found = self._buffer.lookup_transform(target, source, Time.from_msg(stamp))
        except tf2_ros.TransformException as error:
            raise InputError(f"no transform from {source} to {target}: {error}") from error
        return matrix_of(found.transform)
