"""Clouds that point_cloud_transport packed, as `ros2 bag record` keeps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rosbags.typesys import get_types_from_msg
from rosbags.typesys.store import Typestore

from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_training.recordings.readers.inflate import DAMAGE, inflate_zlib, inflate_zstd

PACKED_CLOUD = "point_cloud_interfaces/msg/CompressedPointCloud2"

_DEFINITION = """
std_msgs/Header header
uint32 height
uint32 width
sensor_msgs/PointField[] fields
bool is_bigendian
uint32 point_step
uint32 row_step
uint8[] compressed_data
bool is_dense
string format
"""

_UNPACK: dict[str, Callable[[bytes, int], bytes]] = {"zstd": inflate_zstd, "zlib": inflate_zlib}
"""By the transport's name, of data and how many bytes they are unpacked at most."""


def add_packed_cloud(store: Typestore) -> None:
    """Add the message type to those that a store knows."""
    store.register(get_types_from_msg(_DEFINITION, PACKED_CLOUD))


def is_twin(topic: str, plain: set[str]) -> bool:
    """Whether the clouds of a packed topic are those of a plain one, by point_cloud_transport's
    names: `/points/zstd` is `/points`."""
    return topic.rpartition("/")[0] in plain


def unpacked(packed: Any, topic: str, cloud_type: Callable[..., Any]) -> Any:
    """The PointCloud2 of a packed one; without data, and so malformed, where that is damaged.

    Raises:
        InputError: it is packed in a way that is not read.
    """
    unpack = _UNPACK.get(packed.format)
    if unpack is None:
        raise InputError(
            f"{topic}: clouds packed by {quoted(packed.format)} are not read, only those by "
            f"{' and '.join(_UNPACK)}; play the recording, unpack them by `ros2 run "
            "point_cloud_transport republish`, and record what comes out"
        )
    try:
        data = unpack(packed.compressed_data.tobytes(), packed.row_step * packed.height)
    except DAMAGE:
        data = b""
    return cloud_type(
        packed.header, packed.height, packed.width, packed.fields, packed.is_bigendian,
        packed.point_step, packed.row_step, np.frombuffer(data, np.uint8), packed.is_dense,
    )  # fmt: skip
