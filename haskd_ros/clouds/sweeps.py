"""Sweeps on top of each other: a cloud with those before it, as networks of several sweeps take it.

Trainings, `haskd segment`, `haskd evaluate` and the node stack by `stack`, and choose by `before`
which sweeps: the same clouds are the same stack everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np

from haskd_ros.channels import SWEEP_AGE, ChannelName
from haskd_ros.clouds.point_times import SECOND_NS

MAX_GAP_S = 1.0
"""Between a sweep and the next one before it; what lies behind a longer gap is not stacked."""

OUT_OF_ORDER_S = 0.5
"""By which a stamp may lie before an earlier cloud's; more is time that has gone back."""

_POSE_DIGITS = 9
"""Of a motion between two sweeps, in m and as a part of 1. TF, Odometry and a recording's poses
differ in the last bits of a float64, which are not to decide about a point's voxel."""

_T = TypeVar("_T")

Channels = Mapping[ChannelName, np.ndarray | None]


@dataclass(frozen=True)
class PlacedSweep:
    """A cloud that later ones may be put on top of.

    Attributes:
        stamp_ns: of the cloud.
        pose: T_fixed_sensor [4, 4] float64 at that time, in a frame that stands still.
        points: [N, 4] float32 x y z in m in the sensor frame, all valid returns, and intensity.
        intensity_scale: intensity of a full return; None: it was not measured.
        channels: by name [N, D] in the channel's own unit; None or missing: it has none.
    """

    stamp_ns: int
    pose: np.ndarray
    points: np.ndarray
    intensity_scale: float | None
    channels: Channels = field(default_factory=dict)


@dataclass(frozen=True)
class Moment:
    """When and where a cloud was measured, and what was before.

    Attributes:
        stamp_ns, pose: as of `PlacedSweep`.
        earlier: sweeps to stack below it, with poses in the same frame, the latest of them first.
    """

    stamp_ns: int
    pose: np.ndarray
    earlier: Sequence[PlacedSweep] = ()


class Stack(NamedTuple):
    """Points [N + M, 3 or 4] of several sweeps, the newest one's N first, and the channels of all
    of them, `sweep_age` [N + M, 1] float32 in s among them."""

    points: np.ndarray
    channels: dict[ChannelName, np.ndarray | None]


def stack(
    points: np.ndarray,
    intensity_scale: float | None,
    channels: Channels,
    moment: Moment | None = None,
) -> Stack:
    """A cloud, and behind it the sweeps before, moved into its sensor frame.

    What the newest cloud lacks, intensity or a channel, the stack lacks; what an earlier one lacks
    is not a number for its points.

    Args:
        points: [N, 4] float32 x y z in m in the sensor frame and intensity, or [N, 3] without.
        intensity_scale: of the points, as of `PlacedSweep`; intensities of other sweeps are brought
            to it.
        channels: of the points.
        moment: of the cloud; None: it is by itself.
    """
    earlier = () if moment is None else moment.earlier
    columns = points.shape[1]
    all_points, ages = [points], [np.zeros((len(points), 1), np.float32)]
    for sweep in earlier:
        assert moment is not None
        moved = np.empty((len(sweep.points), columns), np.float32)
        moved[:, :3] = _moved(sweep.points, motion_between(moment.pose, sweep.pose))
        if columns == 4:
            moved[:, 3] = _intensity(sweep, intensity_scale)
        all_points.append(moved)
        age = np.float32((moment.stamp_ns - sweep.stamp_ns) / SECOND_NS)
        ages.append(np.full((len(moved), 1), age, np.float32))
    joined: dict[ChannelName, np.ndarray | None] = {
        name: None if values is None else _joined(name, values, earlier)
        for name, values in channels.items()
        if name != SWEEP_AGE
    }
    joined[SWEEP_AGE] = np.concatenate(ages)
    return Stack(np.concatenate(all_points) if earlier else points, joined)


