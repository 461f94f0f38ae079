"""Which raw value of a sensor's intensity stands for a full return."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_ros.clouds.intensity import IntensityUnit


def unit_of(*clouds, fixed=0.0):
    unit = IntensityUnit(fixed)
    for values in clouds:
        unit.add(values)
    return unit


def codes(unit):
    return [note.code for note in unit.notes()]


@pytest.mark.parametrize(("dtype", "full"), [("u1", 255), ("i1", 127)])
@pytest.mark.parametrize("largest", [0, 1, 100])
def test_a_field_of_8_bits_has_its_type_for_a_unit(dtype, full, largest):
    unit = unit_of(np.array([0, 0, largest], dtype))
    assert unit.is_known
    assert unit.full_scale == full


@pytest.mark.parametrize(
    ("dtype", "largest", "full"),
    [
        ("u2", 300, 65535), ("u2", 60_000, 65535), (">u2", 300, 65535), ("i2", 300, 32767),
        # A calibrated reflectivity in a wider field
        ("u2", 1, 255), ("u2", 255, 255), ("i2", 255, 255),
        # No sensor fills 32 bits
        ("u4", 255, 255), ("u4", 256, 65535), ("i4", 40_000, 65535),
    ],
)  # fmt: skip
def test_a_wider_integer_field_has_the_least_unit_that_holds_its_values(dtype, largest, full):
    assert unit_of(np.array([0, 1, largest], dtype)).full_scale == full


@pytest.mark.parametrize(
    ("largest", "full"),
    [(0.004, 1), (1.0, 1), (1.5, 255), (255.0, 255), (256.0, 65535), (65535.0, 65535)],
)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_float_field_has_the_least_unit_that_holds_its_values(largest, full, dtype):
    assert unit_of(np.linspace(0, largest, 50, dtype=dtype)).full_scale == full


@pytest.mark.parametrize("nothing", [np.zeros(500, "f4"), np.full(500, np.nan, "f4"), np.empty(0)])
def test_clouds_of_zeros_or_nan_or_no_points_tell_nothing(nothing):
    unit = unit_of(nothing, nothing)
    assert not unit.is_known
    unit.add(np.linspace(0, 200, 500, dtype="f4"))
    assert unit.full_scale == 255


def test_a_dark_start_of_uint8_does_not_change_its_unit():
    unit = unit_of(np.zeros(300, "u1"))
    assert unit.full_scale == 255
    assert unit_of(np.zeros(300, "u1"), np.array([7, 250], "u1")).full_scale == 255


def test_a_single_outlier_does_not_change_the_unit():
    values = np.linspace(0, 1, 2001, dtype="f4")  # 2000 positive ones, of which 2 may exceed it
    values[5:7] = 4000
    assert unit_of(values).full_scale == 1
    values[5:8] = 4000
    assert unit_of(values).full_scale == 65535


def test_of_few_values_each_one_counts():
    assert unit_of(np.array([0.5, 200.0], "f4")).full_scale == 255


@given(st.permutations([0.3, 0.9, 40.0, 180.0, 3000.0]))
def test_the_unit_is_the_same_in_any_order_of_the_clouds(largest):
    clouds = [np.linspace(0, top, 1000, dtype="f4") for top in largest]
    assert unit_of(*clouds).full_scale == 65535


def test_it_says_whether_a_clouds_intensity_was_measured():
    unit = IntensityUnit()
    assert unit.add(np.array([np.nan, 2.0]))
    assert unit.add(np.array([0, 0, 1], "u1"))
    assert not unit.add(np.zeros(3, "u1"))
    assert not unit.add(np.array([np.nan, 0.0, np.inf]))
    assert not unit.add(np.full(3, np.nan))
    assert not unit.add(None)
    assert not unit.add(np.empty(0))


@pytest.mark.parametrize(("rest", "code"), [(np.nan, "intensity-nan"), (0, "intensity-zero")])
def test_one_number_among_many_that_are_none_is_an_intensity(rest, code):
    # More values than are sampled, and this one is not
    values = np.full(100_000, rest, "f4")
    assert codes(unit_of(values)) == [code]
    values[7] = 3
    unit = IntensityUnit()
    assert unit.add(values)
    assert codes(unit) == []


def test_a_fixed_unit_stays_and_values_beyond_it_are_said():
    unit = unit_of(np.linspace(0, 255, 1000, dtype="f4"), fixed=100.0)
    assert unit.full_scale == 100
    (note,) = unit.notes()
    assert note.code == "intensity-exceeds-unit"
    # 155 of 255 equal parts are above 100: 61 %
    assert note.message == (
        "intensity goes up to 255, 61 % of the points exceed 100, which is taken for a full return"
    )


def test_values_beyond_every_unit_are_said():
    unit = unit_of(np.linspace(0, 1e6, 1000, dtype="f4"))
    assert unit.full_scale == 65535
    assert codes(unit) == ["intensity-exceeds-unit"]


def test_what_is_missing_is_said_with_its_numbers():
    nan = np.full(3, np.nan)
    unit = unit_of(None, nan, nan, np.zeros(3), np.array([0.2, 0.9]), np.empty(0))
    assert [note.message for note in unit.notes()] == [
        "1 of 5 clouds have no intensity field",
        "intensity is NaN throughout 2 of 5 clouds: they are read as if they had none",
        "intensity is 0 throughout 1 of 5 clouds: they are read as if they had none",
    ]
    assert unit_of(None).notes()[0].message == "the clouds have no intensity field"
    # A sensor that warms up is no reason to worry, one that never sees anything is.
    assert not unit.notes()[2].is_warning
    assert unit_of(np.zeros(9)).notes()[0].is_warning


def test_negative_intensities_are_said():
    assert codes(unit_of(np.array([-30.0, -12.0, 0.5, 0.5]))) == ["intensity-negative"]
    assert "50 %" in unit_of(np.array([-30.0, -12.0, 0.5, 0.5])).notes()[0].message


def test_values_far_below_the_unit_are_said():
    assert codes(unit_of(np.array([0, 0.9], "f4"), fixed=255.0)) == ["intensity-small"]
    assert codes(unit_of(np.array([0, 1.1], "f4"), fixed=255.0)) == []


def test_nothing_is_said_of_a_sound_sensor():
    assert codes(unit_of(np.array([0, 90, 200], "u1"))) == []
    assert codes(unit_of(np.linspace(0, 0.8, 200, dtype="f4"))) == []
