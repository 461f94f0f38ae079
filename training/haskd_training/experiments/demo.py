"""`haskd demo`: the whole path in one go, from a bag to labelled clouds on a live topic."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from haskd_ros.clouds.pointcloud import read_xyz_intensity, valid_returns
from haskd_ros.errors import InputError
from haskd_ros.files import remove_leftover, write_atomically
from haskd_training.core.progress import Steps
from haskd_training.core.run_folder import only_user
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.splits import Split
from haskd_training.experiments.run import RunConfig, RunResult, run
from haskd_training.metrics.confusion import Evaluation, evaluate
from haskd_training.recordings.findings import Say, say_nothing
from haskd_training.recordings.readers.bag import POINT_CLOUD, choose_topic, open_bag, stamp_ns
from haskd_training.reports import plots
from haskd_training.robot.live.replay import RecordedCloud, Replay, replay
from haskd_training.simulation import SimulationConfig, simulate

log = logging.getLogger(__name__)

RATE_HZ = 10.0

MAX_CLOUDS = 200
"""Held-out clouds that are played at most: 20 s of them, whatever the bag's length."""

SIMULATION = SimulationConfig(duration_s=12.0)

SETTINGS = (
    "student.loop.epochs=4",
    "student.split.test=0.2",
    "selection.window_s=0.5",
    "expertise.min_scans=8",
)
"""A run of a few minutes on two cores: what it shows is that all works, not how well."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        evaluation: of the labelled clouds that came back from the node.
        replay: how they came back.
        run: what the pipeline made.
        picture: PNG of one held-out sweep.
    """

    evaluation: Evaluation
    replay: Replay
    run: RunResult
    picture: Path


def load_demo_settings(
    file: Path | None = None, assignments: Sequence[str] = (), own: Sequence[str] = SETTINGS
) -> RunConfig:
    """A demo's own settings, or those of a file instead, overridden by assignments; errors as of
    `load_settings`."""
    return load_settings(RunConfig, file, (*(own if file is None else ()), *assignments))


def demo(
    out: Path,
    bag: Path | None,
    labels: str | None,
    steps: Steps,
    config: RunConfig | None = None,
    simulation: SimulationConfig = SIMULATION,
    *,
    say: Say = say_nothing,
) -> DemoResult:
    """Bag in, labelled live clouds out. Steps that an earlier call finished are not repeated.

    Args:
        out: folder for all that is made.
        bag: a recorded bag; None simulates one.
        labels: label map of `bag`: a file, or the name of one that ships.
        steps: shows the progress.
        config: of the pipeline, `load_demo_settings` by default; the test part is what the node is
            shown.
        simulation: the drive, where no bag is given.
        say: receives what the examination of the bag finds.

    Raises:
        InputError: of any of the steps.
    """
    config = config or load_demo_settings()
    work = out / ("simulated" if bag is None else bag.resolve().name)
    recording = work / "bag" if bag is None else bag
    if bag is None:
        labels = "simulation"
    elif labels is None:
        raise InputError("a bag of your own needs its label map too: LABELS=path or a shipped name")
    with only_user(work):
        remove_leftover(work / "bag")
        if bag is None and not recording.exists():
            with steps("simulating a drive") as progress:
                simulate(recording, simulation, progress)
        result = run([recording], work / "run", labels, config, steps, say=say)
        if result is None:
            raise InputError("the demo runs in one process, without torchrun")
        cache = result.caches[0]
        shown = _held_out(recording, cache, result.split, config.prepare)
        return show_to_node(result, cache, shown, work, out / "segmentation.png", steps)


@dataclass(frozen=True)
class HeldOut:
    """A held-out sweep.

    Attributes:
        sweep: its number in the cache.
        cloud: the bag's own message of it.
        usable: [N] bool, the points of the cloud that are in the cache.
    """

    sweep: int
    cloud: RecordedCloud
    usable: np.ndarray


