"""Channels of points, under the names and in the types that senders use."""

from __future__ import annotations

import numpy as np
import pytest
import yard

from haskd_ros.channels import CHANNELS
from haskd_ros.clouds.channels import read_channels


def cloud(columns: dict[str, np.ndarray], order: str = "<"):
    names = [(name, order + values.dtype.str[1:]) for name, values in columns.items()]
    rows = np.zeros(len(next(iter(columns.values()))), [*yard.POINT[:3], *names])
    for name, values in columns.items():
        rows[name] = values
    return yard.cloud(0, rows)


def read(message, name):
    return read_channels(message, [name])[name]


COLOURS = np.array([[200, 40, 30], [0, 0, 0], [255, 255, 255], [1, 2, 3]])
PACKED = np.array([0x00C8281E, 0, 0x00FFFFFF, 0x00010203], np.uint32)


@pytest.mark.parametrize("name", ["rgb", "rgba"])
@pytest.mark.parametrize("alpha", [0, 0xFF000000])
@pytest.mark.parametrize("dtype", [np.float32, np.uint32])
def test_packed_colours_are_bits_whatever_the_field_calls_itself(name, alpha, dtype):
    # With an alpha of 255 the bits are no number as a float
    found = read(cloud({name: (PACKED | np.uint32(alpha)).view(dtype)}), "rgb")
    assert found.dtype == np.float32 and found.tolist() == COLOURS.tolist()


def test_packed_colours_of_a_big_endian_cloud():
    message = cloud({"rgb": PACKED})
    swapped = np.frombuffer(bytes(message.data), np.uint32).byteswap()
    message.data, message.is_bigendian = swapped.view(np.uint8), True
    assert read(message, "rgb").tolist() == COLOURS.tolist()


@pytest.mark.parametrize("names", ["rgb", ("red", "green", "blue")])
@pytest.mark.parametrize(
    ("dtype", "factor"),
    [("u1", 1), ("u2", 257), ("f4", 1), ("f4", 1 / 255), ("f8", 1 / 255)],
)
def test_colours_in_fields_of_their_own(names, dtype, factor):
    columns = {name: (COLOURS[:, place] * factor).astype(dtype) for place, name in enumerate(names)}
    np.testing.assert_allclose(read(cloud(columns), "rgb"), COLOURS, atol=1e-3)


def test_normals_reflectivity_and_echoes():
    up = np.array([0, 1, 0.5], np.float32)
    for names in (("normal_x", "normal_y", "normal_z"), ("nx", "ny", "nz")):
        message = cloud(dict(zip(names, (up, up / 2, -up))))
        assert read(message, "normal").tolist() == [[0, 0, 0], [1, 0.5, -1], [0.5, 0.25, -0.5]]
    message = cloud({"reflectivity": np.array([0, 77, 65000], np.uint16)})
    assert read(message, "reflectivity").tolist() == [[0], [77], [65000]]
    assert read(cloud({"return_number": np.array([1, 2], np.uint8)}), "echo").tolist() == [[1], [2]]


def test_what_is_not_there_or_can_not_be_meant_is_none():
    message = cloud({"intensity": np.ones(2, np.float32)})
    assert read_channels(message, list(CHANNELS)) == dict.fromkeys(CHANNELS)
    # Two of three, and a colour of three bytes in one field
    assert read(cloud({"r": np.ones(2, np.uint8), "g": np.ones(2, np.uint8)}), "rgb") is None
    message = cloud({"rgb": PACKED[:2]})
    message.fields[3].datatype, message.fields[3].count = 2, 3
    assert read(message, "rgb") is None
    # 64 bits hold no packed colour: there, and unreadable
    assert np.isnan(read(cloud({"rgb": np.ones(2)}), "rgb")).all()


def test_a_cloud_without_points():
    assert read(cloud({"rgb": PACKED[:0]}), "rgb").shape == (0, 3)


def test_whole_numbers_are_stored_as_the_nearest_there_is():
    values = np.array([[-3, 0.2, 300], [np.nan, np.inf, 254.9]], np.float32)
    assert CHANNELS["rgb"].stored(values).tolist() == [[0, 0, 255], [0, 255, 254]]
