"""Recorded bags, read in time order without ROS: rosbag2 (sqlite3, MCAP) and ROS 1 `.bag`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from haskd_ros.clouds.crop import frame_name
from haskd_ros.errors import InputError
from haskd_ros.text import QUOTED_CHARACTERS, shown
from haskd_training.recordings.cloud_files.folder import CloudFolder
from haskd_training.recordings.cloud_files.formats import is_cloud_folder
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.cloud_folder import CloudFolderReader
from haskd_training.recordings.readers.container import (
    lacks_its_log,
    logs_beside,
    opened_container,
    storage_suffix,
)
from haskd_training.recordings.readers.mcap import FOREIGN_SCHEMAS, Reader2
from haskd_training.recordings.readers.node_outputs import input_clouds
from haskd_training.recordings.readers.packed_cloud import (
    PACKED_CLOUD,
    add_packed_cloud,
    is_twin,
    unpacked,
)
from haskd_training.recordings.reading import TooLarge, reading

POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TF_MESSAGES = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")


class Unusable(Exception):
    """A message that can't be used; `str()` is a reason to be counted, so it holds no numbers."""


_Reader = Reader1 | Reader2 | CloudFolderReader


class Bag:
    """An open recording; made by `open_bag`.

    topics: type by topic, only topics that hold messages; clouds that a transport packed are read
        as PointCloud2.
    expected: messages by topic, as metadata.yaml counts them; empty without one.
    findings: what there is to know of its files.
    """

    def __init__(self, path: Path, reader: _Reader, findings: Sequence[Finding] = ()) -> None:
        self.path = path
        self._reader = reader
        if isinstance(reader, Reader1):
            self._deserialize = ros1_types().deserialize_ros1
        else:
            self._deserialize = ros2_types().deserialize_cdr
        self.is_ros1 = isinstance(reader, Reader1)
        self._counts = _counts(reader)
        self.topics = _types_by_topic(reader, self._counts)
        self.expected: Counter[str] = Counter()
        if not self.is_ros1 and path.is_dir():
            for connection in reader.connections:
                self.expected[connection.topic] += connection.msgcount
        if unnamed := sorted(self._counts.keys() - {c.topic for c in reader.connections}):
            raise InputError(
                f"{path}: metadata.yaml lacks topics that the storage files hold "
                f"({', '.join(unnamed)}); `ros2 bag reindex {path}` writes it anew"
            )
        self.findings = [*findings, *self._missing_messages()]

    def topics_of(self, *types: str) -> list[str]:
        """Topics of these message types, sorted."""
        return sorted(topic for topic, kind in self.topics.items() if kind in types)

    def count(self, topics: list[str]) -> int:
        """Number of messages on these topics."""
        return sum(self._counts[topic] for topic in set(topics))

    def messages(
        self, topics: list[str], before_ns: int | None = None
    ) -> Iterator[tuple[str, Any]]:
        """Topic and decoded message, in the order of recording; one message is held at a time.

        Args:
            before_ns: only those recorded before, in ns.

        Raises:
            InputError: the bag is cut off or damaged.
        """
        for connection, _, raw in self._read(topics, before_ns):
            yield connection.topic, self._decode(connection, raw)

    def timed_messages(self, topics: list[str]) -> Iterator[tuple[str, int, Any]]:
        """As `messages`, with the time of recording in ns between the two."""
        for connection, time_ns, raw in self._read(topics):
            yield connection.topic, time_ns, self._decode(connection, raw)

    def messages_with_cdr(self, topic: str) -> Iterator[tuple[Any, bytes]]:
        """Each decoded message of a topic, and the same as ROS 2 sends it over the wire.

        Raises:
            InputError: the bag is cut off or damaged.
        """
        # Of ROS 2, whose header has no sequence number.
        store = get_typestore(Stores.ROS2_HUMBLE)
        for connection, _, raw in self._read([topic]):
            message = self._decode(connection, raw)
            cdr = store.ros1_to_cdr(raw, connection.msgtype) if self.is_ros1 else raw
            if connection.msgtype == PACKED_CLOUD:
                cdr = store.serialize_cdr(message, POINT_CLOUD)
            yield message, bytes(cdr)

    def cloud_fields(self, topic: str) -> set[str]:
        """Names of the fields of the first cloud of a topic."""
        # An MCAP may count messages of a topic that it doesn't hold.
        _, cloud = next(self.messages([topic]), (topic, None))
        return set() if cloud is None else {field.name for field in cloud.fields}

    @property
    def connections(self) -> list[Connection]:
        """Topics with their types, definitions and offered qualities of service; also those that
        hold no message."""
        return list(self._reader.connections)

    def recorded(self) -> Iterator[tuple[Connection, int, bytes, Callable[[], Any]]]:
        """Every message as it was recorded: its connection, when it was recorded in ns, its bytes,
        and what decodes them.

        Raises:
            InputError: the bag is cut off or damaged.
        """
        for connection, time_ns, raw in self._read(list(self.topics)):
            yield connection, time_ns, bytes(raw), partial(self._decode, connection, raw)

    def _missing_messages(self) -> Iterator[Finding]:
        """Topics with another number of messages than metadata.yaml counts."""
        differing = {
            topic: count for topic, count in self.expected.items() if count != self._counts[topic]
        }
        if not differing:
            return
        listed = ", ".join(
            f"{topic} {self._counts[topic]} of {count}" for topic, count in differing.items()
        )
        total, there = sum(self.expected.values()), sum(self._counts.values())
        logs = [file.name for file in bag_files(self.path) if lacks_its_log(file)]
        logs = [name for name in logs if not (self.path / f"{name}-wal").is_file()]
        remedy = f"`ros2 bag reindex {self.path}` counts anew"
        if logs and there < total:
            remedy = f"copy {logs[0]}-wal beside {logs[0]}: the rest is in that file"
        yield Finding(
            "messages-missing",
            str(self.path),
            "left out" if there < total else "noted",
            f"holds {there} of the {total} messages that metadata.yaml counts ({listed})"
            if there < total
            else f"holds {there} messages where metadata.yaml counts {total} ({listed})",
            remedy,
        )

    def _read(
        self, topics: list[str], before_ns: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Connection, time of recording in ns and serialised message."""
        connections = [c for c in self._reader.connections if c.topic in topics]
        if not connections:
            return
        stream = self._reader.messages(connections, stop=before_ns)
        while True:
            with _reading(self.path):
                try:
                    message = next(stream)
                except StopIteration:
                    return
            yield message

    def _decode(self, connection: Connection, raw: bytes) -> Any:
        with _reading(self.path):
            message = self._deserialize(raw, connection.msgtype)
            if connection.msgtype == PACKED_CLOUD:
                return unpacked(message, connection.topic, ros2_types().types[POINT_CLOUD])
            return message


def spread_numbers(total: int, count: int) -> set[int]:
    """At most `count` numbers from 0 to `total` - 1, evenly spread, the first and the last too."""
    if total <= count:
        return set(range(total))
    return {round(k * (total - 1) / max(1, count - 1)) for k in range(count)}


def _types_by_topic(reader: _Reader, counts: Counter[str]) -> dict[str, str]:
    """Types of the topics that hold messages; packed clouds are clouds, unless the same clouds were
    recorded as they are too."""
    types = {each.topic: each.msgtype for each in reader.connections if counts[each.topic]}
    plain = {topic for topic, kind in types.items() if kind == POINT_CLOUD}
    packed = {topic for topic, kind in types.items() if kind == PACKED_CLOUD}
    return types | {topic: POINT_CLOUD for topic in packed if not is_twin(topic, plain)}


@cache
def ros2_types() -> Typestore:
    """The message types that are read of ROS 2. Their definitions are the same in every release (as
    are those of ROS 1). A Humble sqlite3 bag carries none, and another type's definition may be one
    that can't be parsed: so those of a bag are never needed."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    add_packed_cloud(store)
    return store


def ros1_types() -> Typestore:
    """The message types of ROS 1, those of TF with them, which `rosbags` lacks."""
    store = get_typestore(Stores.ROS1_NOETIC)
    for name in TF_MESSAGES:
        store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", name))
    return store


@contextmanager
def open_bag(path: Path | str) -> Iterator[Bag]:
    """Open a bag: its folder, or its `.mcap`, `.db3` or `.bag` file; or a folder of cloud files.

    Raises:
        InputError: there is no bag, it is cut off, or of a kind that can't be read.
    """
    path = Path(path)
    if is_cloud_folder(path):
        folder = CloudFolderReader(path)
        yield Bag(path, folder, folder.findings)
        return
    with opened_container(path) as container:
        with _reading(path):
            reader = Reader1(container.path) if container.is_ros1 else Reader2(container.path)
            reader.open()
        try:
            yield Bag(path, reader, container.findings)
        finally:
            reader.close()


def choose_topic(bag: Bag, kind: str, configured: str | None, option: str) -> str:
    """The one topic of a type: the configured one, or the only one there is; of clouds, the only
    one that is no node's output.

    Args:
        kind: message type, such as `POINT_CLOUD`.
        configured: topic named in the configuration.
        option: the configuration's name for it, for the message.

    Raises:
        InputError: none, several and none configured, or the configured one isn't there.
    """
    candidates = bag.topics_of(kind)
    short = kind.rsplit("/", 1)[-1]
    listed = ", ".join(candidates) or "(none)"
    if configured is not None:
        if configured not in candidates:
            raise InputError(
                f"{bag.path}: topic {configured} not in bag; {short} topics there: {listed}"
            )
        return configured
    empty = sorted({c.topic for c in bag.connections if c.msgtype == kind} - bag.topics.keys())
    if not candidates and empty:
        raise InputError(f"{bag.path}: no message of {', '.join(empty)} ({short}) was recorded")
    if not candidates:
        everything = ", ".join(f"{topic} ({kind})" for topic, kind in sorted(bag.topics.items()))
        text = f"{bag.path}: no {short} in bag; topics there: {everything or '(none)'}"
        if kind == POINT_CLOUD and any("depth" in topic for topic in bag.topics):
            text += "; `haskd prepare --reader rgbd` makes clouds of an RGB-D camera's images"
        raise InputError(text)
    inputs = input_clouds(candidates, bag.cloud_fields) if kind == POINT_CLOUD else candidates
    if len(inputs) > 1:
        text = (
            f"{bag.path}: several {short} topics: {', '.join(inputs)}; name one of them as {option}"
        )
        if kind == POINT_CLOUD:
            text += "; `haskd assemble` makes one cloud of those of several LiDARs"
        raise InputError(text)
    return inputs[0]


def stamp_ns(message: Any) -> int:
    """The header's stamp in ns since the epoch."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def frame_of(message: Any) -> str:
    """The header's frame, without the slash of ROS 1; empty where there is none."""
    return frame_name(str(message.header.frame_id))


def bag_files(path: Path) -> list[Path]:
    """The files of a bag, sorted by name, or of a folder of clouds. Of what sqlite keeps beside a
    database the index of its log is none: that comes and goes when somebody looks."""
    if is_cloud_folder(path):
        return CloudFolder(path).files()
    if not path.is_dir():
        return [path, *logs_beside(path)]
    return sorted(
        file for file in path.iterdir() if file.is_file() and not file.name.endswith("-shm")
    )


def _counts(reader: _Reader) -> Counter[str]:
    """Messages by topic that the storage files hold; metadata.yaml may say otherwise."""
    connections = reader.connections
    if isinstance(reader, Reader2) and isinstance(reader.storage, DirectoryReader):
        connections = [c for storage in reader.storage.storages for c in storage.connections]
    counts: Counter[str] = Counter()
    for connection in connections:
        counts[connection.topic] += connection.msgcount
    return counts


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """`reading` of a bag, with what mends one, and a word on kinds that are not read."""
    with reading(path, lambda: _repair_hint(path)):
        try:
            yield
        except (InputError, OSError, TooLarge):
            raise
        except Exception as error:
            if isinstance(error, KeyError) and error.args and error.args[0] in FOREIGN_SCHEMAS:
                raise InputError(
                    f"{path} holds messages that aren't ROS 2's ({error.args[0]}), which are not "
                    "read"
                ) from error
            if "not supported" in str(error) or "Unsupported" in str(error):
                reason = shown(str(error)[:QUOTED_CHARACTERS])
                raise InputError(f"{path} is of a kind that can't be read: {reason}") from error
            raise


def _repair_hint(path: Path) -> str:
    suffixes = {storage_suffix(file) or file.suffix for file in bag_files(path)}
    if ".bag" in suffixes:
        return f"`rosbag reindex {path}` saves what was recorded"
    if ".mcap" in suffixes:
        return (
            "`mcap recover FILE.mcap -o WHOLE.mcap` saves what was recorded "
            "(then `ros2 bag reindex` on its folder)"
        )
    return (
        "`sqlite3 FILE.db3 .recover | sqlite3 WHOLE.db3` saves what was recorded "
        "(then `ros2 bag reindex` on its folder)"
    )
