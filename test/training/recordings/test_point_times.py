"""The time of each point, by the values that drivers write."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from street_scene import START_NS, cloud

from haskd_training.recordings.point_times import TIME_FIELDS, PointTimes, point_times

ALL = 100
SWEEP_S = np.linspace(0, 0.099, ALL)


def times_of(
    values: np.ndarray, dtype: str, *, name: str = "timestamp", stamp_ns: int = START_NS,
    valid: np.ndarray | None = None, interval_s: float = 0.1,
) -> PointTimes:  # fmt: skip
    points = np.zeros(ALL, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), (name, dtype)])
    points[name] = values
    message = cloud(stamp_ns, points=points)
    valid = np.ones(ALL, bool) if valid is None else valid
    return point_times(message, stamp_ns, valid, interval_s)


@pytest.mark.parametrize("name", TIME_FIELDS)
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("<f8", 1), ("<f8", 1e3), ("<f8", 1e6), ("<f8", 1e9), ("<f4", 1), ("<f4", 1e6), ("<f4", 1e9),
     ("<u4", 1e6), ("<u4", 1e9), ("<i4", 1e9)],
)  # fmt: skip
def test_times_since_the_stamp_are_read_in_any_unit(name: str, dtype: str, scale: float) -> None:
    found = times_of((SWEEP_S * scale).astype(dtype), dtype, name=name)
    assert (found.field, found.origin) == (name, "stamp")
    assert found.seconds == pytest.approx(SWEEP_S, abs=2e-6)


@pytest.mark.parametrize(
    ("dtype", "unit"),
    [("<f8", "s"), ("<f8", "ms"), ("<f8", "us"), ("<f8", "ns")],
)
def test_times_since_the_epoch_are_read_in_any_unit(dtype: str, unit: str) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    base = START_NS * per_second // 10**9
    values = (SWEEP_S * per_second).astype(dtype) + np.array(base, dtype)
    found = times_of(values, dtype)
    assert (found.unit, found.origin) == (unit, "epoch")
    # A float64 of s since the epoch has steps of 0.24 us.
    assert found.seconds == pytest.approx(SWEEP_S, abs=2e-6)


def test_times_before_the_stamp_are_negative() -> None:
    # Velodyne stamps a sweep at its end.
    found = times_of((SWEEP_S - 0.099).astype("<f4"), "<f4", name="time")
    assert found.seconds == pytest.approx(SWEEP_S - 0.099, abs=1e-6)


def test_times_of_another_clock_count_from_the_first_point() -> None:
    # 4,000 s since power-on, in ns, in a cloud that the computer stamped.
    found = times_of(4_000_000_000_000 + SWEEP_S * 1e9, "<f8")
    assert (found.unit, found.origin) == ("ns", "another clock")
    assert found.seconds == pytest.approx(SWEEP_S, abs=1e-6)


def test_a_lost_return_s_time_of_zero_does_not_count() -> None:
    values = START_NS + SWEEP_S * 1e9
    values[::3] = 0
    found = times_of(values, "<f8", valid=values > 0)
    assert found.unit == "ns"
    assert found.seconds[values > 0] == pytest.approx(SWEEP_S[values > 0], abs=1e-6)


def test_sweeps_far_apart_are_not_taken_for_long_ones() -> None:
    # Every 600th sweep was kept: 99 ms in ns are not 99 s in us.
    found = times_of((SWEEP_S * 1e9).astype("<u4"), "<u4", interval_s=60)
    assert (found.unit, found.origin) == ("ns", "stamp")


def test_a_sensor_of_a_hundred_hertz_is_read() -> None:
    found = times_of((SWEEP_S * 1e8).astype("<u4"), "<u4", interval_s=0.01)
    assert found.unit == "ns"
    assert found.seconds == pytest.approx(SWEEP_S / 10, abs=1e-6)


def test_values_that_are_no_times_give_none() -> None:
    for values in (np.zeros(ALL), np.full(ALL, 7.0), np.full(ALL, np.nan), np.arange(ALL) * 1e12):
        assert not times_of(values, "<f8").seconds.any()
    # A float32 has steps of 128 s at the epoch: nothing is left of the times.
    assert not times_of((START_NS * 1e-9 + SWEEP_S).astype("<f4"), "<f4").seconds.any()


def test_a_cloud_without_times_has_none() -> None:
    found = times_of(np.zeros(ALL), "<f4", name="ring")
    assert (found.field, found.unit) == ("", "")
    assert not found.seconds.any()


def test_what_a_time_field_holds_is_told() -> None:
    def told(values: np.ndarray, dtype: str = "<f8") -> str | None:
        finding = times_of(values, dtype).finding("/points")
        return finding and finding.message

    assert told(SWEEP_S) is None
    assert told(SWEEP_S * 1e9, "<u4") == "field timestamp holds times in ns since the stamp"
    assert (
        told(START_NS + SWEEP_S * 1e9) == "field timestamp holds times in ns by the stamp's clock"
    )
    assert "by another clock than the stamp's" in (told(4e12 + SWEEP_S * 1e9) or "")
    assert "holds no times within a sweep" in (told(np.zeros(ALL)) or "")


@given(
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
    length_s=st.floats(0.02, 0.2),
    start_s=st.floats(1e6, 2e9),
    absolute=st.booleans(),
)
def test_any_sweep_comes_back_in_seconds(
    unit: str, length_s: float, start_s: float, absolute: bool
) -> None:
    per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    stamp_ns = round(start_s * 1e9)
    offsets = np.linspace(0, length_s, ALL)
    values = (offsets + (stamp_ns * 1e-9 if absolute else 0)) * per_second
    found = times_of(values, "<f8", stamp_ns=stamp_ns)
    assert found.unit == unit
    assert found.seconds == pytest.approx(offsets, abs=2e-6)
