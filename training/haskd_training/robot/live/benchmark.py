"""`haskd benchmark`: how long the live node takes, message in to message out."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rosbags.typesys import Stores, get_typestore

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_training.core.machine import machine
from haskd_training.core.progress import Steps
from haskd_training.recordings.readers.bag import POINT_CLOUD, choose_topic, open_bag, stamp_ns
from haskd_training.reports import plots
from haskd_training.robot.live.node_client import STAGES
from haskd_training.robot.live.replay import RecordedCloud, Replay, replay

_TYPES = get_typestore(Stores.ROS2_HUMBLE)

END_TO_END = "message in to message out"
PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}

BACKENDS = {
    "auto": {},
    "fp32": {"parameters": {"precision": "fp32"}},
    "torch": {"environment": {"HASKD_NATIVE": "0"}},
}
"""How the node computes: as it does by itself, in float32, or on a CPU without the compiled
kernels; as arguments of `replay`."""

MOST_IN_MEMORY = 100
"""Clouds of a recording that are played; more would only be more of the same."""


@dataclass(frozen=True)
class BenchmarkCase:
    """A model, how the node computes it, and how many clouds a second it is to label."""

    model: Path
    backend: str
    rate_hz: float

    @property
    def name(self) -> str:
        backend = "" if self.backend == "auto" else f", {self.backend}"
        return f"{self.model.stem}{backend}, {self.rate_hz:g} Hz"


@dataclass(frozen=True)
class BenchmarkResult:
    """A candidate's rounds."""

    case: BenchmarkCase
    rounds: list[Replay]

    @property
    def milliseconds(self) -> dict[str, np.ndarray]:
        """By stage of the node, and from end to end; a value a labelled cloud."""
        found = {END_TO_END: [r.latency_ms for one in self.rounds for r in one.replies]}
        for stage in STAGES:
            found[stage] = [value for one in self.rounds for value in one.stages[stage]]
        return {name: np.array(values) for name, values in found.items()}

    def to_json(self) -> dict[str, Any]:
        """As plain values; null where nothing was measured."""
        seconds = sum(one.seconds for one in self.rounds)
        labelled = sum(len(one.replies) for one in self.rounds)
        return {
            "model": self.case.model.name,
            "backend": self.case.backend,
            "rate_hz": self.case.rate_hz,
            "sent": sum(one.sent for one in self.rounds),
            "labelled": labelled,
            "replaced": sum(one.replaced for one in self.rounds),
            "never seen": sum(one.counts["sent and never seen"] for one in self.rounds),
            "throughput_hz": labelled / seconds,
            "busy_cores": sum(one.busy_cores * one.seconds for one in self.rounds) / seconds,
            "memory_mib": max(one.memory_mib for one in self.rounds),
            "milliseconds": {
                name: {
                    p: float(np.percentile(values, q)) if len(values) else None
                    for p, q in PERCENTILES.items()
                }
                for name, values in self.milliseconds.items()
            },
            "p50_by_round": [_median(one) for one in self.rounds],
        }


def _median(one: Replay) -> float | None:
    value = one.percentiles()["p50"]
    return None if math.isnan(value) else value


def benchmark(
    bag: Path,
    models: Sequence[Path],
    backends: Sequence[str],
    rates_hz: Sequence[float],
    frames: int,
    rounds: int,
    out: Path,
    topic: str | None,
    steps: Steps,
    points: int | None = None,
) -> list[BenchmarkResult]:
    """Play a recording's clouds, over and over, to a node in another process, over DDS.

    Every model with every backend at every rate is a candidate. They take turns, a round each, so
    that a machine that is busy for a while is so for all of them.

    Args:
        rates_hz: clouds a second, whatever their stamps say.
        frames: clouds a round.
        out: folder for benchmark.json, benchmark.png and the nodes' logs.
        topic: of the clouds; None: the only one.
        points: drawn from each cloud, in its order, to stand for a smaller sensor; None: all.

    Raises:
        InputError: no bag, no model, no such backend, clouds of fewer points, or a node that does
            not start.
    """
    if unknown := set(backends) - set(BACKENDS):
        raise InputError(f"no backend {min(unknown)}; there are {', '.join(BACKENDS)}")
    clouds = _clouds(bag, topic, min(frames, MOST_IN_MEMORY), points)
    cases = [BenchmarkCase(*each) for each in itertools.product(models, backends, rates_hz)]
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        raise InputError(f"candidates of one name: {', '.join(names)}; rename a model file")
    measured = [BenchmarkResult(case, []) for case in cases]
    for number, one in itertools.product(range(rounds), measured):
        title = f"{one.case.name}, round {number + 1} of {rounds}"
        with steps(title):
            log = out / f"node-{re.sub('[ ,]+', '-', one.case.name)}-{number + 1}.log"
            how = BACKENDS[one.case.backend]
            rate_hz = one.case.rate_hz
            looped = _looped(clouds, frames, rate_hz)
            one.rounds.append(replay(one.case.model, looped, rate_hz, log, **how))
    _write(bag, points, measured, out)
    return measured


