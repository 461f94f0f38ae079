"""`haskd demo`: the whole path in one go, from a bag to labelled clouds on a live topic."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from haskd_ros.errors import InputError
from haskd_training import plots
from haskd_training.bags import open_bag, stamp_ns
from haskd_training.baseline import BaselineConfig, BaselineResult, baseline, parts
from haskd_training.cache import Cache
from haskd_training.evaluation import Evaluation, evaluate
from haskd_training.loop import LoopConfig
from haskd_training.node_client import RecordedCloud, Replay, replay
from haskd_training.prepare import PrepareConfig, prepare
from haskd_training.recording import Recording, scan
from haskd_training.shards import write_atomically
from haskd_training.simulation import SimulationConfig, simulate

log = logging.getLogger(__name__)

RATE_HZ = 10.0

SIMULATION = SimulationConfig(duration_s=30.0)
TRAINING = BaselineConfig(
    test_fraction=0.2, loop=LoopConfig(epochs=8, batch_size=4, learning_rate=6e-3)
)

Steps = Callable[[str], AbstractContextManager[Callable[..., None]]]
"""Shows a step while it runs: title -> context that yields a progress callback."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        evaluation: of the labelled clouds that came back from the node.
        replay: how they came back.
        training: how the model was trained.
        picture: PNG of one held-out sweep.
    """

    evaluation: Evaluation
    replay: Replay
    training: BaselineResult
    picture: Path


def demo(
    out: Path,
    bag: Path | None,
    labels: str | None,
    steps: Steps,
    training: BaselineConfig = TRAINING,
) -> DemoResult:
    """Bag in, labelled live clouds out. Steps that an earlier call finished are not repeated.

    Args:
        out: folder for the bag, the cache, the run and the picture.
        bag: a recorded bag; None simulates one.
        labels: label map of `bag`: a file, or the name of one that ships.
        steps: shows the progress.
        training: how the student is trained; its test part is what the node is shown.

    Raises:
        InputError: of any of the steps.
    """
    if bag is None:
        bag, labels = out / "bag", "simulation"
        if not bag.exists():
            with steps("simulating a drive") as progress:
                simulate(bag, SIMULATION, progress)
    elif labels is None:
        raise InputError("a bag of your own needs its label map too: LABELS=path or a shipped name")
    work = out / bag.resolve().name
    with steps("preparing the bag") as progress:
        prepare([bag], labels, work / "cache", PrepareConfig(), progress)
    with steps("training the student") as progress:
        trained = baseline([work / "cache"], work / "run", training, progress=progress)
    cache = Cache.open(work / "cache")
    held_out = [place.sweep for place in parts([cache], training)["test"]]
    if not held_out:
        raise InputError("the training settings leave no test sweeps; set test_fraction above 0")
    with steps("playing held-out sweeps to the node"):
        clouds = recorded_clouds(scan(bag, bag.name, PrepareConfig()), cache, held_out)
        played = replay(trained.model, clouds, RATE_HZ, work / "node.log")
    if not played.replies:
        raise InputError(f"the node labelled no cloud; see {work / 'node.log'}")
    evaluation = _score(cache, held_out, played)
    picture = out / "segmentation.png"
    with steps("drawing"):
        _draw(cache, held_out, played, picture)
    _write_result(work / "demo.json", evaluation, played, trained)
    return DemoResult(evaluation, played, trained, picture)


def recorded_clouds(recording: Recording, cache: Cache, sweeps: list[int]) -> list[RecordedCloud]:
    """The bag's own messages of some sweeps of a cache, in time order."""
    wanted = {cache.sweeps[i].stamp_ns for i in sweeps}
    with open_bag(recording.path) as bag:
        return [
            RecordedCloud(stamp_ns(message), cdr)
            for message, cdr in bag.messages_with_cdr(recording.points_topic)
            if stamp_ns(message) in wanted
        ]


def _predictions(cache: Cache, sweeps: list[int], played: Replay) -> dict[int, np.ndarray]:
    """Class ids [N] of the node, by sweep number; sweeps without an answer are missing.

    The cache leaves out points that are not finite, the node's cloud keeps every point.
    """
    by_stamp = {reply.stamp_ns: reply.points for reply in played.replies}
    found = {}
    for i in sweeps:
        answer = by_stamp.get(cache.sweeps[i].stamp_ns)
        if answer is not None:
            xyz = np.stack([answer[axis] for axis in "xyz"], 1)
            labels = answer["class_id"][np.isfinite(xyz).all(1)]
            if len(labels) != cache.sweeps[i].points:
                raise InputError(
                    f"the node answered sweep {i} with {len(labels)} points, "
                    f"the cache has {cache.sweeps[i].points}"
                )
            found[i] = labels
    return found


def _score(cache: Cache, sweeps: list[int], played: Replay) -> Evaluation:
    predictions = _predictions(cache, sweeps, played)
    answers = iter(predictions.values())
    return evaluate(lambda _: next(answers), (cache.sweep(i) for i in predictions), cache.taxonomy)


def _draw(cache: Cache, sweeps: list[int], played: Replay, picture: Path) -> None:
    """The sweep with the most classes in it, predicted beside true."""
    predictions = _predictions(cache, sweeps, played)
    chosen = max(predictions, key=lambda i: np.count_nonzero(cache.sweeps[i].class_counts))
    sweep = cache.sweep(chosen)
    plots.segmentation(
        sweep.points,
        [("predicted by the node", predictions[chosen]), ("true", sweep.label)],
        cache.taxonomy,
        picture,
    )


def _write_result(
    path: Path, evaluation: Evaluation, played: Replay, training: BaselineResult
) -> None:
    document = {
        "scores": evaluation.to_json(),
        "latency_ms": played.percentiles(),
        "frames": {
            "sent": played.sent,
            "returned": len(played.replies),
            "replaced": played.replaced,
        },
        "training_seconds": training.seconds,
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
