"""Motion compensation: points as a sensor would have measured them all at one time.

Rotations are unit quaternions x y z w.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from haskd_ros.clouds.point_layout import CloudError
from haskd_ros.clouds.point_times import PointTimes
from haskd_ros.clouds.pointcloud import read_points, with_values

STEP_S = 0.005
"""Between two poses that are asked for: at 5 rad/s2 a point 100 m away is 1.6 mm off between."""

_CHUNK = 16384
"""Points whose columns stay in a core's cache."""

_LEAST_ANGLE = 1e-6
"""Below it sin(a x) / sin(x) is taken at this angle, where it is `a` to 1e-12."""


@dataclass(frozen=True)
class Poses:
    """T_fixed_sensor over time: linear between two, the rotation along the shortest arc; before the
    first and after the last it stands still.

    Attributes:
        times: [K] s, ascending, no two the same.
        translation: [K, 3] m.
        rotation: [K, 4].
    """

    times: np.ndarray
    translation: np.ndarray
    rotation: np.ndarray

    def at(self, times: np.ndarray) -> Poses:
        """The poses at times [n] in s, as of the class."""
        columns = _Segments(self, np.float64).at(np.asarray(times, np.float64))
        return Poses(times, np.stack(columns[4:], 1), np.stack(columns[:4], 1))

    def matrix(self, time: float) -> np.ndarray:
        """T_fixed_sensor [4, 4] at a time in s."""
        pose = self.at(np.array([time]))
        matrix = np.eye(4)
        matrix[:3, :3] = rotated(np.repeat(pose.rotation, 3, 0), np.eye(3)).T
        matrix[:3, 3] = pose.translation[0]
        return matrix

    def of_mounted(self, translation: np.ndarray, rotation: np.ndarray) -> Poses:
        """T_fixed_sensor, of poses T_fixed_base.

        Args:
            translation, rotation: [3] and [4] of T_base_sensor.
        """
        moved = self.translation + rotated(self.rotation, np.asarray(translation))
        return Poses(self.times, moved, multiplied(self.rotation, np.asarray(rotation)))

    def seen_from(self, time: float) -> Poses:
        """T_reference_sensor, where the reference is the sensor at a time in s."""
        reference = self.at(np.array([time]))
        back = reference.rotation * [-1, -1, -1, 1]
        return Poses(
            self.times,
            rotated(back, self.translation - reference.translation),
            multiplied(back, self.rotation),
        )


def knot_times(times: PointTimes) -> np.ndarray:
    """Times at which to ask for poses [K >= 2], in s relative to the stamp: `STEP_S` apart at most,
    over all points and the stamp."""
    first, last = min(times.span_s[0], 0.0), max(times.span_s[1], 0.0)
    return np.linspace(first, last, max(2, 1 + math.ceil((last - first) / STEP_S)))


def compensate(
    points: np.ndarray, times: np.ndarray, poses: Poses, reference: float = 0.0
) -> np.ndarray:
    """Where a sensor would have measured points of a world that stands still, had it measured all
    of them at one time.

    Args:
        points: [N, 3] float32 or float64, m, each in the sensor's frame at its own time.
        times: [N] s.
        poses: of the sensor in a fixed frame, by the same clock.
        reference: that time, s.

    Returns:
        [N, 3] of the type of `points`, in the sensor's frame at that time; NaN where a coordinate
        or the time is.
    """
    relative = _Segments(poses.seen_from(reference), points.dtype)
    # Column by column, as it is written.
    moved: np.ndarray = np.empty((len(points), 3), points.dtype, order="F")
    # Of points that are NaN or infinite.
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(points), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            x, y, z, w, *origin = relative.at(np.asarray(times[chunk], points.dtype))
            a, b, c = np.ascontiguousarray(points[chunk].T)
            # p + 2 w (u x p) + 2 u x (u x p), of the quaternion (u, w)
            i, j, k = 2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)
            moved[chunk, 0] = a + w * i + (y * k - z * j) + origin[0]
            moved[chunk, 1] = b + w * j + (z * i - x * k) + origin[1]
            moved[chunk, 2] = c + w * k + (x * j - y * i) + origin[2]
    return moved


