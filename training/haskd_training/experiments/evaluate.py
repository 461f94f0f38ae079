"""`haskd evaluate`: a model file on a cache, as a table, JSON and plots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.table import Table

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.segmenter import Segmenter
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.cache import Cache, Sweep
from haskd_training.data.sweep_ref import within_range
from haskd_training.learning.inference import label_as_robot
from haskd_training.metrics.confusion import (
    RANGES_M,
    Evaluation,
    accuracy,
    evaluate,
    iou,
    mean_iou,
    range_name,
)
from haskd_training.reports import plots


def evaluate_model(
    model: Path,
    cache_path: Path,
    out: Path | None = None,
    device: str = "auto",
    max_range: float | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Label every sweep of a cache as the robot would, and compare with its labels.

    Args:
        model: model file.
        cache_path: folder made by `prepare`, with the model's classes.
        out: folder for evaluation.json, confusion.png and iou_by_range.png; None writes nothing.
        device: as of `Segmenter.load`.
        max_range: m; true points further away are left out of the count. By default none is: a
            point beyond the model's own range counts as missed.

    Raises:
        InputError: model or cache can't be read, their classes differ, or there are no labels.
    """
    segmenter = Segmenter.load(model, device=device)
    cache = Cache.open(cache_path)
    if segmenter.taxonomy.names != cache.taxonomy.names:
        raise InputError(
            f"model {model} has the classes {', '.join(segmenter.taxonomy.names)}; "
            f"cache {cache_path} has {', '.join(cache.taxonomy.names)}"
        )
    if not any(sum(row.class_counts) for row in cache.sweeps):
        raise InputError(f"cache {cache_path} has no labels to compare with")

    def sweeps() -> Iterator[Sweep]:
        for number in range(len(cache)):
            sweep = cache.sweep(number)
            yield sweep if max_range is None else _crop(sweep, max_range)
            progress(number + 1, len(cache))

    evaluation = evaluate(
        lambda points: label_as_robot(segmenter, points).class_id, sweeps(), segmenter.taxonomy
    )
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out} can't be written: {error.strerror}") from error
        document = {"model": str(model), "cache": str(cache_path), "max_range": max_range}
        document |= evaluation.to_json()
        write_atomically(out / "evaluation.json", json.dumps(document, indent=2).encode())
        plots.confusion_matrix(evaluation, out / "confusion.png")
        plots.iou_by_range(evaluation, out / "iou_by_range.png")
    return evaluation


def _crop(sweep: Sweep, max_range: float) -> Sweep:
    near = within_range(sweep.points, max_range)
    return Sweep(
        sweep.points[near], sweep.time[near], sweep.label[near], sweep.stamp_ns, sweep.recording
    )


def table(evaluation: Evaluation) -> Table:
    """Scores in percent, for the screen."""
    result = Table(title=f"IoU in % over {evaluation.sweeps} sweeps")
    result.add_column("class")
    names = ["all", *(f"{range_name(span)} m" for span in RANGES_M), "points"]
    for name in names:
        result.add_column(name, justify="right")
    parts = [evaluation.counts, *evaluation.by_range]
    scores = [iou(counts) for counts in parts]
    points = evaluation.counts.sum(1)
    for row, name in enumerate(evaluation.taxonomy.names):
        result.add_row(name, *(_percent(score[row]) for score in scores), f"{points[row]:,}")
    result.add_section()
    result.add_row("mIoU", *(_percent(mean_iou(counts)) for counts in parts), "", style="bold")
    result.add_row(
        "accuracy", *(_percent(accuracy(counts)) for counts in parts), f"{points.sum():,}"
    )
    return result


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"
