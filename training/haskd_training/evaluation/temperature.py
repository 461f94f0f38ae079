"""Calibrated probabilities: one temperature that divides a model's logits, and how far off its
probabilities are.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: sections 4.2 (temperature
scaling) and 2 (expected calibration error).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from torch import nn

from haskd_ros.errors import InputError
from haskd_ros.model_header import ModelMetadata
from haskd_ros.models.network import SegmentationNetwork
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.exchange import of_all
from haskd_training.core.processes import own
from haskd_training.data.caches.cache import Cache
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.learning.inference import network_input

RANGE = (0.05, 20.0)
"""Temperatures that are searched: a model without errors has its optimum at 0."""

BINS = 15

POINTS_PER_SWEEP = 5_000
"""Neighbouring points are nearly redundant; more of them don't improve the temperature."""

POINTS = 1_000_000
"""Of all sweeps together: their logits are held at once. Of more than 200 sweeps, fewer each."""


@dataclass(frozen=True)
class Reliability:
    """Predictions by their probability, in B bins of equal width over 0..1.

    Attributes:
        count: [B] predictions.
        probability: [B] their mean probability, NaN in an empty bin.
        accuracy: [B] share of them that is right, NaN in an empty bin.
    """

    count: np.ndarray
    probability: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of probability and accuracy over all
        predictions, 0..1; NaN without any."""
        filled = self.count > 0
        if not filled.any():
            return float("nan")
        distance = np.abs(self.accuracy[filled] - self.probability[filled])
        return float(np.average(distance, weights=self.count[filled]))

    def at_least(self, probability: float) -> tuple[float, float]:
        """Share of the predictions whose probability is at least that, and of those the share that
        is right, 0..1; NaN without any.

        Args:
            probability: an edge of the bins.
        """
        first = round(probability * len(self.count))
        count = self.count[first:]
        if not self.count.sum():
            return float("nan"), float("nan")
        share = float(count.sum() / self.count.sum())
        if not count.any():
            return share, float("nan")
        right = np.nansum(count * self.accuracy[first:]) / count.sum()
        return share, float(right)


@dataclass(frozen=True)
class TemperatureCalibration:
    """Result of `calibrate`. The errors are on the points that the temperature was fitted to; an
    unbiased figure needs other sweeps.

    Attributes:
        points: labelled points that were used.
        error_before, error_after: expected calibration error at temperature 1 and at this one.
    """

    temperature: float
    points: int
    error_before: float
    error_after: float


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T that minimises the cross-entropy of softmax(logits / T).

    The cross-entropy is convex in 1 / T, so it has one minimum along log T as well.

    Args:
        logits: [N, C].
        labels: [N] class ids, `UNLABELLED` left out.

    Returns:
        T within `RANGE`.

    Raises:
        InputError: no labelled point.
    """
    labelled = labels != UNLABELLED
    logits, labels = logits[labelled].astype(np.float64), labels[labelled].astype(np.int64)
    if not len(labels):
        raise InputError("no labelled point to fit a temperature to")
    true = logits[np.arange(len(labels)), labels]

    def cross_entropy(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float(np.mean(logsumexp(scale * logits, axis=1) - scale * true))

    minimum = minimize_scalar(
        cross_entropy, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-5}
    )
    return float(np.exp(minimum.x))


