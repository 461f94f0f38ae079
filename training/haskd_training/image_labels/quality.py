"""How much of the points images label, and what share of it is right where humans labelled too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from haskd_ros.taxonomy import UNLABELLED, Taxonomy
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.label_sets import LabelSets
from haskd_training.data.caches.point_labels import PointLabels

SHARES = (0.2, 0.4, 0.6, 0.8)
"""Of all points, the surest first: where the curve is told."""

_LEVELS = 256
"""Of confidence, as labels are stored."""


@dataclass(frozen=True)
class CurvePoint:
    """Of the surest labels, as many as are a share of all points: the share that is right, as sets
    and by their likeliest class; None where fewer points are labelled."""

    share: float
    sets: float | None
    strict: float | None


@dataclass(frozen=True)
class ClassQuality:
    """Of the points that humans gave a class; None where there are none to divide by.

    Attributes:
        points: of the class.
        seen: share of them whose place an image shows.
        labelled: share of them that has a label.
        precision: of the points whose likeliest class it is, the share that is of the class.
        set_precision: of the same points, the share whose set holds their human label.
        recall: of the labelled points of the class, the share whose likeliest class it is.
        set_recall: of the same points, the share whose set holds it.
    """

    name: str
    points: int
    seen: float | None
    labelled: float | None
    precision: float | None
    set_precision: float | None
    recall: float | None
    set_recall: float | None


class LabelQuality:
    """Counts of labels from images, of one sweep after another.

    Attributes:
        counts: [256, C + 1] points by label id and human class; the last column is of those that
            have none.
        seen: [C + 1] of them, points whose place an image shows.
    """

    def __init__(self, taxonomy: Taxonomy, sets: LabelSets) -> None:
        self.taxonomy, self.sets = taxonomy, sets
        classes = len(taxonomy)
        self.counts = np.zeros((UNLABELLED + 1, classes + 1), np.int64)
        self.seen = np.zeros(classes + 1, np.int64)
        # By level of confidence: points with both labels, right as sets, right strictly.
        self._levels = np.zeros((3, _LEVELS), np.int64)

    def add(
        self, label: np.ndarray, confidence: np.ndarray, seen: np.ndarray, human: np.ndarray
    ) -> None:
        """Count the points of a sweep.

        Args:
            label: [N] ids of the sets.
            confidence: [N] 0..1.
            seen: [N] bool.
            human: [N] class ids, `UNLABELLED` where no human labelled.
        """
        classes = len(self.taxonomy)
        column = np.where(human < classes, human, classes).astype(np.int64)
        flat = label.astype(np.int64) * (classes + 1) + column
        self.counts += np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)
        self.seen += np.bincount(column[seen], minlength=classes + 1)
        both = (label != UNLABELLED) & (column < classes)
        level = np.rint(confidence[both] * (_LEVELS - 1)).astype(np.int64)
        in_set = self.sets.table[label[both], column[both]]
        strict = self.sets.likeliest(label[both]) == column[both]
        for row, right in zip(self._levels, (None, in_set, strict), strict=True):
            row += np.bincount(level, right, _LEVELS).astype(np.int64)

    @property
    def points(self) -> int:
        """All points."""
        return int(self.counts.sum())

    @property
    def has_human_labels(self) -> bool:
        """Whether a point has labels of both kinds."""
        return bool(self._levels[0].any())

    @property
    def seen_share(self) -> float:
        """Of all points, those whose place an image shows."""
        return int(self.seen.sum()) / max(1, self.points)

    @property
    def labelled_share(self) -> float:
        """Of all points, those with a label."""
        return int(self.counts[:UNLABELLED].sum()) / max(1, self.points)

    def right(self) -> CurvePoint:
        """Of all labels of points that humans labelled too."""
        total, in_set, strict = self._levels.sum(1).tolist()
        of_human = max(1, int(self.counts[:, :-1].sum()))
        return CurvePoint(total / of_human, _ratio(in_set, total), _ratio(strict, total))

    def curve(self, shares: Sequence[float] = SHARES) -> list[CurvePoint]:
        """Right against share of the points that humans labelled, the surest labels first. Of
        labels that are equally sure each counts in part."""
        cumulated = np.cumsum(self._levels[:, ::-1], 1)
        of_human = int(self.counts[:, :-1].sum())
        found = []
        for share in shares:
            wanted = share * of_human
            if not 0 < wanted <= cumulated[0, -1]:
                found.append(CurvePoint(share, None, None))
                continue
            sets, strict = (
                float(np.interp(wanted, [0, *cumulated[0]], [0, *right])) / wanted
                for right in cumulated[1:]
            )
            found.append(CurvePoint(share, sets, strict))
        return found

    def label_counts(self) -> np.ndarray:
        """[C] labelled points by their likeliest class."""
        counts: np.ndarray = self._by_likeliest(self.counts).sum(1)
        return counts

    def classes(self) -> list[ClassQuality]:
        """Of each class of the label map."""
        classes = len(self.taxonomy)
        human = self.counts[:, :classes]
        labelled = human[:UNLABELLED].sum(0)
        strict = self._by_likeliest(human)
        members = self.sets.table
        by_set = self._by_likeliest(np.where(members, human, 0))
        found = []
        for number, name in enumerate(self.taxonomy.names):
            points, called = int(human[:, number].sum()), int(strict[number].sum())
            own, mine = int(labelled[number]), int(strict[number, number])
            found.append(
                ClassQuality(
                    name=name,
                    points=points,
                    seen=_ratio(int(self.seen[number]), points),
                    labelled=_ratio(own, points),
                    precision=_ratio(mine, called),
                    set_precision=_ratio(int(by_set[number].sum()), called),
                    recall=_ratio(mine, own),
                    set_recall=_ratio(int(human[members[:, number], number].sum()), own),
                )
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """What is worth keeping beside the labels, in plain values."""
        shares: dict[str, Any] = {
            "points": self.points,
            "seen": round(self.seen_share, 4),
            "labelled": round(self.labelled_share, 4),
        }
        if self.has_human_labels:
            shares["right"] = [
                {
                    "share": round(one.share, 4),
                    "sets": _rounded(one.sets),
                    "strict": _rounded(one.strict),
                }
                for one in (*self.curve(), self.right())
            ]
        return shares

    def _by_likeliest(self, counts: np.ndarray) -> np.ndarray:
        """[C, M] sums of counts [256, M] over the label ids with the same likeliest class."""
        summed = np.zeros((len(self.taxonomy), counts.shape[1]), np.int64)
        ids = np.arange(len(self.sets))
        np.add.at(summed, self.sets.likeliest(ids), counts[ids])
        return summed


def measure(
    caches: Sequence[Cache], labels: PointLabels, progress: Progress = no_progress
) -> LabelQuality:
    """Compare labels from images with the human labels of prepared recordings, where there are
    some.

    Raises:
        InputError: the labels of a sweep are missing, damaged or of another number of points.
    """
    quality = LabelQuality(labels.taxonomy, labels.sets)
    total, done = sum(map(len, caches)), 0
    for cache in caches:
        for i, row in enumerate(cache.sweeps):
            human = cache.sweep(i).label
            label, confidence = labels.with_confidence(row.recording, row.stamp_ns, len(human))
            seen = labels.seen(row.recording, row.stamp_ns)
            quality.add(label, confidence, seen, human)
            done += 1
            progress(done, total)
    return quality


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
