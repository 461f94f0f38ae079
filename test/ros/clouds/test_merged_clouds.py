"""Clouds of several LiDARs as one, with values worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hostile_clouds import hostile_cloud
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from haskd_ros.clouds.merging import (
    MergedIntensity,
    OtherCloud,
    check_layout,
    fitted,
    merged_cloud,
    points_in_frame,
)
from haskd_ros.clouds.motion import Poses
from haskd_ros.clouds.point_layout import DTYPES, CloudError
from haskd_ros.clouds.pointcloud import read_points, select_points
from haskd_ros.model_header import Intensity

RULE = Intensity(scale=255.0, mean=0.2)
DATATYPES = {np.dtype(name): number for number, name in sorted(DTYPES.items(), reverse=True)}


def cloud_of(dtype, rows, *, is_dense: bool = True, height: int = 1) -> SimpleNamespace:
    """Rows (x, y, z, ...) of these fields, in either byte order."""
    points = np.array([tuple(row) for row in rows], np.dtype(dtype))
    fields = [
        SimpleNamespace(
            name=name,
            offset=offset,
            datatype=DATATYPES[kind.base.newbyteorder("=")],
            count=math.prod(kind.shape),
        )
        for name, (kind, offset) in points.dtype.fields.items()
    ]
    return SimpleNamespace(
        header=SimpleNamespace(frame_id="lidar"),
        height=height,
        width=len(points) // height,
        fields=fields,
        is_bigendian=points.dtype[0].str[0] == ">",
        point_step=points.dtype.itemsize,
        row_step=len(points) // height * points.dtype.itemsize,
        data=points.view(np.uint8),
        is_dense=is_dense,
    )


XYZ = [("x", "f4"), ("y", "f4"), ("z", "f4")]
XYZI = [*XYZ, ("intensity", "f4")]


def mount(degrees: float, place) -> np.ndarray:
    """Turned about z, at a place."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = place
    return matrix


def placed(cloud, transform=None, **values) -> OtherCloud:
    transform = np.eye(4) if transform is None else transform
    return OtherCloud(cloud, points_in_frame(cloud, transform), values)


def test_the_points_of_a_rear_lidar_are_behind_the_front_one():
    # It looks back, 2 m behind the front one and 0.5 m lower: what is 3 m ahead of it and 1 m to
    # its left is at x = -2 - 3, y = -1
    rear = cloud_of(XYZ, [(3, 1, 0), (0, 0, 1)])
    xyz = points_in_frame(rear, mount(180, (-2, 0, -0.5)))
    assert xyz == pytest.approx(np.array([[-5, -1, -0.5], [-2, 0, 0.5]]), abs=1e-12)


def test_what_was_not_measured_stays_what_it_is():
    # The mount would make an obstacle of a lost return at the sensor's origin
    rows = [(0, 0, 0), (math.nan, 1, 1), (1, 0, 0), (1, math.inf, 0)]
    xyz = points_in_frame(cloud_of(XYZ, rows), mount(90, (5, 5, 5)))
    np.testing.assert_allclose(xyz[[0, 1, 3]], np.array(rows)[[0, 1, 3]])
    assert xyz[2] == pytest.approx([5, 6, 5])


def test_points_of_a_moving_sensor_are_moved_before_they_are_mounted():
    # 10 m/s along its own x: what it saw 5 m ahead 0.1 s before is 4 m ahead of where it is at 0;
    # it looks to the left of the other sensor, so that is 4 m along the other's y
    drive = Poses(np.array([-0.1, 0.0]), np.array([[-1.0, 0, 0], [0, 0, 0]]),
                  np.array([[0.0, 0, 0, 1]] * 2))  # fmt: skip
    seen = cloud_of(XYZ, [(5, 0, 0), (5, 0, 0)])
    seconds = np.array([-0.1, 0.0], np.float32)
    xyz = points_in_frame(seen, mount(90, (0, 0, 1)), seconds=seconds, poses=drive)
    assert xyz == pytest.approx(np.array([[0, 4, 1], [0, 5, 1]]), abs=1e-6)


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    order=st.sampled_from("<>"),
)
def test_points_keep_their_order_and_distances(seed, sizes, order):
    random = np.random.default_rng(seed)
    dtype = [(name, order + "f4") for name in ("x", "y", "z")] + [("ring", order + "u2")]
    clouds = [
        cloud_of(dtype, [(*random.uniform(-50, 50, 3), random.integers(65536)) for _ in range(n)])
        for n in sizes
    ]
    own, others = clouds[0], clouds[1:]
    turns = Rotation.random(len(others), random_state=seed) if others else []
    places = random.uniform(-5, 5, (len(others), 3))
    added = []
    for cloud, turn, place in zip(others, turns, places):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn.as_matrix(), place
        added.append(placed(cloud, matrix))
    merged = merged_cloud(own, added)
    assert (merged.height, merged.width) == (1, sum(sizes))
    assert merged.point_step == own.point_step and merged.fields == own.fields
    rows = read_points(merged)
    assert rows["ring"].tolist() == [r for c in clouds for r in read_points(c)["ring"]]
    start = sizes[0]
    assert bytes(merged.data)[: start * own.point_step] == bytes(own.data)
    for cloud, turn, place in zip(others, turns, places):
        xyz = np.stack([read_points(cloud)[axis] for axis in "xyz"], 1).astype(float)
        found = np.stack([rows[axis][start : start + len(xyz)] for axis in "xyz"], 1)
        np.testing.assert_allclose(found, turn.apply(xyz) + place, atol=1e-4)
        start += len(xyz)


