"""The time of each point, by the fields that drivers write."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_ros.clouds.point_layout import DTYPES
from haskd_ros.clouds.point_times import (
    NO_FIELD,
    ONE_TIME,
    PointTimes,
    is_time_field,
    point_times,
)

STAMP_NS = 1_700_000_000_123_456_789
ALL = 10_000
SWEEP_S = np.linspace(0, 0.099, ALL)
DATATYPES = {
    np.dtype(name).name: datatype for datatype, name in sorted(DTYPES.items(), reverse=True)
}


def cloud_of(columns: dict[str, np.ndarray]) -> SimpleNamespace:
    """x, y, z of 1 m and these fields, each of its own type."""
    dtype = np.dtype(
        [("x", "f4"), ("y", "f4"), ("z", "f4"), *((n, v.dtype) for n, v in columns.items())]
    )
    rows = np.ones(len(next(iter(columns.values()))), dtype)
    for name, values in columns.items():
        rows[name] = values
    fields = [
        SimpleNamespace(name=name, offset=offset, datatype=DATATYPES[kind.name], count=1)
        for name, (kind, offset) in dtype.fields.items()
    ]
    return SimpleNamespace(
        header=SimpleNamespace(frame_id="lidar"),
        height=1,
        width=len(rows),
        fields=fields,
        is_bigendian=False,
        point_step=dtype.itemsize,
        row_step=0,
        data=rows.view(np.uint8),
        is_dense=True,
    )


def times_of(
    values: np.ndarray, dtype: str = "f8", *, name: str = "timestamp", stamp_ns: int = STAMP_NS,
    valid: np.ndarray | None = None, **known: str,
) -> PointTimes:  # fmt: skip
    cloud = cloud_of({name: np.asarray(values).astype(dtype)})
    valid = np.ones(len(values), bool) if valid is None else valid
    return point_times(cloud, stamp_ns, valid, **known)


def reason_of(times: PointTimes) -> str | None:
    return None if times.problem is None else times.problem.reason


@pytest.mark.parametrize(
    ("name", "values", "dtype", "unit", "origin", "start_s"),
    [
        ("time", SWEEP_S, "f4", "s", "stamp", 0.0),  # Velodyne
        ("time", SWEEP_S - 0.099, "f4", "s", "stamp", -0.099),  # stamped at its end
        ("time", SWEEP_S * 1e6, "f4", "us", "stamp", 0.0),  # data sets of Velodyne
        ("t", SWEEP_S * 1e9, "u4", "ns", "stamp", 0.0),  # Ouster
        ("timestamp", STAMP_NS * 1e-9 + SWEEP_S, "f8", "s", "epoch", 0.0),  # Hesai, Robosense
        ("timestamp", STAMP_NS * 1e-9 - SWEEP_S, "f8", "s", "epoch", -0.099),  # stamp of the end
        ("timestamp", STAMP_NS + SWEEP_S * 1e9, "f8", "ns", "epoch", 0.0),  # Livox
        ("offset_time", SWEEP_S * 1e9, "u4", "ns", "stamp", 0.0),
        ("time_stamp", SWEEP_S * 1e9, "u4", "ns", "stamp", 0.0),  # Nebula, Autoware
        ("time_offset_ns", SWEEP_S * 1e9 - 5e7, "i4", "ns", "stamp", -0.05),  # Aeva
        ("timestamp_nsecs", SWEEP_S * 1e9, "i4", "ns", "stamp", 0.0),  # Voyant
        ("t_us", SWEEP_S * 1e6, "u4", "us", "stamp", 0.0),
        ("timeOffset", SWEEP_S * 1e3, "f4", "ms", "stamp", 0.0),
        ("TIME", SWEEP_S, "f8", "s", "stamp", 0.0),
    ],
)  # fmt: skip
def test_what_drivers_write_is_read(name, values, dtype, unit, origin, start_s):
    found = times_of(values, dtype, name=name)
    assert (found.field, found.unit, found.origin, found.problem) == (name, unit, origin, None)
    sweep_s = SWEEP_S[::-1] if values[0] > values[-1] else SWEEP_S
    # A float64 of s since the epoch has steps of 0.24 us, one of ns of 256 ns.
    assert found.seconds == pytest.approx(start_s + sweep_s, abs=2e-6)
    assert found.span_s == pytest.approx((start_s, start_s + 0.099), abs=2e-6)


@pytest.mark.parametrize("unit", ["ns", "us"])
def test_64_bits_since_the_epoch_are_exact(unit):
    per_ns = {"ns": 1, "us": 1000}[unit]
    values = (STAMP_NS + (SWEEP_S * 1e9).astype(np.int64)) // per_ns
    for dtype in ("u8", "i8"):
        found = times_of(values, dtype)
        assert (found.unit, found.origin, found.problem) == (unit, "epoch", None)
        assert found.seconds == pytest.approx(SWEEP_S, abs=1.1e-9 * per_ns + 8e-9)
    assert str(found) == f"timestamp (int64) in {unit} by the stamp's clock"


@pytest.mark.parametrize("name", ["time", "t", "timestamp", "time_stamp", "ts", "offsetTime"])
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("f8", 1), ("f8", 1e3), ("f8", 1e6), ("f8", 1e9), ("f4", 1), ("f4", 1e6), ("f4", 1e9),
     ("u4", 1e6), ("u4", 1e9), ("i4", 1e9)],
)  # fmt: skip
def test_times_since_the_stamp_are_read_in_any_unit_under_any_name(name, dtype, scale):
    found = times_of(SWEEP_S * scale, dtype, name=name)
    assert (found.field, found.origin, found.problem) == (name, "stamp", None)
    assert found.seconds == pytest.approx(SWEEP_S, abs=2e-6)


def test_seconds_and_nanoseconds_in_two_fields_are_one_time():
    # The sweep goes over a full second, where the ns begin anew: 0.95 to 1.049 s after a second
    since_ns = (950_000_000 + SWEEP_S * 1e9).astype(np.int64)
    columns = {
        "lidar_sec": (1_700_000_000 + since_ns // 10**9).astype("u4"),
        "lidar_nsec": (since_ns % 10**9).astype("u4"),
    }
    stamp_ns = 1_700_000_000_950_000_000
    found = point_times(cloud_of(columns), stamp_ns, np.ones(ALL, bool))
    assert (found.field, found.unit, found.origin) == ("lidar_sec + lidar_nsec", "ns", "epoch")
    assert found.seconds == pytest.approx(SWEEP_S, abs=1e-8)
    # The ns alone, 950 ms after the stamp, would have been within a second of it
    later = {"timestamp_ns": columns["lidar_nsec"], "timestamp_s": columns["lidar_sec"]}
    assert point_times(cloud_of(later), stamp_ns, np.ones(ALL, bool)).seconds == pytest.approx(
        SWEEP_S, abs=1e-8
    )


def test_of_several_fields_the_first_with_times_counts():
    columns = {"timestamp": np.full(ALL, 3.0), "t": (SWEEP_S * 1e9).astype("u4")}
    found = point_times(cloud_of(columns), STAMP_NS, np.ones(ALL, bool))
    assert (found.field, found.unit, found.problem) == ("t", "ns", None)


def test_a_field_and_a_unit_can_be_given():
    columns = {"azimuth": SWEEP_S.astype("f4"), "time": (SWEEP_S * 2).astype("f4")}
    cloud, valid = cloud_of(columns), np.ones(ALL, bool)
    found = point_times(cloud, STAMP_NS, valid, field="azimuth")
    assert found.field == "azimuth"
    assert found.seconds == pytest.approx(SWEEP_S)
    # 0.099 of ms: shorter than any sweep, but somebody says so
    found = point_times(cloud, STAMP_NS, valid, field="azimuth", unit="ms")
    assert (found.unit, found.problem) == ("ms", None)
    assert found.seconds == pytest.approx(SWEEP_S * 1e-3)
    found = point_times(cloud, STAMP_NS, valid, field="azimut")
    assert found.problem == (
        NO_FIELD, "the clouds have no field 'azimut'; their fields are x, y, z, azimuth, time"
    )  # fmt: skip


def test_a_name_that_says_its_unit_is_believed_and_checked():
    # 50 points in 50 us: one packet
    found = times_of(np.arange(50), "u4", name="t_us")
    assert (found.unit, found.problem) == ("us", None)
    found = times_of(np.arange(ALL) * 1000, "u4", name="t_us")
    assert found.problem == (
        "no times of a sweep",
        "field 't_us' (uint32) goes from 0 to 9999000, in us a sweep of 0.001 to 1 s",
    )


def test_a_unit_that_few_points_leave_open_is_not_guessed():
    # 100 points in 99,000 of integers: 99 ms in us, or 99 us in ns, in which 4,950 points at most
    # are measured
    few = np.arange(100) * 1000
    found = times_of(few, "u4", name="t")
    assert found.problem == (
        "unit of the times unclear",
        "field 't' (uint32) goes from 0 to 99000 over 100 points, which may be us or ns",
    )
    assert not found.seconds.any()
    assert times_of(few, "u4", name="t", unit="us").seconds[-1] == pytest.approx(0.099)
    assert times_of(np.arange(5000) * 19.8, "u4", name="t").unit == "us"
    # What drivers use for the type needs no proof
    assert times_of(few * 1000, "u4", name="t").unit == "ns"
    assert times_of(few * 1e-6, "f4", name="time").unit == "s"


@pytest.mark.parametrize(
    ("values", "dtype", "reason", "said"),
    [
        (np.zeros(ALL), "f4", ONE_TIME, "is 0 at all 10000 points"),
        (np.full(ALL, 7), "u4", ONE_TIME, "is 7 at all 10000 points"),
        (np.where(np.arange(ALL) == 5, np.nan, SWEEP_S), "f4", "times are no numbers",
         "is NaN or infinite at 1 of 10000 points"),
        (np.full(ALL, np.inf), "f8", "times are no numbers", "at 10000 of 10000 points"),
        (np.linspace(0, 1.5e9, ALL), "u4", "no times of a sweep", "goes from 0 to 1500000000"),
        (np.arange(ALL) * 1e12, "f8", "no times of a sweep", "in none of s, ms, us, ns"),
        (STAMP_NS * 1e-9 + 15 * SWEEP_S, "f8", "no times of a sweep", "in s a sweep of"),
        # A float32 has steps of 128 s at the epoch
        (STAMP_NS * 1e-9 + SWEEP_S, "f4", ONE_TIME, "is 1700000000 at all 10000 points"),
        # 4,000 s since power-on, in a cloud that the computer stamped
        (4e12 + SWEEP_S * 1e9, "f8", "times by another clock",
         "in ns, -1,699,996,000.123 s from the stamp"),
    ],
)  # fmt: skip
def test_what_is_no_time_within_a_sweep_says_what_was_found(values, dtype, reason, said):
    found = times_of(values, dtype)
    assert reason_of(found) == reason
    assert said in found.problem.message
    if reason != "times by another clock":
        assert not found.seconds.any() and found.unit == ""


def test_times_of_another_clock_count_from_the_first_point():
    found = times_of(4e12 + SWEEP_S * 1e9)
    assert (found.unit, found.origin) == ("ns", "another clock")
    assert found.seconds == pytest.approx(SWEEP_S, abs=1e-6)


def test_one_time_of_the_stamps_clock_is_told_as_that():
    found = times_of(np.full(ALL, STAMP_NS * 1e-9 + 0.05))
    assert (found.unit, found.origin, reason_of(found)) == ("s", "epoch", ONE_TIME)


def test_the_times_of_lost_returns_do_not_count():
    values = STAMP_NS + SWEEP_S * 1e9
    values[::3] = 0
    values[1::3] = np.nan
    valid = np.arange(ALL) % 3 == 2
    found = times_of(values, valid=valid)
    assert (found.unit, found.problem) == ("ns", None)
    assert found.seconds[valid] == pytest.approx(SWEEP_S[valid], abs=1e-6)
    assert reason_of(times_of(values, valid=np.zeros(ALL, bool))) == "no returns"


def test_a_cloud_without_times_says_so():
    found = times_of(np.zeros(ALL), "f4", name="ring")
    assert (found.field, found.unit) == ("", "")
    assert found.problem == (
        NO_FIELD,
        "the clouds have no field with the time of each point; their fields are x, y, z, ring",
    )
    assert not found.seconds.any()


def test_times_of_other_points_are_written_as_the_cloud_has_them():
    later = np.array([0.0, 0.25, -0.5])
    since_stamp = times_of(SWEEP_S * 1e9, "u4", name="t")
    assert since_stamp.at(STAMP_NS, later)["t"].tolist() == [0, 250_000_000, -500_000_000]
    micro = times_of((STAMP_NS + SWEEP_S * 1e9) // 1000, "u8", name="timestamp_us")
    # 123,456 us after the full second, and 123,456 + 250,000, and 123,456.789 - 500,000
    assert (micro.at(STAMP_NS, later)["timestamp_us"] % 1_000_000).tolist() == [
        123_456, 373_456, 623_456,
    ]  # fmt: skip
    absolute = times_of(STAMP_NS * 1e-9 + SWEEP_S)
    assert absolute.at(STAMP_NS, later)["timestamp"] == pytest.approx(
        [1_700_000_000.1234567, 1_700_000_000.3734567, 1_699_999_999.6234567], abs=1e-6
    )


def test_names_that_are_no_times():
    for name in ("", "x", "ring", "_", "\0", "t" * 100_000, "time_since_start_of_mission", "timer"):
        assert not is_time_field(name)


@settings(max_examples=40)
@given(
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
    length_s=st.floats(0.02, 0.5),
    start_s=st.floats(1e6, 2e9),
    absolute=st.booleans(),
    ends_at_stamp=st.booleans(),
)
def test_any_sweep_comes_back_in_seconds(unit, length_s, start_s, absolute, ends_at_stamp):
    per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    stamp_ns = round(start_s * 1e9)
    offsets = np.linspace(0, length_s, 30_000) - (length_s if ends_at_stamp else 0)
    values = (offsets + (stamp_ns * 1e-9 if absolute else 0)) * per_second
    found = times_of(values, stamp_ns=stamp_ns)
    assert (found.unit, found.origin) == (unit, "epoch" if absolute else "stamp")
    assert found.problem is None
    np.testing.assert_allclose(found.seconds, offsets, rtol=0, atol=2e-6)


@given(
    values=st.lists(st.floats(width=32) | st.integers(0, 2**32 - 1), min_size=1, max_size=30),
    dtype=st.sampled_from(["f4", "f8", "u4", "u8", "i8", "u1"]),
    stamp_ns=st.integers(0, 2**62),
)
def test_whatever_a_field_holds_times_are_within_a_second_of_each_other_or_there_are_none(
    values, dtype, stamp_ns
):
    with np.errstate(invalid="ignore", over="ignore"):
        array = np.array(values).astype(dtype)
    found = times_of(array, dtype, stamp_ns=stamp_ns)
    assert np.isfinite(found.seconds).all()
    if found.problem is None:
        assert np.ptp(found.seconds) <= 1 + 1e-5
        assert np.abs(found.seconds).max() <= 3.1
    elif not found.unit:
        assert not found.seconds.any()
