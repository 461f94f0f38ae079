"""Scores of models on some sweeps of a split: in all, sweep by sweep for intervals, and how far
their probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from haskd_ros import model_file
from haskd_ros.segmenter import Segmentation, Segmenter
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.cache import Sweep
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
    return lambda _, sweep: predict(network, sweep.points, metadata.max_range, device)


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
    counts = np.zeros((len(refs), classes, classes + 1), np.int64)
    for number, ref in enumerate(refs):
        sweep = split.sweep(ref)
        if corruption is not None:
            mean = split.caches[ref.cache].missing_intensity
            sweep = corrupted(sweep, corruption, seed=number, mean_intensity=mean)
        counts[number] = confusion(sweep.label, predictor(ref, sweep), classes)
        progress(number + 1, len(refs))
    return counts


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

    def sweeps() -> Iterator[Sweep]:
        for number, ref in enumerate(refs, 1):
            yield split.sweep(ref)
            progress(number, len(refs))

    return evaluate(
        lambda points: predict(network, points, metadata.max_range, device),
        sweeps(),
        split.taxonomy,
    )


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
    for number, ref in enumerate(refs, 1):
        for segmenter, parts in zip((raw, calibrated), by_temperature):
            said = robot_answers(segmenter, split, ref)
            parts.append(reliability(said.probability, said.right))
        progress(number, len(refs))
    return pooled(by_temperature[0]), pooled(by_temperature[1])


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
