"""What can harm a node: messages whose bytes lie, headers that make no sense, model files whose
header was tampered with. Shared by tests and benchmarks."""

from __future__ import annotations

import array
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hostile_clouds import hostile_cloud
from rclpy.serialization import serialize_message
from robot import cloud_of, some_points
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

STAMPS = ((-1, 0), (-(2**31), 2**32 - 1), (2**31 - 1, 2**32 - 1), (0, 0), (5, 10**9), (1, 5))
FRAMES = ("", "/", "[", "a b", "ünï", "\x1b[2J", "{frame}", "x" * 100_000, "lidar")


def hostile_messages(seed: int) -> Iterator[bytes]:
    """Serialised PointCloud2 without end: sound ones with absurd headers, hostile layouts, and
    bytes that are no message at all."""
    random = np.random.default_rng(seed)
    sound = serialize_message(cloud_of(some_points(40)))
    while True:
        if random.random() < 0.5:
            cloud = message_of(hostile_cloud(random))
            sec, nanosec = STAMPS[random.integers(len(STAMPS))]
            cloud.header.stamp.sec, cloud.header.stamp.nanosec = sec, nanosec
            cloud.header.frame_id = FRAMES[random.integers(len(FRAMES))]
            yield serialize_message(cloud)
        else:
            yield damaged(sound, random)


def message_of(cloud: SimpleNamespace) -> PointCloud2:
    """A message for rclpy."""
    message = PointCloud2(
        header=Header(frame_id=cloud.header.frame_id),
        height=cloud.height,
        width=cloud.width,
        fields=[PointField(**vars(field)) for field in cloud.fields],
        is_bigendian=cloud.is_bigendian,
        point_step=cloud.point_step,
        row_step=cloud.row_step,
        is_dense=cloud.is_dense,
    )
    message.data = array.array("B", bytes(cloud.data))
    return message


def damaged(message: bytes, random: np.random.Generator) -> bytes:
    """A serialised message cut off, with other bytes, or with lengths that lie."""
    octets = bytearray(message)
    kind = random.integers(4)
    if kind == 0:
        return bytes(octets[: random.integers(4, len(octets))])
    if kind == 1:
        for _ in range(random.integers(1, 5)):
            octets[random.integers(len(octets))] = random.integers(256)
    else:
        # Lengths and counts are words of 4 bytes, most of them in the header.
        start = 4 * int(random.integers(1, 50))
        lengths = (0, 1, 100, 65536, 2**31 - 1, 2**32 - 1)
        octets[start : start + 4] = lengths[random.integers(6)].to_bytes(4, "little")
    return bytes(octets)


def tampered_model(model: Path, random: np.random.Generator) -> bytes:
    """A model file of which one value in the header was replaced by something that makes no
    sense there."""
    content = model.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    metadata = header["__metadata__"]
    key = str(random.choice(sorted(metadata)))
    try:
        document = json.loads(metadata[key])
    except ValueError:
        document = metadata[key]
    metadata[key] = json.dumps(_with_nonsense(document, random))
    changed = json.dumps(header).encode()
    changed += b" " * (-len(changed) % 8)
    return len(changed).to_bytes(8, "little") + changed + content[8 + size :]


def _with_nonsense(value: Any, random: np.random.Generator) -> Any:
    """The same document with one of its values replaced."""
    if isinstance(value, (dict, list)) and value and random.random() < 0.9:
        changed = value.copy()
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[random.integers(len(keys))]
        changed[key] = _with_nonsense(value[key], random)
        return changed
    nonsense = ([], {}, "text", "\ud800", "\x1b[2J\n", -1, 0, 1e308, None, True, [[1]], {"a": "b"})
    return nonsense[random.integers(len(nonsense))]