def reliability(probability: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Sort predictions by probability.

    Args:
        probability: [N] 0..1, of the predicted class.
        correct: [N] bool.
    """
    bin_index = np.minimum((probability * bins).astype(np.int64), bins - 1)
    count = np.bincount(bin_index, minlength=bins)
    empty = np.where(count > 0, count, np.nan)
    return Reliability(
        count,
        np.bincount(bin_index, probability, bins) / empty,
        np.bincount(bin_index, correct, bins) / empty,
    )


def expected_calibration_error(
    probability: np.ndarray, correct: np.ndarray, bins: int = BINS
) -> float:
    """`Reliability.error` of predictions, arguments as of `reliability`."""
    return reliability(probability, correct, bins).error


@torch.inference_mode()
def gather_logits(
    network: nn.Module,
    caches: Sequence[Cache],
    sweeps: Sequence[SweepRef],
    max_range: float,
    points_per_sweep: int = POINTS_PER_SWEEP,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """A network's logits on labelled points of whole sweeps, drawn at random. Several processes
    share the sweeps, and each gets the logits of all.

    Args:
        network: in eval mode, on its device.
        max_range: m; points further away are left out, as in training.
        points_per_sweep: at most.

    Returns:
        logits [N, C] float32 and labels [N] uint8.
    """
    device = next(network.parameters()).device
    logits: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for ref in own(sweeps):
        sweep = caches[ref.cache].sweep(ref.sweep)
        points, near = network_input(sweep, max_range)
        label = sweep.label[near]
        chosen = np.flatnonzero(label != UNLABELLED)
        if len(chosen) > points_per_sweep:
            generator = np.random.default_rng((seed, ref.cache, ref.sweep))
            chosen = generator.choice(chosen, points_per_sweep, replace=False)
        if not len(chosen):
            logits.append(np.zeros((0, 0), np.float32))
            labels.append(np.zeros((0, 1), np.uint8))
            continue
        scores = network(torch.from_numpy(points).to(device)).float()
        logits.append(scores[torch.from_numpy(chosen).to(device)].cpu().numpy())
        labels.append(label[chosen, None])
    logits = of_all(logits, len(sweeps), np.float32)
    labels = of_all(labels, len(sweeps), np.uint8)
    if not sum(map(len, labels)):
        raise InputError(f"none of {len(sweeps)} sweeps has a labelled point within {max_range} m")
    return np.concatenate([part for part in logits if len(part)]), np.concatenate(labels)[:, 0]


def calibrate(
    metadata: ModelMetadata,
    judges: Sequence[tuple[SegmentationNetwork, Sequence[SweepRef]]],
    caches: Sequence[Cache],
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> tuple[ModelMetadata, TemperatureCalibration]:
    """Fit the temperature of a model.

    Args:
        metadata: of the model.
        judges: networks in eval mode, and sweeps that they have not learned from: the model itself
            with its calibration sweeps, or out of fold those that stand for it, each with its part.
            They are moved to the device, their weights stay as they are.
        caches: that the sweeps are of.

    Returns:
        metadata with the temperature, and with the mean entropy that the node compares its own
        with; and the fit.

    Raises:
        InputError: no labelled point in the sweeps.
    """
    answers = []
    judged = sum(len(sweeps) for _, sweeps in judges)
    of_each = max(1, min(POINTS_PER_SWEEP, POINTS // max(judged, 1)))
    for network, sweeps in judges:
        network.to(device)
        answers.append(
            gather_logits(network, caches, sweeps, metadata.max_range, of_each, seed=seed)
        )
    logits, labels = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    temperature = fit_temperature(logits, labels)
    sensor = replace(metadata.sensor, entropy=mean_entropy(logits, temperature))
    return replace(metadata, temperature=temperature, sensor=sensor), TemperatureCalibration(
        temperature, len(labels), _error(logits, labels, 1.0), _error(logits, labels, temperature)
    )


def mean_entropy(logits: np.ndarray, temperature: float) -> float:
    """Of softmax(logits / temperature), in nats."""
    scaled = logits.astype(np.float64) / temperature
    log_p = scaled - logsumexp(scaled, axis=1, keepdims=True)
    return float(-(np.exp(log_p) * log_p).sum(1).mean())


def _error(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Expected calibration error of softmax(logits / temperature)."""
    scaled = logits.astype(np.float64) / temperature
    probability = np.exp(scaled.max(1) - logsumexp(scaled, axis=1))
    return expected_calibration_error(probability, logits.argmax(1) == labels)
