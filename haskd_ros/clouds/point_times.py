"""The time of each point of a cloud, under the names and in the units that drivers use.

| driver | field |
| --- | --- |
| velodyne_pointcloud, Unitree | `time` float32, s since the stamp; below 0 where that is the end |
| ouster-ros | `t` uint32, ns since the stamp |
| hesai_ros_driver, rslidar_sdk, Seyond | `timestamp` float64, s since the epoch |
| livox_ros_driver2 | `timestamp` float64, ns since the epoch; `offset_time` uint32, ns |
| Nebula, Autoware | `time_stamp` uint32, ns since the stamp |
| sick_scan_xd | `t` uint32, ns, `ts` float32, s; `lidar_sec` and `lidar_nsec` uint32 |
| Aeva | `time_offset_ns` int32 |
| others, data sets | `time` float32, us (NCLT, UrbanLoco); `timestamp` uint64, ns (Isaac Sim) |

Each of them has been seen in another unit too, so the values decide, and a name only where it
says its unit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from haskd_ros.clouds.point_layout import fields_of
from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.text import QUOTED_CHARACTERS, listed, quoted

TIME_NAMES = (
    "time", "t", "timestamp", "ts", "offsettime", "timeoffset", "stamp", "relativetime",
    "relativetimestamp", "times", "timestamps", "stamps",
)  # fmt: skip
"""What drivers call it, in order of preference, without case, underscores and unit."""

SECOND_NS = 10**9

UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

_UNIT_NAMES = {
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "ms": "ms", "msec": "ms", "msecs": "ms", "millisec": "ms", "milliseconds": "ms",
    "us": "us", "usec": "us", "usecs": "us", "microsec": "us", "microseconds": "us",
    "ns": "ns", "nsec": "ns", "nsecs": "ns", "nanosec": "ns", "nanoseconds": "ns",
}  # fmt: skip

SHORTEST_SWEEP_S, LONGEST_SWEEP_S = 1e-3, 1.0
"""A thousand of each other, as the units are: values fit into one unit at most."""

FASTEST_POINTS_PER_S = 5e7
"""More than any sensor measures."""

_SAME_CLOCK_S = 2.0
"""Times this near to the stamp are by its clock, unless the stamp itself is near zero."""

_LONGEST_NAME = 64


class TimesProblem(NamedTuple):
    """Why the times of a cloud can't be used. `reason` is the kind in a few words without numbers,
    for counting; `message` has what was found."""

    reason: str
    message: str


NO_FIELD, NO_RETURNS, ONE_TIME = "no time field", "no returns", "one time for all points"
"""Reasons of clouds with nothing wrong in them: without times, empty, compensated already."""


@dataclass(frozen=True)
class PointTimes:
    """What a cloud's time field holds.

    Attributes:
        columns: its name, or those of the two of s and of ns; none without one.
        datatype: numpy's name of its type.
        unit: a key of `UNITS_S`, empty where none is known.
        origin: what its values count from: `stamp`, `epoch` (the stamp's clock), or `another
            clock`.
        seconds: [N] float32, s relative to the stamp; 0 where nothing is known, and from the first
            point by another clock.
        span_s: time of the first and of the last valid point, s relative to the stamp.
        problem: None where the times can be relied on.
    """

    columns: tuple[str, ...]
    datatype: str
    unit: str
    origin: str
    seconds: np.ndarray
    span_s: tuple[float, float] = (0.0, 0.0)
    problem: TimesProblem | None = None

    @property
    def field(self) -> str:
        """The names in `columns`."""
        return " + ".join(self.columns)

    def at(self, stamp_ns: int, seconds: np.ndarray | float = 0.0) -> dict[str, Any]:
        """What each of the `columns` holds for points that were measured at a stamp, or so long
        after it; of times without a problem.

        Args:
            seconds: s after the stamp, [N] or one for all; rounded to ns.
        """
        # Of lost returns come numbers that are none.
        with np.errstate(over="ignore", invalid="ignore"):
            ns = np.rint(np.multiply(seconds, 1e9, dtype=np.float64)).astype(np.int64)
        if self.origin == "epoch":
            ns = ns + stamp_ns
        if len(self.columns) > 1:
            return dict(zip(self.columns, np.divmod(ns, SECOND_NS)))
        per_unit = round(UNITS_S.get(self.unit, 1.0) * 1e9)
        return {self.field: ns / per_unit if self.datatype.startswith("float") else ns // per_unit}

    def __str__(self) -> str:
        if not self.unit:
            return self.field
        since = {
            "stamp": "since the stamp",
            "epoch": "by the stamp's clock",
            "another clock": "by another clock than the stamp's",
        }[self.origin]
        return f"{self.field} ({self.datatype}) in {self.unit} {since}"


def is_time_field(name: str) -> bool:
    """Whether a field's name is that of a time of each point."""
    base, _ = _base_and_unit(name)
    return base in TIME_NAMES


def point_times(
    cloud: Any, stamp_ns: int, valid: np.ndarray, *, field: str = "", unit: str = "auto"
) -> PointTimes:
    """The time of each point of a PointCloud2: of the first field whose values are times within a
    sweep.

    Values near the stamp are absolute; else their unit is the one in which the points lie between
    a thousandth of a second and a second apart, which fits one unit at most. It is not taken where
    the cloud has so few points that a sensor could have measured them in a thousandth of that
    time, unless it is what drivers use for the type: ns for integers, s for floats.

    Args:
        stamp_ns: of the cloud.
        valid: [N] bool, the points to judge by: lost returns often have a time of 0.
        field: its name, where it is known; empty: found by name.
        unit: a key of `UNITS_S`, where it is known; auto: by the field's name or its values.

    Raises:
        CloudError: the cloud is malformed.
    """
    first: PointTimes | None = None
    for candidate in _candidates(cloud, field):
        times = _read(cloud, candidate, stamp_ns, valid, "" if unit == "auto" else unit)
        if times.problem is None:
            return times
        first = first or times
    if first is not None:
        return first
    names = listed((each.name for each in fields_of(cloud)), QUOTED_CHARACTERS)
    what = f"field {quoted(field)}" if field else "field with the time of each point"
    problem = TimesProblem(NO_FIELD, f"the clouds have no {what}; their fields are {names}")
    nothing = np.zeros(cloud.width * cloud.height, np.float32)
    return PointTimes((), "", "", "stamp", nothing, problem=problem)


class TimeColumns(NamedTuple):
    """The field, or the two of s and ns, that hold the times; `unit` where the name says it."""

    names: tuple[str, ...]
    unit: str


def _base_and_unit(name: str) -> tuple[str, str]:
    """`timeOffset_ns` -> (timeoffset, ns)."""
    if len(name) > _LONGEST_NAME:
        return "", ""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)]
    if len(words) > 1 and words[-1] in _UNIT_NAMES:
        return "".join(words[:-1]), _UNIT_NAMES[words[-1]]
    return "".join(words), ""


def _candidates(cloud: Any, field: str) -> Iterator[TimeColumns]:
    """The fields that may hold times, in order of preference; only the given one, if any."""
    named = {each.name: _base_and_unit(each.name) for each in fields_of(cloud) if each.count == 1}
    if field:
        if field in named:
            yield TimeColumns((field,), named[field][1])
        return
    by_unit: dict[str, dict[str, str]] = {}
    for name, (base, unit) in named.items():
        by_unit.setdefault(base, {}).setdefault(unit, name)
    # The ns of a pair begin anew with each second: alone they are no times.
    pairs = {base for base, names in by_unit.items() if {"s", "ns"} <= names.keys()}
    for base in TIME_NAMES:
        for unit, name in by_unit.get(base, {}).items():
            if not (base in pairs and unit in ("s", "ns")):
                yield TimeColumns((name,), unit)
    for base in sorted(pairs):
        yield TimeColumns((by_unit[base]["s"], by_unit[base]["ns"]), "ns")


def _read(
    cloud: Any, columns: TimeColumns, stamp_ns: int, valid: np.ndarray, unit: str
) -> PointTimes:
    rows = read_points(cloud, columns.names)
    values: np.ndarray = rows[columns.names[0]]
    if len(columns.names) > 1:
        values = values.astype(np.int64) * SECOND_NS + rows[columns.names[1]].astype(np.int64)
    name, datatype = " + ".join(columns.names), values.dtype.name
    judged = values[valid]
    verdict = _judge(judged, stamp_ns, unit or columns.unit)
    problem = None
    if verdict.reason:
        problem = TimesProblem(verdict.reason, f"field {quoted(name)} ({datatype}) {verdict.found}")
    if not verdict.unit:
        nothing = np.zeros(len(values), np.float32)
        return PointTimes(columns.names, datatype, "", "stamp", nothing, problem=problem)
    scale = UNITS_S[verdict.unit]
    # Of lost returns come numbers that are none.
    with np.errstate(over="ignore", invalid="ignore"):
        if verdict.origin == "stamp":
            exact = values * scale
        elif verdict.origin == "epoch":
            exact = _since(values, stamp_ns, scale)
        else:
            # Not from the smallest of all values: a lost return's may be 0.
            exact = np.where(valid, values - judged.min(), 0) * scale
        seconds = np.asarray(exact, np.float32)
    span = float(seconds[valid].min()), float(seconds[valid].max())
    unit, origin = verdict.unit, verdict.origin
    return PointTimes(columns.names, datatype, unit, origin, seconds, span, problem)


class _Verdict(NamedTuple):
    """As of `PointTimes` and `TimesProblem`; without a reason the times can be relied on."""

    unit: str
    origin: str = "stamp"
    reason: str = ""
    found: str = ""


def _judge(values: np.ndarray, stamp_ns: int, known_unit: str) -> _Verdict:
    """What the times of the valid points [n] are.

    Args:
        known_unit: empty where the values decide.
    """
    if not len(values):
        return _Verdict("", reason=NO_RETURNS, found="belongs to no return")
    if values.dtype.kind == "f" and (wrong := np.count_nonzero(~np.isfinite(values))):
        found = f"is NaN or infinite at {wrong} of {len(values)} points"
        return _Verdict("", reason="times are no numbers", found=found)
    # 64-bit integers don't fit into float64, but their differences do.
    first, last = values.min().item(), values.max().item()
    span, stamp_s = float(last - first), stamp_ns * 1e-9
    is_integer = values.dtype.kind in "iu"
    goes = f"goes from {first:.16g} to {last:.16g}"
    # A float32 has steps of 128 s at the epoch, and tells nothing there.
    step = 0.0 if is_integer else float(np.spacing(np.abs(values[0])))
    fitting = (
        unit
        for unit in ([known_unit] if known_unit else UNITS_S)
        if abs(first * UNITS_S[unit] - stamp_s) < _SAME_CLOCK_S < stamp_s / 2
        and step * UNITS_S[unit] < SHORTEST_SWEEP_S
    )
    absolute = next(fitting, "")
    if span == 0:
        found = f"is {first:.16g} at all {len(values)} points"
        return _Verdict(absolute, "epoch" if absolute else "stamp", ONE_TIME, found)
    unit = absolute or known_unit or _unit_of(span, is_integer)
    if not unit or span * UNITS_S[unit] > LONGEST_SWEEP_S:
        said = f"in {unit}" if unit else "in none of " + ", ".join(UNITS_S)
        sweep = f"a sweep of {SHORTEST_SWEEP_S:g} to {LONGEST_SWEEP_S:g} s"
        return _Verdict("", reason="no times of a sweep", found=f"{goes}, {said} {sweep}")
    if absolute:
        return _Verdict(unit, "epoch")
    usual = "ns" if is_integer else "s"
    if not known_unit and unit != usual and unit != "ns":
        smaller = list(UNITS_S)[list(UNITS_S).index(unit) + 1]
        if len(values) <= FASTEST_POINTS_PER_S * span * UNITS_S[smaller]:
            found = f"{goes} over {len(values)} points, which may be {unit} or {smaller}"
            return _Verdict("", reason="unit of the times unclear", found=found)
    if max(abs(first), abs(last)) * UNITS_S[unit] <= LONGEST_SWEEP_S:
        return _Verdict(unit)
    off = first * UNITS_S[unit] - stamp_s
    found = f"{goes} in {unit}, {off:+,.3f} s from the stamp: by another clock than the stamp's"
    return _Verdict(unit, "another clock", "times by another clock", found)


def _unit_of(span: float, is_integer: bool) -> str:
    """The unit in which values this far apart span a sweep; empty: none."""
    for unit, scale in UNITS_S.items():
        # A second in float32 may be a little more than one.
        if SHORTEST_SWEEP_S < span * scale / (1 + 1e-6) <= LONGEST_SWEEP_S:
            return "" if is_integer and unit == "s" else unit
    return ""


def _since(values: np.ndarray, stamp_ns: int, scale: float) -> np.ndarray:
    """Absolute times less the stamp, in s."""
    if values.dtype.kind in "iu":
        per_unit = round(scale * 1e9)
        difference: np.ndarray = (values.astype(np.int64) - stamp_ns // per_unit) * scale
        return difference - (stamp_ns % per_unit) * 1e-9
    since: np.ndarray = (values - stamp_ns * (1e-9 / scale)) * scale
    return since
