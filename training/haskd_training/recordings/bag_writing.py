"""Bags that are written: new ones, and a recording's topics in them as they were recorded."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from haskd_ros.errors import InputError
from haskd_ros.files import remove_leftover, written_atomically
from haskd_training.recordings.readers.bag import Bag

TYPES = get_typestore(Stores.ROS2_HUMBLE)
"""Of the messages that are written."""

_FOREVER = QosTime(2147483647, 4294967295)
LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
    _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False,
)  # fmt: skip
"""Offered by the publisher of a topic whose last message every late subscriber gets."""

MESSAGES_BEHIND = 16
"""That may wait to be written: compressing them takes as long as what makes them."""

_BAG_VERSION: Literal[9] = 9

_NO_HASH = "RIHS01_" + 64 * "0"


@contextmanager
def new_bag(out: Path) -> Iterator[Path]:
    """A place beside `out` that becomes it on success and goes on failure, see `files`.

    Yields:
        The folder to make; it has the name of `out`, because the names of files in a bag have it.

    Raises:
        InputError: `out` exists, its parent doesn't, another process writes it, or writing failed
            (disk full, no permission).
    """
    remove_leftover(out)
    _check_new(out)
    try:
        with written_atomically(out) as folder:
            try:
                yield folder
            except sqlite3.Error as error:
                raise _as_os_error(error) from error
            _check_new(out)
    except OSError as error:
        raise InputError(f"{out} can't be written: {error.strerror or error}") from error


def _check_new(out: Path) -> None:
    if out.exists():
        raise InputError(f"{out} exists already; nothing is overwritten")
    if not out.parent.is_dir():
        raise InputError(f"{out} can't be written: there is no folder {out.parent}")


def _as_os_error(error: sqlite3.Error) -> OSError:
    full = "disk is full" in str(error)
    return OSError(errno.ENOSPC if full else errno.EIO, str(error))


def bag_writer(folder: Path, storage: StoragePlugin = StoragePlugin.MCAP) -> Writer:
    """A rosbag2 to be opened and written.

    Args:
        folder: must not exist.
    """
    writer = Writer(folder, version=_BAG_VERSION, storage_plugin=storage)
    if storage == StoragePlugin.MCAP:
        # MCAP compresses in its own chunks, which every reader decompresses by default.
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    return writer


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
