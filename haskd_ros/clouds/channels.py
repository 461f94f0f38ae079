"""The channels of a PointCloud2's points, under the names that PCL, sensor_msgs_py's users and
drivers give their fields."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from haskd_ros.channels import CHANNELS, ChannelName
from haskd_ros.clouds.point_layout import fields_of
from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.text import listed


def _side_by_side(columns: Sequence[np.ndarray]) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.stack([values.astype(np.float32) for values in columns], axis=1)


def _unpacked(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Colours of 32 bits, 0xAARRGGBB, whatever type the field calls itself."""
    (values,) = columns
    if values.dtype.itemsize != 4:
        return np.full((len(values), 3), np.nan, np.float32)
    native = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
    packed = native.view(np.uint32)
    colours = np.stack([packed >> shift & 0xFF for shift in (16, 8, 0)], axis=1)
    return colours.astype(np.float32)


def _colours(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Red, green and blue 0..255 from fields of their own: 8 or 16 bits, or floats 0..1 or
    0..255."""
    values = _side_by_side(columns)
    kinds = {each.dtype.str[1:] for each in columns}
    if kinds & {"u2", "i2"}:
        values *= 255 / 65535
    # A dark cloud of 0..255 that stays below 1 is black either way.
    elif kinds <= {"f4", "f8"} and not (values > 1).any():
        values *= 255
    return values


class _Fields(NamedTuple):
    """Fields that hold a channel, and how their columns [N] become its values [N, D]."""

    names: tuple[str, ...]
    values: Callable[[Sequence[np.ndarray]], np.ndarray]


_FIELDS: Mapping[ChannelName, tuple[_Fields, ...]] = {
    "rgb": (
        _Fields(("rgb",), _unpacked),
        _Fields(("rgba",), _unpacked),
        _Fields(("r", "g", "b"), _colours),
        _Fields(("red", "green", "blue"), _colours),
    ),
    "normal": (
        _Fields(("normal_x", "normal_y", "normal_z"), _side_by_side),
        _Fields(("nx", "ny", "nz"), _side_by_side),
    ),
    "reflectivity": (_Fields(("reflectivity",), _side_by_side),),
    "echo": (_Fields(("echo",), _side_by_side), _Fields(("return_number",), _side_by_side)),
}
"""By channel, in order of preference; those that no cloud has are not among them."""


def channel_fields(name: ChannelName, present: Collection[str]) -> tuple[str, ...]:
    """Which of the fields that are there hold a channel; none where it isn't there."""
    found = _found(name, present)
    return () if found is None else found.names


def wanted_fields(name: ChannelName) -> str:
    """The fields that a channel may be read from, in words."""
    if name not in _FIELDS:
        return "none has them: they are made where sweeps are stacked"
    return listed([" ".join(fields.names) for fields in _FIELDS[name]])


def missing_channel(name: ChannelName) -> str:
    """What to say where clouds don't have a channel that a model reads."""
    return f"no {name} in the clouds (fields {wanted_fields(name)}): the training's mean stands in"


def read_channels(cloud: Any, names: Sequence[ChannelName]) -> dict[ChannelName, np.ndarray | None]:
    """Channels of every point of a cloud.

    Args:
        cloud: a PointCloud2.

    Returns:
        by name [N, D] float32 in the channel's own unit (rgb: 0..255), in the cloud's order; NaN
        where a value can't be read. None: the cloud has no fields of it.

    Raises:
        CloudError: as `read_points`.
    """
    return {name: _read(cloud, name) for name in names}


def _read(cloud: Any, name: ChannelName) -> np.ndarray | None:
    # A field of several values is none of these, whatever it calls itself.
    found = _found(name, {field.name for field in fields_of(cloud) if field.count <= 1})
    if found is None:
        return None
    if not cloud.width * cloud.height:
        return np.empty((0, CHANNELS[name].width), np.float32)
    rows = read_points(cloud, found.names)
    return found.values([rows[each] for each in found.names])


def _found(name: ChannelName, present: Collection[str]) -> _Fields | None:
    return next((each for each in _FIELDS.get(name, ()) if set(each.names) <= set(present)), None)
