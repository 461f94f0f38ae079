"""The box outside of which points are not labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


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
    inside: np.ndarray = ((xyz >= low) & (xyz <= high) & np.isfinite(xyz)).all(1)
    return inside


def frame_name(frame: str) -> str:
    """A frame's name without the slash that ROS 1 put before it."""
    return frame.lstrip("/")


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


def is_unbounded(low: Sequence[float], high: Sequence[float]) -> bool:
    """Whether a box with these corners, [3] in m each, leaves nothing outside."""
    return bool(np.isneginf(low).all() and np.isposinf(high).all())