def compensated_cloud(
    cloud: Any, stamp_ns: int, times: PointTimes, valid: np.ndarray, poses: Poses
) -> Any:
    """A PointCloud2 with its points where the sensor would have measured them at its stamp. All
    else stays as it is, but for the times: they become the stamp's, so that nobody moves the points
    a second time.

    Args:
        times: of the cloud, without a problem.
        valid: [N] bool, points that were measured; what stands for others stays.
        poses: of the sensor in a fixed frame, times in s relative to the stamp.

    Raises:
        CloudError: the cloud is malformed, or its coordinates are integers.
    """
    rows = read_points(cloud, "xyz")
    kinds = {rows.dtype[name] for name in "xyz"}
    if any(kind.kind != "f" for kind in kinds):
        raise CloudError(
            "coordinates are integers",
            f"cloud: x y z are {', '.join(rows.dtype[name].name for name in 'xyz')}, must be "
            "float32 or float64 to be moved",
        )
    precise = any(kind.itemsize == 8 for kind in kinds)
    xyz = np.stack([rows[name] for name in "xyz"]).astype("f8" if precise else "f4", copy=False)
    moved = compensate(xyz.T, times.seconds, poses)
    if not valid.all():
        moved = np.where(valid[:, None], moved, xyz.T)
    columns: dict[str, Any] = {name: moved[:, column] for column, name in enumerate("xyz")}
    return with_values(cloud, columns | times.at(stamp_ns))


def multiplied(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rotations [..., 4]: first the right one, then the left one."""
    u, v = left[..., :3], right[..., :3]
    w, s = left[..., 3:], right[..., 3:]
    vector = w * v + s * u + np.cross(u, v)
    return np.concatenate([vector, w * s - (u * v).sum(-1, keepdims=True)], -1)


def rotated(rotation: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [..., 3] turned by rotations [..., 4]."""
    u, w = rotation[..., :3], rotation[..., 3:]
    twice = 2 * np.cross(u, points)
    result: np.ndarray = points + w * twice + np.cross(u, twice)
    return result


class _Segments:
    """What interpolation needs of each of the K - 1 ways between two poses.

    Args:
        dtype: in which it is computed.
    """

    def __init__(self, poses: Poses, dtype: DTypeLike) -> None:
        times, rotation = poses.times, poses.rotation
        if len(times) == 1:  # it stands still
            times, rotation = np.array([times[0], times[0] + 1]), rotation[[0, 0]]
        start, end = rotation[:-1], rotation[1:]
        cosine = (start * end).sum(1)
        # q and -q are one rotation, and the nearer one has the shorter arc.
        end = np.where(cosine[:, None] < 0, -end, end)
        angle = np.arccos(np.minimum(np.abs(cosine), 1)).clip(_LEAST_ANGLE)
        origin = poses.translation if len(poses.times) > 1 else poses.translation[[0, 0]]
        self._between = times[1:-1].astype(dtype)
        self._columns = [
            np.ascontiguousarray(column, dtype)
            for column in (
                times[:-1], 1 / np.diff(times), angle, 1 / np.sin(angle),
                *start.T, *end.T, *origin[:-1].T, *np.diff(origin, axis=0).T,
            )
        ]  # fmt: skip

    def at(self, times: np.ndarray) -> list[np.ndarray]:
        """Quaternion x y z w and translation x y z, [n] each, at times [n]."""
        segment = np.searchsorted(self._between, times, side="right")
        begin, per_s, angle, factor, *ends = (column[segment] for column in self._columns)
        fraction = ((times - begin) * per_s).clip(0, 1)
        from_start = np.sin((1 - fraction) * angle) * factor
        from_end = np.sin(fraction * angle) * factor
        rotation = [from_start * ends[k] + from_end * ends[4 + k] for k in range(4)]
        return rotation + [ends[8 + k] + fraction * ends[11 + k] for k in range(3)]
