"""Drives a real segmentation node over DDS: starts it, plays clouds to it, times what comes back.

The one file of the training half that imports ROS; nothing else here needs it.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import psutil

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_ros.node.dds import profile_environment

INPUT = "/segment/input/points"
OUTPUT = "/segment/output/segmentation"
STAGES = ("preprocess", "inference", "postprocess", "total")
START_TIMEOUT_S = 60.0
REPLY_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class RecordedCloud:
    """A PointCloud2 as its bag has it.

    Attributes:
        stamp_ns: of the header.
        cdr: the serialised message.
    """

    stamp_ns: int
    cdr: bytes

    def restamped(self, stamp_ns: int) -> RecordedCloud:
        """The same cloud at another time, so that a short recording can be played in a loop."""
        cdr = bytearray(self.cdr)
        # Behind the four bytes that name the encoding, 1 for little-endian, the header's stamp.
        order = "<" if cdr[1] & 1 else ">"
        struct.pack_into(f"{order}iI", cdr, 4, *divmod(stamp_ns, 1_000_000_000))
        return RecordedCloud(stamp_ns, bytes(cdr))


@dataclass(frozen=True)
class Reply:
    """A labelled cloud that came back.

    Attributes:
        stamp_ns: of the header, as in the cloud that was sent.
        latency_ms: from handing the input to DDS to having the output in hand.
        points: [N] structured, `output_clouds.SEGMENTATION_POINT`.
    """

    stamp_ns: int
    latency_ms: float
    points: np.ndarray


@dataclass(frozen=True)
class Replay:
    """What became of the clouds played to a node.

    Attributes:
        sent: clouds handed to DDS.
        replies: labelled clouds that came back, in order.
        stages: ms of each of the node's `STAGES`, a value a labelled cloud.
        counts: what became of them, and of those that opened the way, by the node's own words.
        seconds: from the first cloud to the last answer.
        busy_cores: CPU time of the node in those seconds, a second.
        memory_mib: resident memory of the node at their end.
    """

    sent: int
    replies: list[Reply]
    stages: dict[str, list[float]]
    counts: Mapping[str, int]
    seconds: float
    busy_cores: float
    memory_mib: float

    @property
    def replaced(self) -> int:
        """Clouds that a newer one pushed out."""
        return self.counts["replaced by a newer one"]

    def percentiles(self) -> dict[str, float]:
        """Latency in ms: p50, p95, p99 and max; NaN without replies."""
        latencies = [reply.latency_ms for reply in self.replies] or [np.nan]
        values = np.percentile(latencies, [50, 95, 99, 100])
        return dict(zip(("p50", "p95", "p99", "max"), map(float, values)))


def replay(
    model: Path,
    clouds: Sequence[RecordedCloud],
    rate_hz: float,
    log: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    parameters: Mapping[str, str] = MappingProxyType({}),
) -> Replay:
    """Start the node with a model, play clouds to it at a steady rate, collect its answers.

    The first cloud is also sent before the others, under a stamp of its own: it opens the way, and
    is neither counted nor timed.

    Args:
        model: model file.
        clouds: with stamps that differ.
        rate_hz: clouds per second, whatever their stamps say.
        log: file that takes the node's output.
        environment: of the node, beside this process's own.
        parameters: of the node, beside its model.

    Raises:
        InputError: ROS is not installed, or the node does not start.
    """
    parameters = {"model": str(model), **parameters}
    with (
        _ros_environment() as ours,
        _node(parameters, {**ours, **environment}, log) as process,
    ):
        usage = Usage(process.pid)
        replies, stages = _play(clouds, rate_hz, usage)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    counts = final_counts(log.read_text(encoding="utf-8", errors="replace"))
    return Replay(
        len(clouds), replies, stages, counts, usage.seconds, usage.busy_cores, usage.memory_mib
    )


class Usage:
    """What a process needs between `start` and `stop`."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    def start(self) -> None:
        self._before = time.perf_counter(), self._cpu_s()

    def stop(self) -> None:
        """From here on `seconds`, `busy_cores` and `memory_mib` tell."""
        started, cpu_s = self._before
        self.seconds = time.perf_counter() - started
        self.busy_cores = (self._cpu_s() - cpu_s) / self.seconds
        self.memory_mib = self._process.memory_info().rss / 2**20


