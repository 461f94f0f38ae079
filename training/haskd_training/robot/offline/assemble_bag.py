"""`haskd assemble`: a recording whose clouds are those that the node's network would get."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection

from haskd_ros.clouds.merging import MergedIntensity
from haskd_ros.clouds.point_layout import CloudError
from haskd_ros.errors import InputError
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.text import listed
from haskd_training.core.background import BackgroundCalls
from haskd_training.core.progress import Progress, no_progress
from haskd_training.recordings.bag_writing import (
    MESSAGES_BEHIND,
    TYPES,
    add_copies,
    bag_writer,
    check_is_ros2,
    new_bag,
)
from haskd_training.recordings.findings import Finding, Say, say_nothing, tell
from haskd_training.recordings.readers.bag import POINT_CLOUD, Bag, choose_topic, frame_of, open_bag
from haskd_training.recordings.recording import RecordingConfig, transforms
from haskd_training.robot.offline.bag_merging import BagMerging
from haskd_training.robot.offline.bag_motion import BagMotion, check_poses
from haskd_training.robot.offline.lidar_pairs import Key, Pairs, times_of

PARAMETERS = (
    "merge.topics", "merge.max_gap", "motion.compensation", "motion.time_field",
    "motion.time_unit", "poses.source", "poses.fixed_frame", "intensity.scale",
)  # fmt: skip
"""Of the node, those that say what its network gets."""


@dataclass(frozen=True)
class AssembledBag:
    """What was written.

    Attributes:
        topic: of the clouds.
        clouds: of them.
        findings: what became of them.
    """

    topic: str
    clouds: int
    findings: list[Finding]


def assemble_bag(
    bag: Path,
    out: Path,
    parameters: Parameters,
    topic: str | None = None,
    progress: Progress = no_progress,
    *,
    say: Say = say_nothing,
    strict: bool = False,
) -> AssembledBag:
    """Copy a recording with its clouds motion-compensated and with the points of the other LiDARs,
    as the parameters say. All else is taken over byte for byte but the other LiDARs' clouds, which
    are left out; the order stays.

    Args:
        bag: rosbag2, of either storage.
        out: new folder, a rosbag2 in MCAP.
        parameters: of the node.
        topic: of the main clouds; None: the only one that is not to be merged.
        progress: counts main clouds, twice.
        say: receives what became of the clouds.
        strict: refuse, and write nothing, where that is a warning.

    Raises:
        InputError: the bag can't be read, is ROS 1's, lacks a topic or a frame, or `out` exists; or
            the parameters ask for nothing.
    """
    others = parameters.other_lidars
    if not others and not parameters.motion_compensation:
        raise InputError(
            "nothing to do: --set merge.topics=[/other/points] or --set motion.compensation=true"
        )
    with open_bag(bag) as recording, new_bag(out) as folder:
        check_is_ros2(recording)
        main = _main_topic(recording, topic, others)
        total, done = 2 * recording.count([main]), 0
        times, clouds = times_of(recording, [main, *others])
        intensity = MergedIntensity(parameters.intensity_scale)
        frames: Counter[str] = Counter()
        for key, cloud in clouds:
            with suppress(CloudError):  # it is told of where the cloud is used
                if key.topic != main:
                    intensity.see(key.topic, cloud)
                elif others:
                    intensity.look_at(cloud)
            if key.topic == main:
                frames[frame_of(cloud)] += 1
                done += 1
                progress(done, total)
        tree = transforms(recording, RecordingConfig())
        if parameters.motion_compensation and frames:
            check_poses(tree, frames.most_common(1)[0][0], parameters)
        motion = BagMotion(tree, parameters)
        merging = BagMerging(tree, intensity, parameters)
        waiting = _Waiting(main, others, Pairs(times, main, parameters.merge_max_gap))
        with bag_writer(folder) as writer, BackgroundCalls(MESSAGES_BEHIND) as writes:
            kept = [each for each in recording.connections if each.topic not in others]
            copies = add_copies(writer, [each for each in kept if not _is_packed(each, main)])
            packed = [each.id for each in kept if _is_packed(each, main)]
            if packed:
                as_clouds = writer.add_connection(main, POINT_CLOUD, typestore=TYPES)
                copies |= dict.fromkeys(packed, as_clouds)
            for ready in waiting.take(recording):
                content: bytes | memoryview = ready.raw
                if ready.cloud is not None:
                    assembled = merging(ready.cloud, motion(ready.cloud), ready.others)
                    content = TYPES.serialize_cdr(assembled, POINT_CLOUD)
                    done += 1
                    progress(done, total)
                writes.call(writer.write, copies[ready.connection.id], ready.time_ns, content)
        found = motion.findings(main) + merging.findings
        tell(found, say, strict)
    return AssembledBag(main, done - total // 2, found)


def _is_packed(connection: Connection, main: str) -> bool:
    """Whether it has main clouds that a transport packed; what is written is not packed."""
    return connection.topic == main and connection.msgtype != POINT_CLOUD


def _main_topic(recording: Bag, topic: str | None, others: tuple[str, ...]) -> str:
    """
    Raises:
        InputError: a topic that isn't there, that stands twice, or several to choose from.
    """
    there = recording.topics_of(POINT_CLOUD)
    for name in others:
        if name not in there:
            raise InputError(
                f"{recording.path}: merge.topics has {name}, which is not in the bag; PointCloud2 "
                f"topics there: {listed(there)}"
            )
        if name == topic or others.count(name) > 1:
            raise InputError(f"merge.topics has {name}, which is another LiDAR's already")
    left = [name for name in there if name not in others]
    if topic is None and len(left) == 1:
        return left[0]
    return choose_topic(recording, POINT_CLOUD, topic, "--topic")


@dataclass
class _Message:
    """A message in the order of recording; a main cloud is decoded, with the other LiDARs' clouds
    by topic."""

    connection: Connection
    time_ns: int
    raw: bytes
    cloud: Any = None
    number: int = 0
    others: dict[str, Any] = field(default_factory=dict)


class _Waiting:
    """Messages on their way from a recording to the next one: a main cloud waits for those that go
    into it, and what was recorded after it waits with it."""

    def __init__(self, main: str, others: tuple[str, ...], pairs: Pairs) -> None:
        self._main, self._others, self._pairs = main, others, pairs
        self._read: Counter[str] = Counter()
        self._queue: deque[_Message] = deque()
        self._clouds: dict[Key, Any] = {}

    def take(self, recording: Bag) -> Iterator[_Message]:
        """All messages but those of the other LiDARs."""
        for connection, time_ns, raw, decode in recording.recorded():
            key = Key(connection.topic, self._read[connection.topic])
            self._read[connection.topic] += 1
            if key.topic in self._others:
                if self._pairs.is_used(key):
                    self._clouds[key] = decode()
            elif key.topic == self._main:
                self._queue.append(_Message(connection, time_ns, raw, decode(), key.number))
            else:
                self._queue.append(_Message(connection, time_ns, raw))
            while self._queue and self._is_ready(self._queue[0]):
                yield self._completed(self._queue.popleft())

    def _is_ready(self, message: _Message) -> bool:
        return message.cloud is None or all(
            key.number < self._read[key.topic] for key in self._pairs.needed(message.number)
        )

    def _completed(self, message: _Message) -> _Message:
        if message.cloud is None:
            return message
        for topic, found in self._pairs.of[message.number].items():
            message.others[topic] = self._clouds[found] if isinstance(found, Key) else found
        for key in self._pairs.needed(message.number):
            if self._pairs.is_last_use(key, message.number):
                del self._clouds[key]
        return message
