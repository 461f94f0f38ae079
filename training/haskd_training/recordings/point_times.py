"""The time of each point of a cloud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from haskd_ros.clouds.pointcloud import read_points
from haskd_training.recordings.findings import Finding

TIME_FIELDS = (
    "time", "t", "timestamp", "time_stamp", "offset_time", "time_offset", "time_offset_ns",
)  # fmt: skip
"""What drivers call it (Velodyne, Ouster, Hesai and Livox, Autoware, Livox, ...)."""

UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

LONGEST_SWEEP_S = 0.5
"""A sweep takes at most this long, or twice the time between sweeps, if that is longer."""

SWEEP_S = 0.1
"""Between sweeps, where nothing else is known: the most common rate is 10 Hz."""

_ACCUMULATED_S = 2.0
"""No cloud is collected for longer, however far apart clouds are."""

_SAME_CLOCK_S = 2.0
"""Times this near to the stamp are by its clock, unless the stamp itself is near zero."""

_SAMPLED = 4096


@dataclass(frozen=True)
class PointTimes:
    """What a cloud's time field holds.

    field: its name; unit: a key of `UNITS_S`, empty where no unit makes a sweep of the values.
    origin: what its values count from: `stamp`, `epoch` (the stamp's clock), or `another clock`.
    seconds: [N] float32, s relative to the stamp; 0 where nothing is known.
    """

    field: str
    unit: str
    origin: str
    seconds: np.ndarray

    def finding(self, topic: str) -> Finding | None:
        """What there is to know of the times of this cloud; None where they are s, or where it has
        no time field.

        Args:
            topic: of the clouds.
        """
        if not self.field or (self.unit == "s" and self.origin != "another clock"):
            return None
        if not self.unit:
            message = f"field {self.field} holds no times within a sweep; all points get the stamp"
            return Finding("point-times", topic, "noted", message)
        since = {
            "stamp": "since the stamp",
            "epoch": "by the stamp's clock",
            "another clock": "by another clock than the stamp's; they count from the first point",
        }[self.origin]
        message = f"field {self.field} holds times in {self.unit} {since}"
        return Finding("point-times", topic, "noted", message)


def point_times(
    cloud: Any, stamp_ns: int, valid: np.ndarray, interval_s: float = SWEEP_S
) -> PointTimes:
    """The time of each point of a PointCloud2.

    Drivers differ in name, type, unit and origin, so the values decide: of all units in which the
    points of a cloud lie no further apart than a sweep lasts, the one in which they come nearest to
    the time between sweeps. Values near the stamp are absolute; values far from both zero and the
    stamp are by another clock and count from the first point.

    Args:
        valid: [N] bool, the points to judge by: lost returns often have a time of 0.
        interval_s: time between the recording's sweeps.

    Raises:
        CloudError: the cloud is malformed.
    """
    present = {field.name for field in cloud.fields if field.count == 1}
    name = next((name for name in TIME_FIELDS if name in present), None)
    nothing = np.zeros(cloud.width * cloud.height, np.float32)
    if name is None:
        return PointTimes("", "", "stamp", nothing)
    values = read_points(cloud, [name])[name]
    judged = values[valid][:: max(1, int(valid.sum()) // _SAMPLED)]
    judged = judged[np.isfinite(judged)] if judged.dtype.kind == "f" else judged
    if not len(judged):
        return PointTimes(name, "", "stamp", nothing)
    # 64-bit integers don't fit into float64, but their differences do.
    first, last = judged.min().item(), judged.max().item()
    unit, origin = _unit_and_origin(float(first), float(last - first), stamp_ns, interval_s)
    if not unit:
        return PointTimes(name, "", "stamp", nothing)
    scale = UNITS_S[unit]
    if origin == "stamp":
        seconds = values * scale
    elif origin == "epoch":
        seconds = _since(values, stamp_ns, scale)
    else:
        # Not from the smallest of all values: a lost return's may be 0.
        seconds = np.where(valid, values - values.dtype.type(first), 0) * scale
    return PointTimes(name, unit, origin, np.asarray(seconds, np.float32))


def _unit_and_origin(
    first: float, span: float, stamp_ns: int, interval_s: float
) -> tuple[str, str]:
    """Unit and origin of values that begin at `first` and are `span` apart."""
    longest = min(max(2 * interval_s, LONGEST_SWEEP_S), _ACCUMULATED_S)
    fitting = [unit for unit, scale in UNITS_S.items() if 0 < span * scale <= longest]
    stamp_s = stamp_ns * 1e-9
    for unit in fitting or UNITS_S:
        off = abs(first * UNITS_S[unit] - stamp_s)
        if off < _SAME_CLOCK_S < stamp_s / 2:
            return unit, "epoch"
    # All at one time is nothing to judge by, and nothing to correct.
    if not fitting:
        return "", "stamp"
    unit = min(fitting, key=lambda unit: abs(np.log(span * UNITS_S[unit] / interval_s)))
    near = abs(first) * UNITS_S[unit] <= longest
    return unit, "stamp" if near else "another clock"


def _since(values: np.ndarray, stamp_ns: int, scale: float) -> np.ndarray:
    """Absolute times less the stamp, in s."""
    if values.dtype.kind in "iu":
        per_unit = round(scale * 1e9)
        difference: np.ndarray = (values.astype(np.int64) - stamp_ns // per_unit) * scale
        return difference - (stamp_ns % per_unit) * 1e-9
    since: np.ndarray = (values - stamp_ns * (1e-9 / scale)) * scale
    return since