def test_each_field_has_what_the_other_cloud_has_of_that_name():
    own = cloud_of(
        [*XYZ, ("pad", "u4"), ("ring", "u1"), ("range", "f4"), ("tag", "u1"), ("v", "f4", 2)],
        [(1, 2, 3, 7, 1, 1.5, 9, (4, 5))],
    )
    other = cloud_of(
        [("v", "f8", 2), ("z", "f8"), ("y", "f8"), ("x", "f8"), ("ring", "i2"), ("tag", "f4", 2)],
        [((6, 7), 30, 20, 10, 300, (1, 1)), ((8, 9), 30, 20, 11, -3, (1, 1))],
    )
    merged = merged_cloud(own, [placed(other)])
    rows = read_points(merged)
    assert rows["x"].tolist() == [1, 10, 11] and rows["z"].tolist() == [3, 30, 30]
    # 300 and -3 are beyond what a uint8 holds
    assert rows["ring"].tolist() == [1, 255, 0]
    assert rows["v_0"].tolist() == [4, 6, 8] and rows["v_1"].tolist() == [5, 7, 9]
    # A tag of two values is another thing, and nobody has the range
    assert rows["tag"].tolist() == [9, 0, 0] and rows["pad"].tolist() == [7, 0, 0]
    np.testing.assert_array_equal(rows["range"], np.float32([1.5, math.nan, math.nan]))
    assert not merged.is_dense  # a NaN is in it now


def test_an_organised_cloud_becomes_a_row_and_is_dense_as_long_as_all_are():
    own = cloud_of(XYZ, [(n, 0, 0) for n in range(6)], height=2)
    # Rows with padding, of which the merged cloud has none
    padded = own.data.reshape(2, -1)
    own.data = np.concatenate([padded, np.full((2, 5), 77, np.uint8)], 1).reshape(-1)
    own.row_step += 5
    other = cloud_of(XYZ, [(9, 9, 9)])
    merged = merged_cloud(own, [placed(other)])
    assert (merged.height, merged.width, merged.row_step) == (1, 7, 84)
    assert read_points(merged)["x"].tolist() == [0, 1, 2, 3, 4, 5, 9]
    assert merged.is_dense
    other.is_dense = False
    assert not merged_cloud(own, [placed(other)]).is_dense
    empty = cloud_of(XYZ, [], is_dense=False)
    assert merged_cloud(own, [placed(empty)]).is_dense
    assert read_points(merged_cloud(empty, [placed(other)]))["x"].tolist() == [9]


def test_coordinates_that_are_integers_take_no_turned_points():
    own = cloud_of([("x", "i4"), ("y", "i4"), ("z", "i4")], [(1, 2, 3)])
    with pytest.raises(CloudError, match="x y z are int32, int32, int32, must be float32 or"):
        check_layout(own)
    # As those of another cloud they are read
    merged = merged_cloud(cloud_of(XYZ, []), [placed(own, mount(90, (0, 0, 0.5)))])
    assert read_points(merged).tolist() == [pytest.approx((-2, 1, 3.5))]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1.4, 1.6, -7.0, 1e9, math.nan, math.inf, -math.inf], "u1", [1, 2, 0, 255, 0, 255, 0]),
        ([-1e30, 2.0**63, 0.0], "i8", [-(2**63), 2**63 - 1, 0]),
        ([2.0**64, -1.0], ">u8", [2**64 - 1, 0]),
        ([-40_000, 40_000, 5], "i2", [-32_768, 32_767, 5]),
        (np.array([2**64 - 1, 3], "u8"), "i4", [2**31 - 1, 3]),
        (np.array([-128, 127], "i1"), "u8", [0, 127]),
        ([1e300, -2.5], "f4", [math.inf, -2.5]),
    ],
)
def test_values_in_another_type_are_the_nearest_there_are(values, dtype, expected):
    assert fitted(np.asarray(values), np.dtype(dtype)).tolist() == expected


