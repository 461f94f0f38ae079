"""How sure a difference between two rows of a table is: intervals over seeds and over sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 2000
COMMON_SHARE = 0.001


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that holds the true value at `LEVEL`; low and high are NaN where
    there is nothing to tell them from."""

    mean: float
    low: float
    high: float

    @property
    def clear_of_zero(self) -> bool:
        """Both ends are on one side of zero."""
        return self.low > 0 or self.high < 0


def common_classes(counts: np.ndarray, share: float = COMMON_SHARE) -> np.ndarray:
    """[C] bool: the classes with at least `share` of the labelled points.

    Args:
        counts: [C] labelled test points of each class.
    """
    counts = np.asarray(counts)
    return (counts > 0) & (counts >= share * counts.sum())


def mean_iou_of(counts: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """mIoU [...] of confusions [..., C, C + 1] over those of `classes` (all by default) that have
    true points: `metrics.confusion.mean_iou` for many tables at once. NaN where none has.

    Args:
        classes: [C] bool.
    """
    counts = np.asarray(counts)
    return _mean(*_iou_parts(counts), _chosen(classes, counts.shape[-2]))


def paired_interval(differences: Sequence[float]) -> Interval:
    """Mean and Student's t interval of the differences of paired runs.

    Args:
        differences: [n] one a seed. Of one alone there is no interval.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return Interval(float(values.mean()), float("nan"), float("nan"))
    margin = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * stats.sem(values)
    return Interval(
        float(values.mean()), float(values.mean() - margin), float(values.mean() + margin)
    )


def seeds_and_sweeps_interval(
    row: np.ndarray,
    reference: np.ndarray,
    classes: np.ndarray | None = None,
    block: int = 1,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of the gain in mIoU of `row` over `reference`, over seeds and sweeps.

    Two things make the mean gain vary: other seeds, of which few were trained, and other sweeps,
    which are many. The variance of the first is that of the paired differences, s^2 / n, of the
    second that of the bootstrap over sweeps, all seeds seeing the drawn ones, as all models were
    tried on one test set. The interval is Student's t of their sum with Satterthwaite's degrees of
    freedom ("An Approximate Distribution of Estimates of Variance Components", 1946), the
    bootstrap's variance taken as known. Drawing seeds by the bootstrap as well would not do: of
    three it finds two thirds of the variance, and the normal quantile in the place of t's.

    Args:
        row, reference: [seeds, sweeps, C, C + 1] counts of each test sweep, sweeps in time order.
        classes: [C] bool, those that the mIoU is taken over; all by default.
        block: so many sweeps in a row are drawn together: neighbours show nearly the same scene,
            and drawn one by one they make the interval narrower than it is.

    Returns:
        mean: the gain on the sweeps as they are, not that of the resamples. Of one seed alone
            there is no interval.

    Raises:
        ValueError: shapes that differ, or counts of different points.
    """
    row, reference = np.asarray(row), np.asarray(reference)
    if row.shape != reference.shape or row.ndim != 4:
        raise ValueError(
            f"counts must be two of [seeds, sweeps, C, C + 1], are {row.shape}, {reference.shape}"
        )
    if not np.array_equal(row.sum(-1), reference.sum(-1)):
        raise ValueError("the two rows were not counted on the same points")
    chosen = _chosen(classes, row.shape[2])
    differences = mean_iou_of(row.sum(1), chosen) - mean_iou_of(reference.sum(1), chosen)
    mean, seeds = float(differences.mean()), len(differences)
    if seeds < 2:
        return Interval(mean, float("nan"), float("nan"))
    sweep_weights = _draws(np.random.default_rng(seed), resamples, row.shape[1], block)

    def resampled(counts: np.ndarray) -> np.ndarray:
        """[resamples] mIoU, mean over the seeds."""
        by_seed = [
            _mean(*(sweep_weights @ part for part in _iou_parts(table)), chosen) for table in counts
        ]
        return np.mean(by_seed, axis=0)

    over_seeds = float(differences.var(ddof=1)) / seeds
    over_sweeps = float(np.nanvar(resampled(row) - resampled(reference)))
    total = over_seeds + over_sweeps
    freedom = (seeds - 1) * (total / over_seeds) ** 2 if over_seeds else np.inf
    margin = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(total)
    return Interval(mean, mean - margin, mean + margin)


def _draws(generator: np.random.Generator, resamples: int, count: int, block: int) -> np.ndarray:
    """[resamples, count] how often each of `count` things in a row is drawn, `count` in all: whole
    blocks, which may run over the end and go on at the beginning."""
    starts = generator.integers(count, size=(resamples, -(-count // block)))
    places = (starts[..., None] + np.arange(block)).reshape(resamples, -1)[:, :count] % count
    rows = np.arange(resamples)[:, None] * count
    weights = np.bincount((rows + places).ravel(), minlength=resamples * count)
    return weights.reshape(resamples, count).astype(np.float64)


def _chosen(classes: np.ndarray | None, count: int) -> np.ndarray:
    return np.ones(count, bool) if classes is None else np.asarray(classes, bool)


def _iou_parts(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, true and called points, each [..., C], of confusions [..., C, C + 1]."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return hits, counts.sum(-1), counts.sum(-2)[..., : hits.shape[-1]]


def _mean(hits: np.ndarray, true: np.ndarray, called: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """mIoU [...] over chosen classes with true points; see `metrics.confusion.iou`."""
    counted = chosen & (true > 0)
    union = np.where(counted, true + called - hits, 1)
    number = counted.sum(-1)
    total = np.where(counted, hits / union, 0).sum(-1)
    return np.divide(total, number, out=np.full(np.shape(number), np.nan), where=number > 0)
