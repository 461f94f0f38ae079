"""A recording's topics in another bag, as they were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinitionFormat
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

from haskd_ros.errors import InputError
from haskd_training.recordings.readers.bag import Bag

TYPES = get_typestore(Stores.ROS2_HUMBLE)
"""Of the messages that are written."""

_NO_HASH = "RIHS01_" + 64 * "0"


def check_is_ros2(recording: Bag) -> None:
    """
    Raises:
        InputError: the messages of a ROS 1 bag can't be taken over as they are.
    """
    if recording.is_ros1:
        raise InputError(
            f"{recording.path} is a ROS 1 bag; `rosbags-convert --src {recording.path} --dst "
            f"{recording.path.stem}` makes a ROS 2 bag of it"
        )


def add_copies(writer: Writer, connections: Sequence[Connection]) -> dict[int, Connection]:
    """The topics of a recording in another bag, by their id in the recording; publishers of one
    topic that differ in nothing become one."""
    added: dict[str, Connection] = {}
    copies = {}
    for connection in connections:
        key = repr((connection.topic, connection.msgtype, connection.ext))
        if key not in added:
            added[key] = writer.add_connection(**_description(connection))
        copies[connection.id] = added[key]
    return copies


def _description(connection: Connection) -> dict[str, Any]:
    """How a topic is added to another bag: as it was, with the definition that the bag has of its
    type, or with that of Humble where it has none."""
    extension = connection.ext
    if not isinstance(extension, ConnectionExtRosbag2):
        raise TypeError(f"{connection.topic} is a topic of a ROS 1 bag")
    described = {
        "topic": connection.topic,
        "msgtype": connection.msgtype,
        "serialization_format": extension.serialization_format,
        "offered_qos_profiles": extension.offered_qos_profiles,
    }
    if connection.msgdef.format == MessageDefinitionFormat.NONE:
        if connection.msgtype in TYPES.types:
            return described | {"typestore": TYPES}
        return described | {"msgdef": "", "rihs01": _NO_HASH}
    return described | {
        "msgdef": connection.msgdef.data, "rihs01": connection.digest or _NO_HASH,
    }  # fmt: skip