def intensities(dtype, values, name="intensity") -> SimpleNamespace:
    return cloud_of([*XYZ, (name, dtype)], [(1, 1, 1, value) for value in values])


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        # 0..1 among 0..255: 0.5 is 127.5
        (("f4", [0, 51, 255]), ("f4", [0, 0.5, 1]), [0, 127.5, 255]),
        (("u1", [0, 51, 255]), ("f4", [0, 0.2, 1]), [0, 51, 255]),
        # 16 bits that are used, among 0..1 and 8 bits: 13107 of 65535 is a fifth
        (("f4", [0, 0.5, 1]), ("u2", [0, 13_107, 65_535]), [0, 0.2, 1]),
        (("u1", [0, 51, 255]), ("u2", [0, 13_107, 65_535]), [0, 51, 255]),
        # The same unit in another type
        (("u2", [0, 51, 255]), ("u1", [1, 2, 3]), [1, 2, 3]),
    ],
)
def test_intensities_are_in_the_unit_of_the_input(own, other, expected):
    merging = MergedIntensity()
    cloud, other = intensities(*own), intensities(*other, name="reflectivity")
    merging.look_at(cloud)
    merged = merged_cloud(cloud, [placed(other, **merging.of("/rear", other, RULE))])
    assert read_points(merged)["intensity"][3:].tolist() == pytest.approx(expected)


def test_a_lidar_without_intensity_has_the_mean_of_the_training():
    bare = cloud_of(XYZ, [(1, 1, 1)])
    dark = intensities("f4", [0.0, 0.0])
    floats, octets = MergedIntensity(), MergedIntensity()
    floats.look_at(intensities("f4", [0.5, 1]))
    octets.look_at(intensities("u1", [100, 200]))
    for other in (bare, dark):
        # For a NaN the mean stands in when the cloud is labelled; 0.2 of 255 is 51
        assert math.isnan(floats.of("/rear", other, RULE)["intensity"])
        assert octets.of("/rear", other, RULE)["intensity"] == pytest.approx(51)
        with pytest.raises(CloudError, match="no intensity, or NaN or 0 for all of it, which"):
            floats.of("/rear", other, Intensity(scale=255.0, mean=0.2, required=True))
    # Of some points it was not measured
    some = intensities("f4", [math.nan, 0.6])
    assert octets.of("/left", some, RULE)["intensity"].tolist() == pytest.approx([51, 153])


def test_others_give_no_intensity_to_an_input_that_has_none():
    # Its own points would be dark among them, instead of unknown
    merging, other = MergedIntensity(), intensities("f4", [0.5, 1])
    for own, expected in ((intensities("f4", [0, 0]), math.nan), (intensities("u1", [0, 0]), 0)):
        merging.look_at(own)
        merged = merged_cloud(own, [placed(other, **merging.of("/rear", other, RULE))])
        np.testing.assert_array_equal(read_points(merged)["intensity"], [0, 0, expected, expected])
    merging.look_at(cloud_of(XYZ, [(1, 1, 1)]))
    assert merging.of("/rear", other, RULE) == {}


def test_a_fixed_unit_is_that_of_every_lidar():
    merging, other = MergedIntensity(100.0), intensities("f4", [0.5, 1])
    merging.look_at(intensities("f4", [50, 100]))
    assert merging.of("/rear", other, RULE)["intensity"].tolist() == [0.5, 1]


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32 - 1))
def test_clouds_from_hell_are_merged_or_refused(seed):
    random = np.random.default_rng(seed)
    own, other = hostile_cloud(random), hostile_cloud(random)
    merging = MergedIntensity()
    try:
        check_layout(own)
        merging.look_at(own)
        merged = merged_cloud(own, [placed(other, **merging.of("/rear", other, RULE))])
    except CloudError:
        return
    count = own.width * own.height
    assert merged.width == count + other.width * other.height
    assert len(merged.data) == merged.width * own.point_step
    kept = select_points(merged, np.arange(merged.width) < count)
    alone = select_points(own, np.ones(count, bool))
    assert bytes(kept.data) == bytes(alone.data)
