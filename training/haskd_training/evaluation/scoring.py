"""Scores of models on some sweeps of a split: in all, sweep by sweep for intervals, and how far
their probabilities can be trusted. Several processes share the sweeps, and each gets the scores of
all; progress counts this process's part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from haskd_ros import model_file
from haskd_ros.segmentation import Segmentation
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.exchange import of_all, sum_over_processes
from haskd_training.core.processes import own
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.caches.cache import Sweep
from haskd_training.data.corruptions import corrupted
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.evaluation.temperature import BINS, Reliability, reliability
from haskd_training.learning.inference import label_as_robot, predict
from haskd_training.metrics.confusion import Evaluation, confusion, evaluate

ClassPredictor = Callable[[SweepRef, Sweep], np.ndarray]
"""(reference, sweep of N points) -> class ids [N] uint8, 255 for none."""


def class_predictor(model: Path, device: torch.device) -> ClassPredictor:
    """Predictor of a model file, within its range.

    Raises:
        ModelFileError: not a model.
    """
    network, metadata = model_file.load(model)
    network.to(device)
    return lambda _, sweep: predict(network, sweep, metadata.max_range, device)


def sweep_confusions(
    predictor: ClassPredictor,
    split: Split,
    refs: Sequence[SweepRef],
    *,
    corruption: str | None = None,
    progress: Progress = no_progress,
) -> np.ndarray:
    """[S, C, C + 1] counts of each sweep, see `metrics.confusion.confusion`.

    Args:
        corruption: of `corruptions.CORRUPTIONS`, the same for every predictor; None: as recorded.
    """
    classes = len(split.taxonomy)
    counts = []
    numbers = own(range(len(refs)))
    for done, number in enumerate(numbers, 1):
        ref = refs[number]
        sweep = split.sweep(ref)
        if corruption is not None:
            mean = split.caches[ref.cache].missing_intensity
            sweep = corrupted(sweep, corruption, seed=number, mean_intensity=mean)
        counts.append(confusion(sweep.label, predictor(ref, sweep), classes))
        progress(done, len(numbers))
    return np.array(of_all(counts, len(refs), np.int64)).reshape(-1, classes, classes + 1)


def evaluate_sweeps(
    model: Path,
    split: Split,
    refs: Sequence[SweepRef],
    device: torch.device,
    progress: Progress = no_progress,
) -> Evaluation:
    """Score a model file, with its range, by class and distance.

    Raises:
        ModelFileError: not a model.
    """
    network, metadata = model_file.load(model)
    network.to(device)
    part = own(refs)

    def sweeps() -> Iterator[Sweep]:
        for number, ref in enumerate(part, 1):
            yield split.sweep(ref)
            progress(number, len(part))

    of_part = evaluate(
        lambda sweep: predict(network, sweep, metadata.max_range, device),
        sweeps(),
        split.taxonomy,
    )
    return replace(of_part, by_range=sum_over_processes(of_part.by_range), sweeps=len(refs))


class Answers(NamedTuple):
    """What a model says of n labelled points: probability [n] of the class, entropy [n] in nats,
    whether the class is right [n] bool."""

    probability: np.ndarray
    entropy: np.ndarray
    right: np.ndarray


def robot_answers(segmenter: Segmenter, split: Split, ref: SweepRef) -> Answers:
    """Of a sweep's labelled points, those that a robot labels."""
    said = label_as_robot(segmenter, split.caches[ref.cache], ref.sweep)
    return answers_of(said, split.sweep(ref).label)


def answers_of(said: Segmentation, true: np.ndarray) -> Answers:
    """Of the points [N] that have a label and get one.

    Args:
        true: [N] class ids, 255 for none.
    """
    counted = (true != UNLABELLED) & (said.class_id != UNLABELLED)
    right = said.class_id[counted] == true[counted]
    return Answers(said.probability[counted], said.entropy[counted], right)


def reliabilities(
    model: Path,
    split: Split,
    refs: Sequence[SweepRef],
    device: torch.device,
    progress: Progress = no_progress,
) -> tuple[Reliability, Reliability]:
    """The probabilities that a robot would publish of labelled points: at temperature 1, and at
    the model file's own.

    Raises:
        ModelFileError: not a model.
    """
    network, metadata = model_file.load(model)
    calibrated = Segmenter(network, metadata, str(device))
    raw = Segmenter(model_file.load(model)[0], replace(metadata, temperature=1.0), str(device))
    by_temperature: tuple[list[Reliability], list[Reliability]] = ([], [])
    part = own(refs)
    for number, ref in enumerate(part, 1):
        for segmenter, parts in zip((raw, calibrated), by_temperature):
            said = robot_answers(segmenter, split, ref)
            parts.append(reliability(said.probability, said.right))
        progress(number, len(part))
    return pooled(_of_all(by_temperature[0], refs)), pooled(_of_all(by_temperature[1], refs))


def _of_all(parts: Sequence[Reliability], refs: Sequence[SweepRef]) -> list[Reliability]:
    tables = [np.stack([part.count, part.probability, part.accuracy]) for part in parts]
    return [Reliability(*table) for table in of_all(tables, len(refs), np.float64)]


def pooled(parts: Sequence[Reliability]) -> Reliability:
    """The reliability of all predictions of the parts together."""
    counts = np.array([part.count for part in parts]).reshape(-1, BINS)
    total = counts.sum(0)

    def mean(values: Sequence[np.ndarray]) -> np.ndarray:
        weighted = np.where(counts > 0, np.reshape(values, counts.shape) * counts, 0).sum(0)
        means: np.ndarray = np.divide(weighted, total, out=np.full(BINS, np.nan), where=total > 0)
        return means

    return Reliability(
        total,
        mean([part.probability for part in parts]),
        mean([part.accuracy for part in parts]),
    )
