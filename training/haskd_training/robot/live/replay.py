"""A recording's clouds played to a live segmentation node, and what became of them."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import psutil

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_ros.model_content import open_sealed, read
from haskd_ros.node.clock import nanoseconds
from haskd_ros.node.dds.profiles import profile_environment
from haskd_training.robot.live.node_client import OUTPUT, NodeClient, deserialise

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
    """A labelled cloud from the node.

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
        replies: labelled clouds from the node, in order.
        stages: ms of each of the node's `STAGES`, a value a labelled cloud.
        counts: of clouds by what became of them, as the node reports them; with those that were
            sent before the others.
        seconds: from the first cloud to the last reply.
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
        """Clouds that the node replaced by a newer one."""
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
    """Start the node with a model, play clouds to it at a steady rate, collect its replies.

    The first cloud is also sent before the others, under a stamp of its own, until discovery and
    first use are over: it is neither counted nor timed.

    Args:
        model: model file.
        clouds: with stamps that differ.
        rate_hz: clouds per second, independent of their stamps.
        log: file that takes the node's output.
        environment: of the node, beside this process's own.
        parameters: of the node, beside its model.

    Raises:
        InputError: ROS is not installed, the node does not start, or a model of several sweeps: the
            clouds come without poses.
    """
    _check_sweeps(model)
    parameters = {"model": str(model), **parameters}
    with (
        _ros_environment() as ours,
        _node(parameters, {**ours, **environment}, log) as process,
        NodeClient() as client,
    ):
        usage = Usage(process.pid)
        _wait_until_active(client, process, log)
        replies, stages = _play(client, clouds, rate_hz, usage)
        counts = client.deactivate(lambda: process.poll() is None)
    return Replay(
        len(clouds),
        replies,
        stages,
        counts,
        usage.seconds,
        usage.busy_cores,
        usage.memory_mib,
    )


class Usage:
    """What a process needs between `start` and `stop`."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def start(self) -> None:
        self._before = time.perf_counter(), self._cpu_s()

    def stop(self) -> None:
        """Set `seconds`, `busy_cores` and `memory_mib`."""
        started, cpu_s = self._before
        self.seconds = time.perf_counter() - started
        self.busy_cores = (self._cpu_s() - cpu_s) / self.seconds
        self.memory_mib = self._process.memory_info().rss / 2**20


def _check_sweeps(model: Path) -> None:
    """
    Raises:
        InputError: the model takes several sweeps.
    """
    try:
        _, metadata = open_sealed(read(model))
    except InputError:  # the node says what is wrong with the file
        return
    if metadata.sweeps > 1:
        raise InputError(
            f"model {model} takes {metadata.sweeps} sweeps, which needs the sensor's poses; clouds "
            "are played without them"
        )


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
) -> Iterator[subprocess.Popen[bytes]]:
    """A running node; ended on leaving."""
    # Not -m, with which Python would import from the working directory first.
    start = "sys.path[:] = filter(None, sys.path); from haskd_ros.__main__ import main"
    command = [sys.executable, "-c", f"import sys; {start}; main()", "--ros-args"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_until_active(client: NodeClient, process: subprocess.Popen[bytes], log: Path) -> None:
    if not client.wait_until_active(lambda: process.poll() is None):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = lines[-1] if lines else "(nothing)"
        raise InputError(f"the node did not become active; its last line in {log}: {last}")


def _play(
    client: NodeClient, clouds: Sequence[RecordedCloud], rate_hz: float, usage: Usage
) -> tuple[list[Reply], dict[str, list[float]]]:
    """Publish at a steady rate while the client's thread takes the replies and the stages' ms."""
    received: list[list[Any]] = [client.outputs, *client.stages.values()]
    _send_first(client, clouds[0].restamped(0).cdr, received)
    sent_at: dict[int, float] = {}
    usage.start()
    start = time.perf_counter()
    for number, cloud in enumerate(clouds):
        time.sleep(max(0.0, start + number / rate_hz - time.perf_counter()))
        sent_at[cloud.stamp_ns] = time.perf_counter()
        client.publish(cloud.cdr)
    _wait_for_quiet(received, len(clouds))
    usage.stop()
    outputs = list(client.outputs)
    stages = {stage: list(values) for stage, values in client.stages.items()}
    replies = []
    for received_at, cdr in outputs:
        message = deserialise(cdr)
        stamp = nanoseconds(message.header.stamp)
        if stamp in sent_at:
            latency_ms = 1e3 * (received_at - sent_at[stamp])
            replies.append(Reply(stamp, latency_ms, read_points(message)))
    return replies, stages


def _send_first(client: NodeClient, cdr: bytes, received: Sequence[list[Any]]) -> None:
    """Send one cloud until all of its outputs are there, so that discovery and first use are over;
    they are dropped."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not all(received):
        if time.monotonic() > deadline:
            raise InputError(
                f"no labelled cloud was received on {OUTPUT} within {START_TIMEOUT_S:.0f} s"
            )
        if client.has_subscriber():
            client.publish(cdr)
        # Long enough for a reply: a cloud that waited would be replaced, and counted.
        _wait_for_quiet(received, 1)
    for entries in received:
        entries.clear()


def _wait_for_quiet(received: Sequence[list[Any]], count: int) -> None:
    """Until each list has `count` entries, or none has grown for `REPLY_TIMEOUT_S`."""
    total, since = 0, time.monotonic()
    while min(map(len, received)) < count and time.monotonic() - since < REPLY_TIMEOUT_S:
        time.sleep(0.02)
        if (new_total := sum(map(len, received))) != total:
            total, since = new_total, time.monotonic()
