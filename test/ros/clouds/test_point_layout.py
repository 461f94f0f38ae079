"""What a cloud's header says costs no more than a look at it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hostile_clouds import SIZES, with_fields
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_ros.clouds.point_layout import MAX_COLUMNS, MAX_FIELDS, point_dtype
from haskd_ros.clouds.pointcloud import CloudError, read_points, read_xyz_intensity

XYZ = [("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1)]


def peak_of(function, *arguments) -> int:
    """Bytes that a call held at most; a refusal is a result."""
    tracemalloc.start()
    try:
        function(*arguments)
    except CloudError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


@st.composite
def overlapping_fields(draw):
    """Up to 60 fields of any count that fit into 65536 bytes, and x, y, z among them."""
    fields = []
    for number in range(draw(st.integers(0, 60))):
        datatype = draw(st.sampled_from(sorted(SIZES)))
        largest = 65536 // SIZES[datatype]
        count = draw(st.one_of(st.integers(2, largest), st.just(largest)))
        offset = draw(st.integers(0, 65536 - count * SIZES[datatype]))
        fields.append((f"n{number}", offset, datatype, count))
    for place, field in enumerate(XYZ):
        fields.insert(draw(st.integers(place, len(fields))), field)
    return fields


@settings(max_examples=30)
@given(overlapping_fields())
def test_fields_that_are_not_wanted_cost_nothing(fields):
    cloud = with_fields(fields, 65536)
    cloud.data[:12] = np.array([1, 2, 3], "<f4").view(np.uint8)
    # A dtype of the 65536 values of one field alone would be of megabytes.
    assert peak_of(read_xyz_intensity, cloud) < 200_000
    assert read_xyz_intensity(cloud)[0].tolist() == [[1, 2, 3, 0]]
    cloud.fields = [field for field in cloud.fields if field.name != "z"]
    assert peak_of(read_xyz_intensity, cloud) < 200_000


@settings(max_examples=30)
@given(overlapping_fields(), st.data())
def test_single_values_of_a_field_are_read_where_they_lie(fields, data):
    name, offset, datatype, count = data.draw(st.sampled_from(fields))
    number = data.draw(st.integers(0, count - 1))
    column = name if count == 1 else f"{name}_{number}"
    dtype = point_dtype(with_fields(fields, 65536), [column])
    assert dtype.names == (column,) and dtype.itemsize == 65536
    assert dtype.fields[column][1] == offset + number * SIZES[datatype]


@pytest.mark.parametrize("absent", ["n_3", "n_03", "n_-1", "n_", "n", "n_1_0", "_0", "n_99999999"])
def test_values_that_a_field_does_not_have_are_not_found(absent):
    with pytest.raises(CloudError, match="no field"):
        read_points(with_fields([("n", 0, 2, 3)], 16), [absent])


def test_a_field_is_a_column_under_its_own_name_too():
    # n_1 twice: the second value of n, and a field of that name
    cloud = with_fields([("n", 0, 2, 3), ("n_1", 8, 2, 1)], 16)
    assert read_points(cloud, ["n_2"]).dtype.fields["n_2"][1] == 2
    with pytest.raises(CloudError, match="more than once: n_1"):
        read_points(cloud, ["n_1"])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([*XYZ, *[("f", 0, 2, 1)] * MAX_FIELDS], "too many fields"),
        ([("x", 0, 2, MAX_COLUMNS), ("y", 0, 2, 1)], "too many columns"),
    ],
)
def test_more_than_can_be_looked_at_is_refused(fields, reason):
    with pytest.raises(CloudError) as refused:
        read_points(with_fields(fields, 65536))
    assert refused.value.reason == reason


@pytest.mark.parametrize("fields", [[("\x1b\n" * 100_000, 0, 7, 1)], [("a\n", 0, 12, 1)], XYZ[:2]])
def test_a_refusal_is_one_short_line_whatever_the_names(fields):
    with pytest.raises(CloudError) as refused:
        read_xyz_intensity(with_fields(fields, 16))
    text = str(refused.value)
    assert len(text) < 2000 and text.isprintable()
    assert refused.value.reason in ("no field x", "no field z", "unknown datatype")
