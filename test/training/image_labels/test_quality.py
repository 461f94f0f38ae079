"""How much is labelled and right, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from haskd_ros.taxonomy import UNLABELLED, ClassInfo, Taxonomy
from haskd_training.data.caches.label_sets import LabelSets
from haskd_training.image_labels.quality import CurvePoint, LabelQuality

TAXONOMY = Taxonomy(tuple(ClassInfo(name, (i, i, i)) for i, name in enumerate(("a", "b", "c"))))
A, B, C, A_OR_B = range(4)
NONE = UNLABELLED

# label, confidence, seen, human
POINTS = [
    (A, 1.0, 1, A),
    (A_OR_B, 1.0, 1, B),
    (A_OR_B, 0.8, 1, A),
    (A, 0.6, 1, B),
    (B, 0.4, 1, B),
    (NONE, 0.0, 1, B),
    (NONE, 0.0, 0, A),
    (NONE, 0.0, 0, A),
    (A, 0.9, 1, NONE),
    (NONE, 0.0, 0, NONE),
]


@pytest.fixture
def quality():
    found = LabelQuality(TAXONOMY, LabelSets(3, ((A, B),)))
    for part in (POINTS[:4], POINTS[4:]):
        label, confidence, seen, human = map(np.array, zip(*part, strict=True))
        found.add(label, confidence, seen.astype(bool), human)
    return found


def test_shares_are_of_all_points(quality):
    # 7 of 10 are seen, 6 labelled
    assert (quality.points, quality.seen_share, quality.labelled_share) == (10, 0.7, 0.6)
    # A, A_OR_B twice and A without a human label; B once
    assert quality.label_counts().tolist() == [5, 1, 0]


def test_classes_are_counted_by_human_labels(quality):
    a, b, c = quality.classes()
    # 4 points are a: 2 seen and labelled. a is the likeliest class of 4 points: 2 are a, and a
    # third has a set that holds its b.
    assert (a.points, a.seen, a.labelled) == (4, 0.5, 0.5)
    assert (a.precision, a.set_precision, a.recall, a.set_recall) == (0.5, 0.75, 1.0, 1.0)
    # 4 points are b: all seen, 3 labelled, as a or b, as a and as b.
    assert (b.points, b.seen, b.labelled) == (4, 1.0, 0.75)
    assert (b.precision, b.set_precision) == (1.0, 1.0)
    assert (b.recall, b.set_recall) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (c.points, c.seen, c.labelled, c.precision, c.recall) == (0, None, None, None, None)


def test_the_curve_takes_the_surest_first(quality):
    # Of 8 points with a human label 5 are labelled: in order of confidence two at 1.0 (both right
    # as sets, one strictly), then right, wrong, right.
    assert quality.right() == CurvePoint(5 / 8, 4 / 5, 3 / 5)
    first, third, fourth, none = quality.curve([1 / 8, 3 / 8, 4 / 8, 6 / 8])
    # One of two that are equally sure: half a point is right strictly.
    assert (first.sets, first.strict) == (1, 0.5)
    assert (third.sets, third.strict) == (1, pytest.approx(2 / 3))
    assert (fourth.sets, fourth.strict) == (0.75, 0.5)
    assert none == CurvePoint(6 / 8, None, None)


def test_without_human_labels_nothing_is_said_to_be_right():
    quality = LabelQuality(TAXONOMY, LabelSets(3))
    quality.add(np.array([A]), np.array([1.0]), np.array([True]), np.array([NONE]))
    assert not quality.has_human_labels
    assert quality.to_json() == {"points": 1, "seen": 1.0, "labelled": 1.0}
    assert quality.right().sets is None