@contextmanager
def _ros_environment() -> Iterator[dict[str, str]]:
    """ROS kept to this machine, with room for large clouds, in this process and its children."""
    with tempfile.TemporaryDirectory() as logs:
        ours = {
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            # Not the user's: a robot's own node would take the clouds too.
            "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
            "ROS_LOG_DIR": logs,
            **profile_environment(),
        }
        before = dict(os.environ)
        os.environ.update(ours)
        try:
            yield dict(os.environ)
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextmanager
def _node(
    parameters: Mapping[str, str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen]:
    """A running, active node; ended on leaving."""
    command = [sys.executable, "-m", "haskd_ros", "--ros-args"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            _wait_until_active(process, log)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=30)


def _wait_until_active(process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8", errors="replace")
        if "waiting for clouds on" in text:
            return
        if process.poll() is not None or "] [segment]: can't " in text:
            break
        time.sleep(0.1)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1] if lines else "(nothing)"
    raise InputError(f"the node did not become active; its last line in {log}: {last}")


def _play(
    clouds: Sequence[RecordedCloud], rate_hz: float, usage: Usage
) -> tuple[list[Reply], dict[str, list[float]]]:
    """Publish at a steady rate from one thread while another takes the answers."""
    try:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from rclpy.serialization import deserialize_message
        from sensor_msgs.msg import PointCloud2
        from std_msgs.msg import Float32
    except ImportError as error:
        raise InputError(f"ROS 2 is not installed for this Python ({error})") from error

    arrived: list[tuple[float, bytes]] = []
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("haskd_player", context=context)
    publisher = node.create_publisher(PointCloud2, INPUT, QoSProfile(depth=1))
    node.create_subscription(
        PointCloud2,
        OUTPUT,
        lambda message: arrived.append((time.perf_counter(), message)),
        QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE),
        raw=True,
    )
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for stage, values in stages.items():
        node.create_subscription(
            Float32,
            f"/segment/debug/{stage}_ms",
            lambda message, values=values: values.append(message.data),
            QoSProfile(depth=10),
        )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    receiver = threading.Thread(target=executor.spin, daemon=True)
    receiver.start()
    try:
        _open_the_way(publisher, clouds[0].restamped(0).cdr, [arrived, *stages.values()])
        sent_at: dict[int, float] = {}
        usage.start()
        start = time.perf_counter()
        for number, cloud in enumerate(clouds):
            time.sleep(max(0.0, start + number / rate_hz - time.perf_counter()))
            sent_at[cloud.stamp_ns] = time.perf_counter()
            publisher.publish(cloud.cdr)
        _wait_for_quiet([arrived, *stages.values()], len(clouds))
        usage.stop()
    finally:
        executor.shutdown()
        receiver.join()
        node.destroy_node()
        rclpy.shutdown(context=context)
    replies = []
    for at, serialised in arrived:
        message = deserialize_message(serialised, PointCloud2)
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        if stamp in sent_at:
            replies.append(Reply(stamp, 1e3 * (at - sent_at[stamp]), read_points(message)))
    return replies, stages


def _open_the_way(publisher, cdr: bytes, answers: Sequence[list]) -> None:
    """Send one cloud until it is answered in full, so that discovery and first use are over; what
    was answered is forgotten."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not all(answers):
        if time.monotonic() > deadline:
            raise InputError(
                f"no labelled cloud came back on {OUTPUT} within {START_TIMEOUT_S:.0f} s"
            )
        if publisher.get_subscription_count():
            publisher.publish(cdr)
        # Long enough for an answer: one that waited would be replaced, and counted.
        _wait_for_quiet(answers, 1)
    for entries in answers:
        entries.clear()


def _wait_for_quiet(lists: Sequence[list], wanted: int) -> None:
    """Until each list has `wanted` entries, or none has grown for `REPLY_TIMEOUT_S`."""
    count, since = 0, time.monotonic()
    while min(map(len, lists)) < wanted and time.monotonic() - since < REPLY_TIMEOUT_S:
        time.sleep(0.02)
        if (grown := sum(map(len, lists))) != count:
            count, since = grown, time.monotonic()


def final_counts(log: str) -> dict[str, int]:
    """What became of the clouds, as an ended node says in the last line of its log, `FrameCounts`.

    Raises:
        InputError: there is no such line.
    """
    lines = re.findall(r"\d+ clouds received, .*", log)
    if not lines:
        raise InputError("the node ended without its summary line; see its log")
    # Without the reasons, which stand in brackets.
    parts = re.split("[,;] ", re.sub(r" \(.*\)", "", lines[-1]))
    found = (part.split(" ", 1) for part in parts)
    return {what.removeprefix("clouds "): int(number) for number, what in found}