def motion_between(pose: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """T_sensor_earlier [4, 4] float64, rounded, of two poses T_fixed_sensor [4, 4] of a sensor."""
    back = pose[:3, :3].T
    result = np.eye(4)
    result[:3, :3] = back @ earlier[:3, :3]
    # The difference of the positions first: both may be far from the origin.
    result[:3, 3] = back @ (earlier[:3, 3] - pose[:3, 3])
    rounded: np.ndarray = result.round(_POSE_DIGITS)
    return rounded


def before(stamp_ns: int, candidates: Iterable[tuple[int, _T]], count: int) -> list[_T]:
    """Those of some sweeps that are stacked below a cloud, the latest of them first.

    Args:
        stamp_ns: of the cloud.
        candidates: stamps in ns and sweeps, latest first; those that are not before the cloud are
            passed over.
        count: how many at most.
    """
    chosen: list[_T] = []
    last_ns = stamp_ns
    for earlier_ns, sweep in candidates:
        if earlier_ns >= last_ns:
            continue
        if len(chosen) == count or last_ns - earlier_ns > MAX_GAP_S * SECOND_NS:
            break
        chosen.append(sweep)
        last_ns = earlier_ns
    return chosen


class SweepHistory:
    """The last sweeps of a sensor, for the clouds that come.

    Args:
        sweeps: clouds that a model takes at once; as many are kept, since a cloud that comes twice
            is not below itself.
    """

    def __init__(self, sweeps: int) -> None:
        self._sweeps = sweeps
        self._kept: list[PlacedSweep] = []  # latest first
        self._latest_ns: int | None = None

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def points(self) -> int:
        """Of all sweeps that are kept."""
        return sum(len(sweep.points) for sweep in self._kept)

    def forget(self) -> None:
        """Begin anew."""
        self._kept, self._latest_ns = [], None

    def before(self, stamp_ns: int) -> tuple[list[PlacedSweep], str]:
        """The sweeps to stack below a cloud, and, where they are fewer than there should be, why.
        Where time has gone back, as when a recording begins again, all before is forgotten."""
        latest_ns = self._latest_ns
        if latest_ns is not None and stamp_ns < latest_ns - OUT_OF_ORDER_S * SECOND_NS:
            self.forget()
            return [], "time went back"
        wanted = self._sweeps - 1
        found = before(stamp_ns, ((each.stamp_ns, each) for each in self._kept), wanted)
        if len(found) == wanted:
            return found, ""
        if len(found) < sum(each.stamp_ns < stamp_ns for each in self._kept):
            return found, "gap before it"
        return found, "first clouds"

    def keep(self, sweep: PlacedSweep) -> None:
        """Keep a cloud for those that come."""
        if all(each.stamp_ns != sweep.stamp_ns for each in self._kept):
            self._kept.append(sweep)
            self._kept.sort(key=lambda each: -each.stamp_ns)
            del self._kept[self._sweeps :]
        self._latest_ns = max(sweep.stamp_ns, self._latest_ns or sweep.stamp_ns)


def _moved(points: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """x y z [N, 3] float32 of points [N, >= 3] in another frame."""
    x, y, z = points[:, :3].T.astype(np.float64)
    # Not a matrix product, whose sums depend on how many threads and points there are.
    moved = [a * x + b * y + c * z + shift for a, b, c, shift in motion[:3]]
    return np.stack(moved, axis=1).astype(np.float32)


def _intensity(sweep: PlacedSweep, scale: float | None) -> np.ndarray:
    """[N] float32 in the unit of the newest cloud."""
    if sweep.intensity_scale is None or scale is None:
        return np.full(len(sweep.points), np.nan, np.float32)
    values: np.ndarray = sweep.points[:, 3]
    if sweep.intensity_scale != scale:
        values = values * np.float32(scale / sweep.intensity_scale)
    return values


def _joined(name: ChannelName, values: np.ndarray, earlier: Sequence[PlacedSweep]) -> np.ndarray:
    """[N + M, D] float32 of a channel."""
    parts = [values.astype(np.float32)]
    for sweep in earlier:
        own = sweep.channels.get(name)
        if own is None:
            own = np.full((len(sweep.points), values.shape[1]), np.nan)
        parts.append(own.astype(np.float32))
    return np.concatenate(parts)
