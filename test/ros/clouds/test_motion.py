"""Points as they would have been measured at one time, with values worked out by hand, and by
scipy's interpolation."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hostile_clouds import hostile_cloud
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp
from sensor_clouds import SENSORS
from test_point_times import STAMP_NS, cloud_of

from haskd_ros.clouds.motion import Poses, compensate, compensated_cloud
from haskd_ros.clouds.point_times import point_times
from haskd_ros.clouds.pointcloud import (
    CloudError,
    read_points,
    read_xyz_intensity,
    valid_returns,
    with_values,
)

NO_TURN = np.array([0.0, 0, 0, 1])


def poses(times, translation, turns_deg=None) -> Poses:
    """Turns about z."""
    turns = np.zeros(len(times)) if turns_deg is None else np.asarray(turns_deg)
    rotation = Rotation.from_euler("z", turns[:, None], degrees=True).as_quat()
    return Poses(np.array(times, float), np.array(translation, float), rotation)


def test_a_wall_ahead_of_a_moving_sensor_is_flat_again():
    # 10 m/s ahead, and a wall 20 m ahead of where the sensor is at the stamp: 0.1 s before it was
    # 21 m away, 0.05 s before 20.5 m
    drive = poses([-0.1, 0.0], [(-1, 0, 0), (0, 0, 0)])
    seen = np.array([[21, 3, 1], [20.5, 3, 1], [20, 3, 1]], np.float32)
    moved = compensate(seen, np.array([-0.1, -0.05, 0.0], np.float32), drive)
    assert moved.dtype == np.float32
    assert moved == pytest.approx(np.array([[20, 3, 1]] * 3))
    # With the stamp at the start of the sweep, the sensor at x = 5 m of the fixed frame
    drive = poses([100.0, 100.1], [(5, 0, 0), (6, 0, 0)])
    moved = compensate(seen[::-1].astype(float), np.array([100.0, 100.05, 100.1]), drive, 100.0)
    assert moved == pytest.approx(np.array([[20, 3, 1], [21, 3, 1], [22, 3, 1]]))


def test_a_post_beside_a_turning_sensor_stays_one_post():
    # It turns left by 90 degrees within the sweep, so a post at (10, 0) at the stamp, its end, was
    # 90 degrees further left at its start: at (0, 10), and half way at 45 degrees.
    turn = poses([-0.1, 0.0], np.zeros((2, 3)), [0, 90])
    half = 10 * math.sqrt(0.5)
    seen = np.array([[0, 10, 0], [half, half, 0], [10, 0, 0]])
    assert compensate(seen, np.array([-0.1, -0.05, 0.0]), turn) == pytest.approx(
        np.array([[10, 0, 0]] * 3)
    )


def test_the_shortest_arc_is_taken_whatever_the_signs():
    # From 170 to 190 degrees there are 20 degrees; q and -q are one rotation
    turn = poses([0.0, 1.0], np.zeros((2, 3)), [170, 190])
    for signs in ([1, 1], [1, -1], [-1, 1]):
        signed = Poses(turn.times, turn.translation, turn.rotation * np.array(signs)[:, None])
        halfway = Rotation.from_quat(signed.at(np.array([0.5])).rotation)
        assert halfway.apply([1, 0, 0]) == pytest.approx(np.array([[-1, 0, 0]]), abs=1e-9)


def test_what_stands_still_stays_to_the_last_bit():
    points = np.random.default_rng(0).normal(0, 50, (1000, 3)).astype(np.float32)
    times = np.linspace(0, 0.1, 1000)
    still = Poses(np.array([0.0, 0.1]), np.ones((2, 3)), np.tile(NO_TURN, (2, 1)))
    one = Poses(np.array([0.0]), np.ones((1, 3)), NO_TURN[None])
    for fixed in (still, one):
        np.testing.assert_array_equal(compensate(points, times, fixed), points)


def test_nan_stays_nan_and_touches_no_other_point():
    drive = poses([0.0, 0.1], [(0, 0, 0), (1, 0, 0)])
    points = np.array([[math.nan, 1, 2], [1, 1, 1], [math.inf, 0, 0], [1, 1, 1]])
    moved = compensate(points, np.array([0.0, 0.1, 0.1, math.nan]), drive)
    assert moved[1] == pytest.approx([2, 1, 1])
    assert np.isnan(moved[[0, 3], 0]).all() and not np.isfinite(moved[2]).any()
    assert compensate(points[:0], np.zeros(0), drive).shape == (0, 3)


def test_before_the_first_and_after_the_last_pose_the_sensor_stands_still():
    drive = poses([0.0, 0.1], [(0, 0, 0), (1, 0, 0)])
    moved = compensate(np.zeros((3, 3)), np.array([-5.0, 0.05, 5.0]), drive)
    assert moved[:, 0] == pytest.approx([0, 0.5, 1])


def test_the_pose_of_a_sensor_follows_from_that_of_its_base():
    # The base turns left about its own origin, the sensor 2 m ahead of it looks back: at 90 degrees
    # the sensor is at y = 2 and looks along -y, 270 degrees
    base = poses([0.0, 1.0], np.zeros((2, 3)), [0, 90])
    mount = Rotation.from_euler("z", 180, degrees=True).as_quat()
    sensor = base.of_mounted(np.array([2.0, 0, 0.5]), mount)
    assert sensor.translation == pytest.approx(np.array([[2, 0, 0.5], [0, 2, 0.5]]))
    ahead = Rotation.from_quat(sensor.rotation).apply([1, 0, 0])
    assert ahead == pytest.approx(np.array([[-1, 0, 0], [0, -1, 0]]), abs=1e-12)


rotations = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(
    lambda q: np.linalg.norm(q) > 0.1
)


@st.composite
def ways(draw) -> Poses:
    """Any poses at 1 to 6 times, up to 10 km from the origin."""
    count = draw(st.integers(1, 6))
    gaps = draw(st.lists(st.floats(1e-3, 0.2), min_size=count, max_size=count))
    turns = Rotation.from_quat([draw(rotations) for _ in range(count)])
    place = st.tuples(*[st.floats(-1e4, 1e4)] * 3)
    return Poses(
        np.cumsum(gaps) + draw(st.floats(-1, 1)),
        np.array([draw(place) for _ in range(count)]),
        turns.as_quat(),
    )


def exact(way: Poses, times: np.ndarray) -> tuple[Rotation, np.ndarray]:
    """T_fixed_sensor at times, by scipy."""
    if len(way.times) == 1:
        return Rotation.from_quat(np.tile(way.rotation, (len(times), 1))), way.translation
    inside = times.clip(way.times[0], way.times[-1])
    place = [np.interp(inside, way.times, column) for column in way.translation.T]
    return Slerp(way.times, Rotation.from_quat(way.rotation))(inside), np.stack(place, 1)


@settings(max_examples=100)
@given(ways(), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_a_static_world_looks_as_to_a_sensor_that_stands(way, place, seed):
    random = np.random.default_rng(seed)
    first, last = way.times[0], way.times[-1]
    reference = first + place * (last - first)
    times = random.uniform(first, last, 50)
    turn, here = exact(way, np.array([reference]))
    world = here + random.normal(0, 30, (50, 3))
    turns, places = exact(way, times)
    seen = turns.inv().apply(world - places)
    expected = turn.inv().apply(world - here)
    # Two rotations half a turn apart have no shortest arc.
    steps = Rotation.from_quat(way.rotation[:-1]).inv() * Rotation.from_quat(way.rotation[1:])
    if len(way.times) > 1 and (steps.magnitude() > math.pi - 1e-3).any():
        return
    moved = compensate(seen, times, way, reference)
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_float32_is_good_for_a_tenth_of_a_millimetre():
    # 20 m/s and 2 rad/s in a map 5,000 km from its origin, points up to 100 m away
    random = np.random.default_rng(1)
    knots = np.linspace(-0.1, 0, 11)
    way = Poses(
        knots,
        np.array([4e5, 5e6, 100]) + np.outer(knots, [20, 1, 0.2]),
        Rotation.from_rotvec(np.outer(knots, [0.1, 0.2, 2])).as_quat(),
    )
    times = random.uniform(-0.1, 0, 20_000)
    seen = random.uniform(-100, 100, (20_000, 3))
    single = compensate(seen.astype(np.float32), times.astype(np.float32), way)
    assert np.abs(single - compensate(seen, times, way)).max() < 1e-4


DRIVE = poses([-0.1, 0.1], [(-1, 0, 0), (1, 0, 0)])  # 10 m/s, at the origin at the stamp


def driven(columns: dict[str, np.ndarray]):
    """The fields of a cloud by name, compensated by `DRIVE`, and of the cloud itself."""
    cloud = cloud_of(columns)
    points = read_points(cloud)
    valid = valid_returns(np.stack([points[name] for name in "xyz"], 1))
    times = point_times(cloud, STAMP_NS, valid)
    assert times.problem is None
    before = cloud.data.copy()
    moved = compensated_cloud(cloud, STAMP_NS, times, valid, DRIVE)
    np.testing.assert_array_equal(cloud.data, before)
    return read_points(moved), points


TIMES_S = np.array([0.0, 0.025, 0.05, 0.1])


@pytest.mark.parametrize(
    ("name", "values", "at_stamp"),
    [
        ("t", (TIMES_S * 1e9).astype("u4"), 0),
        ("time", TIMES_S.astype("f4"), 0.0),
        ("timestamp", STAMP_NS * 1e-9 + TIMES_S, STAMP_NS * 1e-9),
        ("timestamp", STAMP_NS + TIMES_S * 1e9, float(STAMP_NS)),
        ("timestamp_us", ((STAMP_NS + TIMES_S * 1e9) // 1000).astype("u8"), STAMP_NS // 1000),
    ],
)
def test_a_cloud_is_moved_and_its_times_are_the_stamps_then(name, values, at_stamp):
    moved, points = driven({name: values, "ring": np.arange(4, dtype="u2")})
    # All points at (1, 1, 1), that 0.1 s after the stamp now at x = 1 + 1 m
    assert moved["x"] == pytest.approx([1, 1.25, 1.5, 2], abs=1e-5)
    assert moved["y"].tolist() == moved["z"].tolist() == [1, 1, 1, 1]
    assert moved["ring"].tolist() == points["ring"].tolist()
    assert moved[name] == pytest.approx([at_stamp] * 4, rel=1e-15, abs=0)
    # A second time nothing is moved
    again = cloud_of({name: moved[name]})
    times = point_times(again, STAMP_NS, np.ones(4, bool))
    assert times.problem is not None and times.problem.reason == "one time for all points"


def test_seconds_and_nanoseconds_become_the_stamp():
    since_ns = STAMP_NS + (TIMES_S * 1e9).astype(np.int64)
    columns = {"sec": since_ns // 10**9, "nsec": since_ns % 10**9}
    named = {f"lidar_{name}": values.astype("u4") for name, values in columns.items()}
    moved, _ = driven(named)
    assert moved["x"] == pytest.approx([1, 1.25, 1.5, 2], abs=1e-5)
    assert moved["lidar_sec"].tolist() == [1_700_000_000] * 4
    assert moved["lidar_nsec"].tolist() == [123_456_789] * 4


def test_layout_rows_and_byte_order_stay():
    # Two rows of two points, 5 bytes of padding after each point, 3 after each row, big-endian
    point = np.dtype(
        {"names": ["x", "y", "z", "t"], "formats": [">f8", ">f4", ">f4", ">u4"],
         "offsets": [1, 9, 13, 17], "itemsize": 26}
    )  # fmt: skip
    rows = np.zeros(4, point)
    rows["x"], rows["t"] = [5, 0, 6, math.nan], TIMES_S * 1e9
    data = bytearray(b"\xaa" * (2 * (2 * 26 + 3)))
    view = np.ndarray((2, 2), point, data, strides=(55, 26))
    for name in "xyzt":
        view[name] = rows[name].reshape(2, 2)
    cloud = cloud_of({"t": rows["t"]})
    fields = {"x": (1, 8), "y": (9, 7), "z": (13, 7), "t": (17, 6)}
    for field in cloud.fields:
        field.offset, field.datatype = fields[field.name]
    cloud.height, cloud.width, cloud.point_step, cloud.row_step = 2, 2, 26, 55
    cloud.is_bigendian, cloud.data = True, np.frombuffer(data, np.uint8)
    valid = np.array([True, False, True, False])
    times = point_times(cloud, STAMP_NS, valid)
    moved = compensated_cloud(cloud, STAMP_NS, times, valid, DRIVE)
    # The lost return at the origin is one still, and NaN is NaN
    x = read_points(moved)["x"]
    assert x[:3] == pytest.approx([5, 0, 6.5]) and math.isnan(x[3])
    assert read_points(moved)["t"].tolist() == [0] * 4
    changed = np.flatnonzero(np.frombuffer(moved.data, np.uint8) != np.frombuffer(data, np.uint8))
    columns = (changed % 55) % 26
    assert set(columns) <= {*range(1, 9), *range(17, 21)}
    assert (moved.row_step, moved.point_step, moved.is_bigendian) == (55, 26, True)


DRIVERS = {
    "velodyne": ("time", 1.0, 0),
    "velodyne, organised": ("time", 1.0, 0),
    "ouster": ("t", 1e9, 0),
    "ouster, reflectivity": ("t", 1e9, 0),
    "hesai": ("timestamp", 1.0, STAMP_NS / 1e9),
    "livox": ("timestamp", 1e9, STAMP_NS),
    "robosense": ("timestamp", 1.0, STAMP_NS / 1e9),
}
"""Drivers that tell the time of each point: the field, units a second, what it counts from."""


@pytest.mark.parametrize("name", DRIVERS)
def test_clouds_of_common_drivers_are_moved_in_their_own_layout(name):
    field, per_s, zero = DRIVERS[name]
    random = np.random.default_rng(3)
    points, lost = random.uniform(1, 20, (6144, 4)).astype("f4"), random.random(6144) < 0.2
    cloud, rows = SENSORS[name].cloud(points, lost)
    before = read_points(cloud)
    seconds = np.linspace(0, 0.0999, len(before))
    times_of_points = zero + seconds * per_s
    cloud = with_values(cloud, {field: times_of_points})
    valid = valid_returns(read_xyz_intensity(cloud)[0])
    assert valid.sum() == (~lost).sum()
    times = point_times(cloud, STAMP_NS, valid)
    assert (times.field, times.problem) == (field, None)
    moved = compensated_cloud(cloud, STAMP_NS, times, valid, DRIVE)
    after = read_points(moved)
    for other in before.dtype.names:
        if other not in ("x", field):
            np.testing.assert_array_equal(after[other], before[other])
    assert after["x"][valid] == pytest.approx((points[rows, 0] + 10 * seconds)[valid], abs=1e-5)
    np.testing.assert_array_equal(after["x"][~valid], before["x"][~valid])
    assert set(after[field].tolist()) == {float(zero)}
    # What lies between the fields is the sender's
    octets = np.ones(cloud.point_step, bool)
    for _, offset, kind in SENSORS[name].fields:
        octets[offset : offset + np.dtype(kind).itemsize] = False
    between = [each.data.reshape(len(before), -1)[:, octets] for each in (cloud, moved)]
    np.testing.assert_array_equal(*between)


def test_hostile_clouds_are_moved_or_refused():
    random = np.random.default_rng(0)
    outcomes = Counter()
    for _ in range(2000):
        cloud = hostile_cloud(random)
        for field in cloud.fields:
            field.name = {"ring": "t", "i": "timestamp", "rgb": "time_ns"}.get(
                field.name, field.name
            )
        try:
            points, _ = read_xyz_intensity(cloud)
            valid = valid_returns(points)
            times = point_times(cloud, STAMP_NS, valid, unit=random.choice(["auto", "s", "ns"]))
            if times.problem is None:
                moved = compensated_cloud(cloud, STAMP_NS, times, valid, DRIVE)
                assert len(moved.data) == len(cloud.data)
            outcomes["moved" if times.problem is None else times.problem.reason] += 1
        except CloudError as error:
            outcomes[error.reason] += 1
    for outcome in ("moved", "no time field", "no times of a sweep", "coordinates are integers"):
        assert outcomes[outcome], outcomes


def test_integer_coordinates_are_refused():
    cloud = cloud_of({"t": (TIMES_S * 1e9).astype("u4")})
    cloud.fields[1].datatype = 5
    times = point_times(cloud, STAMP_NS, np.ones(4, bool))
    with pytest.raises(CloudError, match="x y z are float32, int32, float32, must be"):
        compensated_cloud(cloud, STAMP_NS, times, np.ones(4, bool), DRIVE)