def _clouds(bag: Path, topic: str | None, most: int, points: int | None) -> list[RecordedCloud]:
    """The first ones of a recording, of so many points."""
    with open_bag(bag) as opened:
        stream = opened.messages_with_cdr(choose_topic(opened, POINT_CLOUD, topic, "--topic"))
        wanted = itertools.islice(stream, most)
        return [
            RecordedCloud(stamp_ns(message), cdr if points is None else _drawn(cdr, points))
            for message, cdr in wanted
        ]


def _drawn(cdr: bytes, points: int) -> bytes:
    """Some points of a serialised cloud."""
    cloud = draw_points(_TYPES.deserialize_cdr(cdr, POINT_CLOUD), points)
    return bytes(_TYPES.serialize_cdr(cloud, POINT_CLOUD))


def draw_points(cloud: Any, points: int) -> Any:
    """Some points of a cloud, in their order; of every cloud of that size the same ones.

    Raises:
        InputError: it has fewer.
    """
    count, step = cloud.height * cloud.width, cloud.point_step
    if count < points:
        raise InputError(f"a cloud has {count} points, fewer than {points}")
    rows = cloud.data.reshape(cloud.height, -1)[:, : cloud.width * step].reshape(count, step)
    chosen = np.sort(np.random.default_rng(0).permutation(count)[:points])
    return replace(
        cloud, height=1, width=points, row_step=points * step, data=rows[chosen].reshape(-1)
    )


def _looped(clouds: Sequence[RecordedCloud], frames: int, rate_hz: float) -> list[RecordedCloud]:
    """Clouds over and over, each with a stamp of its own."""
    start, period_ns = clouds[0].stamp_ns, round(1e9 / rate_hz)
    return [
        clouds[frame % len(clouds)].restamped(start + frame * period_ns) for frame in range(frames)
    ]


def _write(bag: Path, points: int | None, measured: Sequence[BenchmarkResult], out: Path) -> None:
    document = {
        "bag": bag.resolve().name,
        "points": points,
        "machine": machine(),
        "candidates": {one.case.name: one.to_json() for one in measured},
    }
    write_atomically(out / "benchmark.json", json.dumps(document, indent=1).encode())
    values = {one.case.name: one.milliseconds[END_TO_END] for one in measured}
    plots.latencies(values, out / "benchmark.png")


def tables(measured: Sequence[BenchmarkResult]) -> list[Table]:
    """For the screen: times in ms of each candidate, and what became of the clouds."""
    found = []
    for one in measured:
        table = Table(title=f"{one.case.name}, ms")
        for column in ("", *PERCENTILES):
            table.add_column(column, justify="right" if column else "left")
        for name, values in one.to_json()["milliseconds"].items():
            shown = ("-" if value is None else f"{value:.1f}" for value in values.values())
            table.add_row(name if name == END_TO_END else f"node: {name}", *shown)
        found.append(table)
    table = Table(title="clouds")
    for column in ("", "sent", "labelled", "replaced", "never seen", "Hz", "cores busy", "MiB"):
        table.add_column(column, justify="right" if column else "left")
    for one in measured:
        facts = one.to_json()
        table.add_row(
            one.case.name,
            *(str(facts[name]) for name in ("sent", "labelled", "replaced", "never seen")),
            f"{facts['throughput_hz']:.1f}",
            f"{facts['busy_cores']:.2f}",
            f"{facts['memory_mib']:.0f}",
        )
    return [*found, table]
