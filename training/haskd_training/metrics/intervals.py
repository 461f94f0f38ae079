"""Confidence intervals of the difference between two rows of a table, over seeds and sweeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from haskd_training.metrics.confusion import number_or_null

LEVEL = 0.95
RESAMPLES = 2000
COMMON_SHARE = 0.001


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval at `LEVEL`; low and high are NaN where one run alone
    gives no variance."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Both ends are on one side of zero."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> list[float | None]:
        """mean, low, high"""
        return [number_or_null(value) for value in (self.mean, self.low, self.high)]


def common_classes(counts: np.ndarray, share: float = COMMON_SHARE) -> NDArray[np.bool_]:
    """[C] bool: the classes with at least `share` of the labelled points.

    Args:
        counts: [C] labelled test points of each class.
    """
    counts = np.asarray(counts)
    common: NDArray[np.bool_] = (counts > 0) & (counts >= share * counts.sum())
    return common


def mean_iou_of(counts: np.ndarray, classes: np.ndarray | None = None) -> NDArray[np.float64]:
    """mIoU [...] of confusions [..., C, C + 1] over those of `classes` (all by default) that have
    true points: `metrics.confusion.mean_iou` for many tables at once. NaN where none has.

    Args:
        classes: [C] bool.
    """
    counts = np.asarray(counts)
    return _mean_iou(_iou_parts(counts), _chosen(classes, counts.shape[-2]))


def paired_interval(differences: Sequence[float]) -> Interval:
    """Mean and Student's t interval of the differences of paired runs.

    Args:
        differences: [n], one per seed. One alone has no interval.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return Interval(float(values.mean()), float("nan"), float("nan"))
    margin = _t(len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return Interval(
        float(values.mean()), float(values.mean() - margin), float(values.mean() + margin)
    )


def seeds_and_sweeps_interval(
    row: np.ndarray,
    reference: np.ndarray,
    *,
    classes: np.ndarray | None = None,
    block: int = 1,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of the gain in mIoU of `row` over `reference`, over seeds and sweeps.

    The mean gain varies with the seeds, of which few were trained, and with the test sweeps, which
    are many. The variance over seeds is that of the paired differences, s^2 / n, the variance over
    sweeps that of the bootstrap, in which all seeds get the same resampled sweeps, as all models
    share one test set. The interval is Student's t of their sum with Satterthwaite's degrees of
    freedom ("An Approximate Distribution of Estimates of Variance Components", 1946), with the
    bootstrap's variance treated as exact. Resampling the seeds by the bootstrap as well would be
    too narrow: of three seeds it estimates two thirds of the variance, and uses the normal quantile
    instead of Student's t.

    Args:
        row, reference: [seeds, sweeps, C, C + 1] counts of each test sweep, sweeps in time order.
        classes: [C] bool, those that the mIoU is averaged over; all by default.
        block: consecutive sweeps that are resampled together: neighbours show nearly the same
            scene, and resampled one by one they give too narrow an interval.

    Returns:
        mean: the gain on the original sweeps, not that of the resamples. One seed alone has no
            interval.

    Raises:
        ValueError: shapes that differ, or counts of different points.
    """
    row, reference = np.asarray(row), np.asarray(reference)
    if row.shape != reference.shape or row.ndim != 4:
        raise ValueError(
            f"counts must be two of [seeds, sweeps, C, C + 1], are {row.shape}, {reference.shape}"
        )
    _check_same_points(row, reference)
    chosen = _chosen(classes, row.shape[2])
    differences = mean_iou_of(row.sum(1), chosen) - mean_iou_of(reference.sum(1), chosen)
    mean, seeds = float(differences.mean()), len(differences)
    if seeds < 2:
        return Interval(mean, float("nan"), float("nan"))
    sweep_weights = _bootstrap_weights(np.random.default_rng(seed), resamples, row.shape[1], block)

    def resampled(counts: np.ndarray) -> NDArray[np.float64]:
        """[resamples] mIoU, mean over the seeds."""
        by_seed = [
            _mean_iou(_IouParts(*(sweep_weights @ part for part in _iou_parts(table))), chosen)
            for table in counts
        ]
        mean_over_seeds: NDArray[np.float64] = np.mean(by_seed, axis=0)
        return mean_over_seeds

    over_seeds = float(differences.var(ddof=1)) / seeds
    over_sweeps = float(np.nanvar(resampled(row) - resampled(reference)))
    total = over_seeds + over_sweeps
    freedom = (seeds - 1) * (total / over_seeds) ** 2 if over_seeds else np.inf
    margin = _t(freedom) * np.sqrt(total)
    return Interval(mean, mean - margin, mean + margin)


def _check_same_points(row: np.ndarray, reference: np.ndarray) -> None:
    if not np.array_equal(row.sum(-1), reference.sum(-1)):
        raise ValueError("the two rows were not counted on the same points")


def _bootstrap_weights(
    generator: np.random.Generator, resamples: int, count: int, block: int
) -> NDArray[np.float64]:
    """[resamples, count] how often each of `count` consecutive items is drawn, `count` draws in
    all, in blocks that wrap around at the end."""
    starts = generator.integers(count, size=(resamples, -(-count // block)))
    drawn = (starts[..., None] + np.arange(block)).reshape(resamples, -1)[:, :count] % count
    rows = np.arange(resamples)[:, None] * count
    weights = np.bincount((rows + drawn).ravel(), minlength=resamples * count)
    return weights.reshape(resamples, count).astype(np.float64)


def _chosen(classes: np.ndarray | None, count: int) -> NDArray[np.bool_]:
    return np.ones(count, bool) if classes is None else np.asarray(classes, bool)


class _IouParts(NamedTuple):
    """Points by class, each [..., C]: predicted correctly, of that true class, predicted as it."""

    true_positives: np.ndarray
    true: np.ndarray
    predicted: np.ndarray


def _iou_parts(counts: np.ndarray) -> _IouParts:
    """Of confusions [..., C, C + 1]."""
    true_positives = np.diagonal(counts, axis1=-2, axis2=-1)
    predicted = counts.sum(-2)[..., : true_positives.shape[-1]]
    return _IouParts(true_positives, counts.sum(-1), predicted)


def _mean_iou(parts: _IouParts, chosen: np.ndarray) -> NDArray[np.float64]:
    """mIoU [...] over chosen classes with true points; see `metrics.confusion.iou`."""
    counted = chosen & (parts.true > 0)
    union = np.where(counted, parts.true + parts.predicted - parts.true_positives, 1)
    number = counted.sum(-1)
    total = np.where(counted, parts.true_positives / union, 0).sum(-1)
    mean: NDArray[np.float64] = np.divide(
        total, number, out=np.full(np.shape(number), np.nan), where=number > 0
    )
    return mean


def drives_and_seeds_interval(
    row: np.ndarray,
    reference: np.ndarray,
    folds: Sequence[int],
    *,
    pooled: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of the gain in mIoU of `row` over `reference` on drives that no training saw.

    A hierarchical bootstrap (Davison and Hinkley, "Bootstrap methods and their application", 1997,
    section 3.8): drives are drawn, and of each its fold's seeds; drives of one fold were scored by
    the same trainings, so they get the same seeds. Of few drives the bootstrap estimates
    (D - 1) / D of their variance, which is made up for; the interval is Student's t with D - 1
    degrees of freedom.

    Args:
        row, reference: [D, seeds, C, C + 1] counts of each drive, paired by seed.
        folds: [D] number of the fold that a drive is of.
        pooled: gain of the mIoU over the points of all drives together; else the mean over drives
            of the gain over the classes that are there.

    Returns:
        mean: the gain on the original drives and seeds. One drive alone has no interval.

    Raises:
        ValueError: shapes that differ, or counts of different points.
    """
    row, reference = np.asarray(row), np.asarray(reference)
    if row.shape != reference.shape or row.ndim != 4 or len(folds) != len(row):
        raise ValueError(
            f"counts must be two of [drives, seeds, C, C + 1], are {row.shape}, {reference.shape} "
            f"of {len(folds)} drives"
        )
    _check_same_points(row, reference)
    drives, seeds = row.shape[:2]
    _, fold_of = np.unique(np.asarray(folds), return_inverse=True)
    by_drive = mean_iou_of(row) - mean_iou_of(reference)  # [D, seeds]

    def gain(drive: np.ndarray, seed_of: np.ndarray) -> float:
        """Of drives [D] and the seeds of each [D, seeds]."""
        if not pooled:
            return float(by_drive[drive[:, None], seed_of].mean())
        one, other = (counts[drive[:, None], seed_of].sum(0) for counts in (row, reference))
        return float((mean_iou_of(one) - mean_iou_of(other)).mean())

    mean = gain(np.arange(drives), np.tile(np.arange(seeds), (drives, 1)))
    if drives < 2:
        return Interval(mean, float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        drive = generator.integers(drives, size=(drives,))
        of_fold = generator.integers(seeds, size=(fold_of.max() + 1, seeds))
        found.append(gain(drive, of_fold[fold_of[drive]]))
    margin = _t(drives - 1) * math.sqrt(np.var(found) * drives / (drives - 1))
    return Interval(mean, mean - margin, mean + margin)


def _t(freedom: float) -> float:
    """Student's t of so many degrees of freedom that `LEVEL` lies within, either way. Not by
    scipy.stats, which takes as long to load as all else of scipy."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))
