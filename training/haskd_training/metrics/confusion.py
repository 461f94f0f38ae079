"""Confusion counts of a model, and scores as pure functions of the counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from haskd_ros.taxonomy import UNLABELLED, Taxonomy
from haskd_training.data.caches.cache import Sweep
from haskd_training.metrics.protocols import ProtocolScore

RANGES_M = ((0.0, 20.0), (20.0, 40.0), (40.0, float("inf")))


def confusion(true: np.ndarray, predicted: np.ndarray, classes: int) -> NDArray[np.int64]:
    """Points by true class (row) and predicted class (column).

    Args:
        true: [N] uint8; `UNLABELLED` points are left out.
        predicted: [N] uint8; a point without a prediction counts in the extra last column, as a
            false negative.

    Returns:
        [C, C + 1] int64.
    """
    counted = true != UNLABELLED
    true, predicted = true[counted].astype(np.int64), predicted[counted].astype(np.int64)
    column = np.where(predicted == UNLABELLED, classes, predicted)
    cells = np.bincount(true * (classes + 1) + column, minlength=classes * (classes + 1))
    return cells.reshape(classes, classes + 1)


def iou(counts: np.ndarray) -> NDArray[np.float64]:
    """[C] intersection over union from [C, C + 1] counts; NaN for a class without true points,
    whose false positives already count as false negatives of other classes."""
    true_positives = np.diag(counts).astype(np.float64)
    true = counts.sum(1)
    union = true + counts.sum(0)[: len(counts)] - true_positives
    scores: NDArray[np.float64] = np.divide(
        true_positives, union, out=np.full(len(counts), np.nan), where=true > 0
    )
    return scores


def mean_iou(counts: np.ndarray) -> float:
    """Mean over the classes that have true points; NaN where none has."""
    scores = iou(counts)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def accuracy(counts: np.ndarray) -> float:
    """Share of the labelled points whose class is predicted correctly; NaN without points."""
    return float(np.trace(counts) / counts.sum()) if counts.sum() else float("nan")


@dataclass(frozen=True)
class Evaluation:
    """Counts of a model on some sweeps, in all and by distance from the sensor.

    Attributes:
        taxonomy: of the model.
        by_range: [R, C, C + 1] counts, R as in `RANGES_M`.
        sweeps: evaluated.
        protocol: the score by a benchmark's rule, where one was asked for.
    """

    taxonomy: Taxonomy
    by_range: NDArray[np.int64]
    sweeps: int
    protocol: ProtocolScore | None = None

    @property
    def counts(self) -> NDArray[np.int64]:
        """[C, C + 1] over all distances."""
        total: NDArray[np.int64] = self.by_range.sum(0)
        return total

    def to_json(self) -> dict[str, Any]:
        """Scores by name; a score that is not a number is null."""
        by_rule = {} if self.protocol is None else {"protocol": self.protocol.to_json()}
        return {
            "sweeps": self.sweeps,
            "points": int(self.counts.sum()),
            **_scores(self.counts, self.taxonomy),
            "by_range_m": {
                range_name(span): _scores(counts, self.taxonomy)
                for span, counts in zip(RANGES_M, self.by_range)
            },
            "confusion": self.counts.tolist(),
            "classes": list(self.taxonomy.names),
            **by_rule,
        }


def range_name(span: tuple[float, float]) -> str:
    low, high = span
    return f"{low:.0f}+" if np.isinf(high) else f"{low:.0f}-{high:.0f}"


def number_or_null(value: float) -> float | None:
    """A score as JSON has it."""
    return None if np.isnan(value) else float(value)


def _scores(counts: np.ndarray, taxonomy: Taxonomy) -> dict[str, Any]:
    return {
        "miou": number_or_null(mean_iou(counts)),
        "accuracy": number_or_null(accuracy(counts)),
        "iou": {name: number_or_null(value) for name, value in zip(taxonomy.names, iou(counts))},
    }


def evaluate(
    predict: Callable[[Sweep], np.ndarray], sweeps: Iterable[Sweep], taxonomy: Taxonomy
) -> Evaluation:
    """Confusion counts of a model on labelled sweeps.

    Args:
        predict: sweep of N points -> class ids [N] uint8, 255 for none.
        sweeps: labelled.
    """
    answers = (Predicted(sweep.points, sweep.label, predict(sweep)) for sweep in sweeps)
    return evaluate_predicted(answers, taxonomy)


class Predicted(NamedTuple):
    """Points [N, >= 3] x y z in m, their true and their predicted class ids [N] uint8."""

    points: np.ndarray
    true: np.ndarray
    predicted: np.ndarray


def evaluate_predicted(sweeps: Iterable[Predicted], taxonomy: Taxonomy) -> Evaluation:
    """Confusion counts of predictions that have been made."""
    classes = len(taxonomy)
    by_range = np.zeros((len(RANGES_M), classes, classes + 1), np.int64)
    number = 0
    for points, true, predicted in sweeps:
        distance = np.linalg.norm(points[:, :3], axis=1)
        for row, (low, high) in enumerate(RANGES_M):
            inside = (distance >= low) & (distance < high)
            by_range[row] += confusion(true[inside], predicted[inside], classes)
        number += 1
    return Evaluation(taxonomy, by_range, number)