def show_to_node(
    result: RunResult,
    cache: Cache,
    shown: Sequence[HeldOut],
    work: Path,
    picture: Path,
    steps: Steps,
) -> DemoResult:
    """Play clouds to a node that labels by a run's model, and score and draw what comes back.

    Args:
        cache: of the clouds' sweeps.
        work: folder for the node's log and demo.json.

    Raises:
        InputError: the node labelled no cloud.
    """
    with steps("playing held-out sweeps to the node"):
        played = replay(result.model, [one.cloud for one in shown], RATE_HZ, work / "node.log")
    predictions = _predictions(cache, shown, played)
    if not predictions:
        raise InputError(f"the node labelled no cloud; see {work / 'node.log'}")
    answers = iter(predictions.values())
    evaluation = evaluate(
        lambda _: next(answers), (cache.sweep(i) for i in predictions), cache.taxonomy
    )
    with steps("drawing"):
        _draw(cache, predictions, picture)
    _write_result(work / "demo.json", evaluation, played, result)
    return DemoResult(evaluation, played, result, picture)


def held_out_clouds(
    bag: Path, cache: Cache, sweeps: list[int], points_topic: str | None
) -> list[HeldOut]:
    """The bag's own messages of some sweeps of a cache, in time order.

    Args:
        points_topic: that the cache was made from; None: the bag has one only.
    """
    wanted = {cache.sweeps[i].stamp_ns: i for i in sweeps}
    found = []
    with open_bag(bag) as opened:
        topic = choose_topic(opened, POINT_CLOUD, points_topic, "points_topic")
        for message, cdr in opened.messages_with_cdr(topic):
            if (stamp := stamp_ns(message)) in wanted:
                points, _ = read_xyz_intensity(message)
                cloud = RecordedCloud(stamp, cdr)
                found.append(HeldOut(wanted[stamp], cloud, valid_returns(points)))
    return found


def _held_out(bag: Path, cache: Cache, split: Split, config: PrepareConfig) -> list[HeldOut]:
    """What the node is shown: the first `MAX_CLOUDS` of the test part."""
    test = [ref.sweep for ref in split.test]
    if not test:
        raise InputError("no test sweeps are left for the node: raise student.split.test")
    if len(test) > MAX_CLOUDS:
        log.info("playing the first %d of %d held-out sweeps", MAX_CLOUDS, len(test))
    return held_out_clouds(bag, cache, test[:MAX_CLOUDS], config.points_topic)


def _predictions(cache: Cache, shown: Sequence[HeldOut], played: Replay) -> dict[int, np.ndarray]:
    """Class ids [N] of the node for the points in the cache, by sweep number; sweeps without an
    answer are missing."""
    by_stamp = {reply.stamp_ns: reply.points["class_id"] for reply in played.replies}
    return {
        one.sweep: by_stamp[one.cloud.stamp_ns][one.usable]
        for one in shown
        if one.cloud.stamp_ns in by_stamp
    }


def _draw(cache: Cache, predictions: dict[int, np.ndarray], picture: Path) -> None:
    """The sweep with the most classes in it, predicted beside true."""
    chosen = max(predictions, key=lambda i: np.count_nonzero(cache.sweeps[i].class_counts))
    sweep = cache.sweep(chosen)
    plots.segmentation(
        sweep.points,
        [("predicted by the node", predictions[chosen]), ("true", sweep.label)],
        cache.taxonomy,
        picture,
    )


def _write_result(path: Path, evaluation: Evaluation, played: Replay, result: RunResult) -> None:
    document = {
        "scores": evaluation.to_json(),
        "labels_alone": result.baseline.to_json(),
        "distilled": result.distilled.to_json(),
        "shipped": result.choice.to_json(),
        "latency_ms": played.percentiles(),
        "frames": {
            "sent": played.sent,
            "labelled": len(played.replies),
            "replaced": played.replaced,
        },
        "cores": os.cpu_count(),
    }
    write_atomically(path, json.dumps(document, indent=2).encode())


def latency_table(played: Replay) -> Table:
    """Latency and frames, for the screen."""
    table = Table(title=f"the node at {RATE_HZ:.0f} Hz, message in to message out")
    for name in ("p50", "p95", "p99", "max", "frames in", "labelled", "replaced", "lost"):
        table.add_column(name, justify="right")
    lost = played.sent - len(played.replies) - played.replaced
    table.add_row(
        *(f"{value:.0f} ms" for value in played.percentiles().values()),
        *map(str, (played.sent, len(played.replies), played.replaced, lost)),
    )
    return table
