"""Scores against counts worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.data.caches.cache import Sweep
from haskd_training.metrics.confusion import accuracy, confusion, evaluate, iou, mean_iou

TAXONOMY = Taxonomy(tuple(ClassInfo(name, (0, 0, 0)) for name in ("road", "car", "person")))


def ids(*values):
    return np.array(values, np.uint8)


def test_iou_is_worked_out_class_by_class():
    # road: TP 2, FP 1, FN 1 -> 2/4; car: TP 1, FP 1, FN 1 -> 1/3; no person -> not a number
    counts = confusion(ids(0, 0, 0, 1, 1), ids(0, 0, 1, 1, 0), 3)
    np.testing.assert_allclose(iou(counts), [1 / 2, 1 / 3, math.nan])
    assert mean_iou(counts) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert accuracy(counts) == pytest.approx(3 / 5)


def test_an_absent_class_that_is_predicted_hurts_the_class_it_took_from_and_has_no_score():
    # road: TP 1, FN 1 -> 1/2; person has no true point
    counts = confusion(ids(0, 0), ids(0, 2), 3)
    np.testing.assert_allclose(iou(counts), [1 / 2, math.nan, math.nan])


def test_ignored_points_do_not_count_and_unlabelled_predictions_are_misses():
    # The ignored point is left out; of two road points one has no prediction: IoU 1/2
    counts = confusion(ids(255, 0, 0), ids(1, 255, 0), 3)
    assert counts.sum() == 2
    assert iou(counts)[0] == pytest.approx(1 / 2)
    assert accuracy(counts) == pytest.approx(1 / 2)


def test_without_any_labelled_point_nothing_is_a_number():
    counts = confusion(ids(255), ids(0), 3)
    assert math.isnan(mean_iou(counts))
    assert math.isnan(accuracy(counts))


labels = st.lists(st.tuples(st.sampled_from([0, 1, 2, 255]), st.sampled_from([0, 1, 2, 255])))


@given(labels, labels)
def test_counts_of_two_halves_add_up_to_the_counts_of_the_whole(one, other):
    def counted(pairs):
        table = np.array(pairs, np.uint8).reshape(-1, 2)
        return confusion(table[:, 0], table[:, 1], 3)

    np.testing.assert_array_equal(counted(one) + counted(other), counted(one + other))


def test_scores_are_split_by_distance_from_the_sensor():
    # at 5 m right, at 25 m wrong, at 3-4-0 * 10 = 50 m right, at exactly 20 m wrong
    points = np.array([[5, 0, 0, 0], [0, 25, 0, 0], [30, 40, 0, 0], [0, 0, 20, 0]], np.float32)
    sweep = Sweep(points, np.zeros(4, np.float32), ids(0, 0, 0, 0), 0, "drive")
    result = evaluate(lambda _: ids(0, 1, 0, 1), [sweep], TAXONOMY).to_json()
    assert result["points"] == 4
    assert result["accuracy"] == pytest.approx(1 / 2)
    by_range = {span: scores["accuracy"] for span, scores in result["by_range_m"].items()}
    assert by_range == {"0-20": 1.0, "20-40": 0.0, "40+": 1.0}
    assert result["iou"]["person"] is None
