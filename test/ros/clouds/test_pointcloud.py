"""PointCloud2 bytes <-> numpy, on rosbags' messages: no ROS needed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rosbags", reason="makes messages with rosbags (pip install '.[training]')")

from rosbags.typesys import Stores, get_typestore

from haskd_ros.clouds.output_clouds import (
    SEGMENTATION_POINT,
    VISUALIZATION_POINT,
    packed_color_table,
    segmentation_points,
    visualization_points,
)
from haskd_ros.clouds.pointcloud import (
    CloudError,
    append_columns,
    create_cloud,
    read_intensity,
    read_points,
    read_xyz_intensity,
    select_points,
)

TYPES = get_typestore(Stores.ROS2_HUMBLE).types
PointCloud2 = TYPES["sensor_msgs/msg/PointCloud2"]
PointField = TYPES["sensor_msgs/msg/PointField"]
HEADER = TYPES["std_msgs/msg/Header"](TYPES["builtin_interfaces/msg/Time"](12, 34), "lidar")

INT8, UINT8, INT16, UINT16, INT32, UINT32, FLOAT32, FLOAT64 = range(1, 9)
INT64, UINT64, BOOLEAN = 9, 10, 11  # of PCL, and of PointField since 2025
NUMPY = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8", 9: "i8", 10: "u8",
    11: "u1",
}  # fmt: skip


def cloud_of(fields, data, point_step, width, height=1, row_step=None, big_endian=False):
    """A message from (name, offset, datatype, count) tuples and bytes."""
    return SimpleNamespace(
        header=HEADER,
        height=height,
        width=width,
        fields=[SimpleNamespace(name=n, offset=o, datatype=d, count=c) for n, o, d, c in fields],
        is_bigendian=big_endian,
        point_step=point_step,
        row_step=width * point_step if row_step is None else row_step,
        data=np.frombuffer(data, np.uint8),
        is_dense=True,
    )


XYZ = [("x", 0, FLOAT32, 1), ("y", 4, FLOAT32, 1), ("z", 8, FLOAT32, 1)]


def test_fields_are_found_by_name_in_any_order_and_type():
    # One point: z int16 -3 | intensity uint8 200 | 1 byte of padding | y float64 2.5 | x uint32 7
    data = (
        np.int16(-3).tobytes()
        + bytes([200, 99])
        + np.float64(2.5).tobytes()
        + np.uint32(7).tobytes()
    )
    fields = [
        ("z", 0, INT16, 1), ("intensity", 2, UINT8, 1), ("y", 4, FLOAT64, 1), ("x", 12, UINT32, 1)
    ]  # fmt: skip
    points, intensity = read_xyz_intensity(cloud_of(fields, data, 16, 1))
    assert points.dtype == np.float32
    assert points.tolist() == [[7.0, 2.5, -3.0, 200.0]]
    assert intensity == "intensity"


@pytest.mark.parametrize("name", ["intensity", "reflectivity", "i"])
def test_intensity_goes_by_three_names(name):
    values = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], "<f4")
    cloud = cloud_of([*XYZ, (name, 12, FLOAT32, 1)], values.tobytes(), 16, 2)
    points, found = read_xyz_intensity(cloud)
    assert found == name
    assert points.tolist() == values.tolist()


def test_intensity_alone_keeps_the_type_of_its_field():
    data = np.ones(3, "<f4").tobytes() + np.uint16(40_000).tobytes()
    values = read_intensity(cloud_of([*XYZ, ("reflectivity", 12, UINT16, 1)], data, 14, 1))
    assert (values.dtype, values.tolist()) == (np.uint16, [40_000])
    assert read_intensity(cloud_of(XYZ, data, 14, 1)) is None
    assert len(read_intensity(cloud_of([("i", 0, UINT8, 1)], b"", 1, 0))) == 0


def test_a_cloud_without_intensity_says_so():
    points, found = read_xyz_intensity(cloud_of(XYZ, np.ones(3, "<f4").tobytes(), 12, 1))
    assert found is None
    assert points.tolist() == [[1, 1, 1, 0]]


def test_four_floats_side_by_side_are_a_view_of_the_message():
    # Step 24: x y z intensity time float32, label uint8, 3 bytes of padding.
    rows = np.arange(12, dtype="<f4").reshape(2, 6)
    cloud = cloud_of([*XYZ, ("intensity", 12, FLOAT32, 1)], rows.tobytes(), 24, 2)
    points, _ = read_xyz_intensity(cloud)
    assert points.tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert np.shares_memory(points, cloud.data)


def test_floats_at_odd_offsets_are_read_as_well():
    values = np.array([1.5, -2.5, 3.5, 4.5], "<f4")
    fields = [(name, 1 + 4 * i, FLOAT32, 1) for i, name in enumerate(("x", "y", "z", "i"))]
    cloud = cloud_of(fields, b"\xff" + values.tobytes(), 17, 1)
    points, _ = read_xyz_intensity(cloud)
    assert points.tolist() == [values.tolist()]
    assert points.flags.aligned


def test_a_big_endian_cloud_reads_the_same_and_stays_as_it_was():
    values = np.array([[1, 2, 3, 4]], ">f4")
    cloud = cloud_of(
        [*XYZ, ("intensity", 12, FLOAT32, 1)], values.tobytes(), 16, 1, big_endian=True
    )
    before = cloud.data.tobytes()
    assert read_xyz_intensity(cloud)[0].tolist() == [[1, 2, 3, 4]]
    assert cloud.data.tobytes() == before


def test_point_order_survives_an_organised_cloud_with_padded_rows():
    # 2 rows of 3 points of 12 bytes, each row followed by 5 bytes that belong to nobody.
    rows = np.arange(18, dtype="<f4").reshape(2, 9)
    data = rows[0].tobytes() + b"junk!" + rows[1].tobytes() + b"junk!"
    cloud = cloud_of(XYZ, data, 12, width=3, height=2, row_step=41)
    points, _ = read_xyz_intensity(cloud)
    assert points[:, 0].tolist() == [0, 3, 6, 9, 12, 15]


def test_padded_rows_of_a_single_point_are_read():
    values = np.array([[1, 2, 3, 4, 99], [5, 6, 7, 8, 99]], "<f4")
    fields = [*XYZ, ("intensity", 12, FLOAT32, 1)]
    points, _ = read_xyz_intensity(cloud_of(fields, values.tobytes(), 16, 1, 2, row_step=20))
    assert points.tolist() == values[:, :4].tolist()


def test_a_field_of_count_three_becomes_three_columns():
    data = np.array([1, 2, 3], "<i2").tobytes()
    points = read_points(cloud_of([("normal", 0, INT16, 3)], data, 6, 1))
    assert points.dtype.names == ("normal_0", "normal_1", "normal_2")
    assert points[0].tolist() == (1, 2, 3)


def test_points_with_nan_in_a_wanted_field_can_be_left_out():
    values = np.array([[1, 2, 3], [np.nan, 5, 6], [7, np.nan, 9]], "<f4")
    cloud = cloud_of(XYZ, values.tobytes(), 12, 3)
    assert read_points(cloud, ["x", "z"], skip_nans=True)["z"].tolist() == [3, 9]
    assert len(read_points(cloud)) == 3


def test_an_empty_cloud_gives_no_points_whatever_its_fields():
    for fields in ([], XYZ):
        points, _ = read_xyz_intensity(cloud_of(fields, b"", 12 if fields else 0, 0))
        assert points.shape == (0, 4)


def test_a_cloud_with_64_bit_integers_and_bools_is_read():
    # As PCL sends a uint64_t and a bool
    dtype = np.dtype([("xyz", "<f4", 3), ("stamp", "<u8"), ("valid", "u1")])
    rows = np.array([((1, 2, 3), 2**63 + 1, 1), ((4, 5, 6), 2**63 + 2, 0)], dtype)
    fields = [*XYZ, ("stamp", 12, UINT64, 1), ("valid", 20, BOOLEAN, 1)]
    points = read_points(cloud_of(fields, rows.tobytes(), 21, 2))
    assert points["stamp"].tolist() == [2**63 + 1, 2**63 + 2]
    assert points["valid"].tolist() == [1, 0]
    cloud = cloud_of([*XYZ, ("intensity", 12, INT64, 1)], rows["xyz"].tobytes() + bytes(16), 20, 2)
    assert read_xyz_intensity(cloud)[0].shape == (2, 4)


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"fields": XYZ[:2]}, "no field z", "no field z; its fields are x, y"),
        ({"fields": []}, "no field x", "no field x, y, z"),
        ({"fields": [*XYZ[:2], ("z", 9, FLOAT32, 1)]}, "field past point_step", "ends at byte 13"),
        ({"fields": [*XYZ, ("n", 0, UINT8, 2**32 - 1)]}, "field past point_step", "'n'"),
        ({"fields": [*XYZ[:2], ("z", 8, 12, 1)]}, "unknown datatype", "datatype 12"),
        ({"fields": [*XYZ[:2], ("z", 8, FLOAT32, 0)]}, "field of count 0", "count 0"),
        ({"fields": [*XYZ, XYZ[0]]}, "field stands twice", "x"),
        ({"point_step": 0}, "bad point_step", "point_step is 0"),
        ({"point_step": 2**32 - 1}, "bad point_step", "must be 1 to 65536"),
        # 4 points of 12 bytes need 48 bytes, the data has 24; 2**32 - 1 of them must be
        # refused without an attempt to allocate them.
        ({"width": 4}, "data too short", "need 48 bytes, the data has 24"),
        ({"width": 2**32 - 1, "height": 9, "row_step": 24}, "row_step too small", "row_step is 24"),
        ({"width": 2**32 - 1, "height": 1}, "data too short", "the data has 24"),
        ({"height": 2, "row_step": 12}, "row_step too small", "row_step is 12"),
        ({"height": 2, "row_step": 2**32 - 1}, "data too short", "has 24"),
    ],
)  # fmt: skip
def test_a_malformed_header_is_refused_with_its_reason(changes, reason, said):
    header = {"fields": XYZ, "point_step": 12, "width": 2, "height": 1, "row_step": 24} | changes
    cloud = cloud_of(data=bytes(24), **header)
    with pytest.raises(CloudError, match=said) as refused:
        read_xyz_intensity(cloud)
    assert refused.value.reason == reason


def test_only_fields_that_are_read_must_be_unique():
    values = np.arange(6, dtype="<f4")
    fields = [
        *XYZ,
        ("_", 12, FLOAT32, 1),
        ("", 16, UINT8, 2),
        ("", 18, UINT8, 1),
        ("_", 20, UINT8, 4),
    ]
    cloud = cloud_of(fields, values.tobytes(), 24, 1)
    assert read_xyz_intensity(cloud)[0].tolist() == [[0, 1, 2, 0]]
    assert read_points(cloud, ["z", "x"])[0].tolist() == (2, 0)
    assert select_points(message(cloud), np.ones(1, bool)).data.tobytes() == values.tobytes()
    # A column of its own: the other field of that name has one value a point
    assert read_points(cloud, ["__0"])["__0"].tolist() == [0]
    twice = cloud_of([*XYZ, ("_", 0, UINT8, 1), ("_", 1, UINT8, 1)], values.tobytes(), 24, 1)
    for wanted in (["_"], ["x", "_"], None):
        with pytest.raises(CloudError, match="more than once: _") as refused:
            read_points(twice, wanted)
        assert refused.value.reason == "field stands twice"


@st.composite
def layouts(draw, last=BOOLEAN):
    """A structured array of random content and how it is to lie in a message."""
    datatypes = draw(st.lists(st.integers(INT8, last), min_size=1, max_size=6))
    order = ">" if draw(st.booleans()) else "<"
    names, formats, offsets, end = [], [], [], 0
    for place, datatype in enumerate(datatypes):
        end += draw(st.integers(0, 3))
        names.append(f"f{place}")
        formats.append(order + NUMPY[datatype])
        offsets.append(end)
        end += np.dtype(NUMPY[datatype]).itemsize
    step = end + draw(st.integers(0, 5))
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": step})
    height, width = draw(st.integers(1, 3)), draw(st.integers(0, 4))
    row_step = width * step + (draw(st.integers(0, 7)) if height > 1 else 0)
    data = draw(st.binary(min_size=height * row_step, max_size=height * row_step))
    fields = list(zip(names, offsets, datatypes, [1] * len(names), strict=True))
    cloud = cloud_of(fields, data, step, width, height, row_step, order == ">")
    rows = [data[row * row_step : row * row_step + width * step] for row in range(height)]
    return cloud, np.frombuffer(b"".join(rows), dtype)


@settings(max_examples=200)
@given(layouts())
def test_any_layout_reads_as_it_was_written(layout):
    cloud, expected = layout
    points = read_points(cloud)
    for name in expected.dtype.names:
        # By bytes, because NaN is a value here like any other.
        assert points[name].tobytes() == expected[name].tobytes()


@settings(max_examples=100)
@given(layouts(last=FLOAT64))
def test_a_created_message_reads_back(layout):
    _, points = layout
    native = points.astype(points.dtype.newbyteorder("="))
    back = read_points(create_cloud(HEADER, native, PointCloud2, PointField))
    for name in native.dtype.names:
        assert back[name].tobytes() == native[name].tobytes()


def test_a_created_message_states_its_layout():
    points = np.zeros((2, 3), SEGMENTATION_POINT)
    message = create_cloud(HEADER, points, PointCloud2, PointField)
    assert (message.height, message.width, message.point_step, message.row_step) == (2, 3, 24, 72)
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        ("x", 0, FLOAT32, 1),
        ("y", 4, FLOAT32, 1),
        ("z", 8, FLOAT32, 1),
        ("class_id", 12, UINT8, 1),
        ("probability", 16, FLOAT32, 1),
        ("entropy", 20, FLOAT32, 1),
    ]
    assert message.header is HEADER
    assert len(message.data) == 144


def test_a_field_that_no_message_can_carry_is_refused():
    with pytest.raises(CloudError, match="int64"):
        create_cloud(HEADER, np.zeros(1, [("id", "i8")]), PointCloud2, PointField)


def test_colours_are_packed_as_rviz_reads_them():
    colors = np.zeros((256, 3), np.uint8)
    colors[5] = (0x12, 0x34, 0x56)
    points = visualization_points(
        np.ones((2, 4), np.float32), np.array([5, 0], np.uint8), packed_color_table(colors)
    )
    assert points.dtype == VISUALIZATION_POINT
    assert points["rgb"].view(np.uint32).tolist() == [0x00123456, 0]


def test_labelled_points_have_autowares_layout():
    points = segmentation_points(
        np.array([[1, 2, 3, 9]], np.float32),
        np.array([7], np.uint8),
        np.array([0.5], np.float32),
        np.array([0.25], np.float32),
    )
    expected = np.array([1, 2, 3], "<f4").tobytes() + bytes([7, 0, 0, 0])
    assert points.tobytes() == expected + np.array([0.5, 0.25], "<f4").tobytes()


def test_rclpy_messages_carry_the_same_bytes():
    messages = pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2's sensor_msgs")
    from std_msgs.msg import Header

    points = np.arange(24, dtype=np.uint8).view(SEGMENTATION_POINT)
    message = create_cloud(Header(), points, messages.PointCloud2, messages.PointField)
    assert message.data.tobytes() == points.tobytes()
    assert read_points(message).tobytes() == points.tobytes()


@settings(max_examples=50)
@given(layouts())
def test_reading_agrees_with_sensor_msgs_py(layout):
    reference = pytest.importorskip(
        "sensor_msgs_py.point_cloud2", reason="sensor_msgs_py comes with a ROS installation"
    )
    from sensor_msgs.msg import PointCloud2 as RosCloud
    from sensor_msgs.msg import PointField as RosField
    from std_msgs.msg import Header

    _, points = layout
    native = points.astype(points.dtype.newbyteorder("="))
    message = create_cloud(Header(), native, RosCloud, RosField)
    for wanted in (None, list(native.dtype.names[::-1])):
        for skip_nans in (False, True):
            ours = read_points(message, wanted, skip_nans)
            theirs = reference.read_points(message, wanted, skip_nans)
            assert ours.dtype == theirs.dtype
            for name in theirs.dtype.names:
                assert ours[name].tobytes() == theirs[name].tobytes()
    theirs = reference.create_cloud(Header(), message.fields, native, point_step=native.itemsize)
    assert message == theirs


def test_some_points_keep_their_bytes_padding_included():
    # Two rows of two points of 5 bytes, a byte between the rows
    data = bytes(range(5)) + bytes(range(10, 15)) + b"-" + bytes(range(20, 25)) + bytes(5)
    cloud = cloud_of([("x", 0, FLOAT32, 1)], data, 5, 2, height=2, row_step=11)
    chosen = select_points(message(cloud), np.array([False, True, True, False]))
    assert bytes(chosen.data) == bytes(range(10, 15)) + bytes(range(20, 25))
    assert (chosen.height, chosen.width, chosen.point_step, chosen.row_step) == (1, 2, 5, 10)
    assert [field.name for field in chosen.fields] == ["x"]
    assert select_points(message(cloud), np.zeros(4, bool)).width == 0


def test_further_fields_stand_behind_the_clouds_own():
    # Two rows of two points of 5 bytes, a byte between the rows; f is of two values
    data = b"abcdE" + b"fghiJ" + b"-" + b"klmnO" + b"pqrsT"
    cloud = cloud_of([("f", 0, INT16, 2)], data, 5, 2, height=2, row_step=11, big_endian=True)
    columns = {"id": np.array([1, 2, 3, 255], np.uint8), "p": np.array([0.5, 1, -2, 0], np.float32)}
    made = append_columns(message(cloud), columns, PointField)
    assert [(f.name, f.offset, f.datatype, f.count) for f in made.fields] == [
        ("f", 0, INT16, 2), ("id", 5, UINT8, 1), ("p", 8, FLOAT32, 1)
    ]  # fmt: skip
    # The sign and exponent of a float32 come first: 0.5 is 0x3f000000
    assert bytes(made.data) == (
        b"abcdE\x01\0\0\x3f\0\0\0" + b"fghiJ\x02\0\0\x3f\x80\0\0"
        b"klmnO\x03\0\0\xc0\0\0\0" + b"pqrsT\xff\0\0\0\0\0\0"
    )  # fmt: skip
    shape = made.height, made.width, made.point_step, made.row_step
    assert (*shape, made.is_bigendian, made.is_dense) == (2, 2, 12, 24, True, True)
    assert made.header is HEADER


@settings(max_examples=200)
@given(layouts(), st.integers(0, 255), st.sampled_from(["f0", "class_id"]))
def test_with_further_fields_any_layout_keeps_its_bytes(layout, first, name):
    cloud, points = layout
    columns = {
        name: (np.arange(len(points)) + first).astype(np.uint8),
        "probability": np.linspace(0, 1, len(points), dtype=np.float32),
    }
    made = append_columns(message(cloud), columns, PointField)
    assert (made.height, made.width) == (cloud.height, cloud.width)
    octets = np.array(made.data).reshape(len(points), made.point_step)[:, : cloud.point_step]
    assert octets.tobytes() == points.tobytes()
    found = read_points(made)
    # A field of the same name, f0, is the new one
    assert found.dtype.names == (*(n for n in points.dtype.names if n != name), *columns)
    for column, values in columns.items():
        assert found[column].astype(values.dtype).tobytes() == values.tobytes()


def test_an_empty_cloud_gets_further_fields_whatever_its_header_says():
    messages = pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2's sensor_msgs")
    largest = 2**32 - 1
    columns = {"class_id": np.empty(0, np.uint8), "probability": np.empty(0, np.float32)}
    for size in ({}, {"width": largest, "point_step": largest, "row_step": largest}):
        cloud = messages.PointCloud2(**size)
        made = append_columns(cloud, columns, messages.PointField)
        assert [field.name for field in made.fields] == ["class_id", "probability"]
        assert (made.width, made.row_step, len(made.data)) == (cloud.width, 0, 0)


def test_of_an_empty_cloud_nothing_can_be_chosen():
    chosen = select_points(message(cloud_of([], b"", 0, 0)), np.zeros(0, bool))
    assert (chosen.width, len(chosen.data)) == (0, 0)


def message(cloud):
    """The same as a rosbags message."""
    fields = [PointField(f.name, f.offset, f.datatype, f.count) for f in cloud.fields]
    return PointCloud2(**{**vars(cloud), "fields": fields})
