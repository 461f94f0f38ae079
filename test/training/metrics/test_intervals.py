"""Intervals of differences, against values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from haskd_training.metrics.confusion import mean_iou
from haskd_training.metrics.intervals import (
    Interval,
    common_classes,
    drives_and_seeds_interval,
    mean_iou_of,
    paired_interval,
    seeds_and_sweeps_interval,
)


def counts_of(right, points=100):
    """[..., 2, 3] counts of two classes with `points` true points each; `right` of the first are
    right and the others not labelled; all of the second are right."""
    right = np.asarray(right)
    counts = np.zeros((*right.shape, 2, 3), np.int64)
    counts[..., 0, 0], counts[..., 0, 2], counts[..., 1, 1] = right, points - right, points
    return counts


def test_three_paired_differences_have_the_interval_of_student_s_t():
    # mean 2, standard deviation 1, standard error 1 / sqrt(3); t at 97.5 % with 2 degrees of
    # freedom is 4.3027: 2 +- 2.4841
    found = paired_interval([1.0, 2.0, 3.0])
    assert found.mean == pytest.approx(2)
    assert (found.low, found.high) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-4)
    assert not found.excludes_zero


def test_one_seed_has_a_mean_and_no_interval():
    found = paired_interval([1.5])
    assert found.mean == 1.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert not found.excludes_zero


def test_an_interval_excludes_zero_with_both_ends_on_one_side():
    assert Interval(1, 0.1, 2).excludes_zero
    assert Interval(-1, -2, -0.1).excludes_zero
    assert not Interval(1, 0.0, 2).excludes_zero


def test_common_classes_have_at_least_one_in_a_thousand_of_the_points():
    # 10,000 points: 10 are exactly 0.1 %
    np.testing.assert_array_equal(
        common_classes(np.array([9981, 10, 9, 0])), [True, True, False, False]
    )


def test_mean_iou_of_many_tables_is_over_the_chosen_classes():
    # IoU of the first class 1/2 and 1/4, of the second 1 and 1
    counts = counts_of([50, 25])
    np.testing.assert_allclose(mean_iou_of(counts), [0.75, 0.625])
    np.testing.assert_allclose(mean_iou_of(counts, np.array([True, False])), [0.5, 0.25])


def test_mean_iou_without_true_points_is_not_a_number():
    assert math.isnan(mean_iou_of(np.zeros((2, 3), np.int64)))


@given(arrays.arrays(np.int64, (3, 4), elements=st.integers(0, 5)))
def test_mean_iou_is_that_of_the_evaluation(counts):
    np.testing.assert_allclose(mean_iou_of(counts), mean_iou(counts))


def test_a_gain_that_is_the_same_everywhere_has_an_interval_without_width():
    # First class 60 % against 40 % right in every sweep of every seed: (0.6 - 0.4) / 2 = 0.1
    row, reference = counts_of(np.full((3, 8), 60)), counts_of(np.full((3, 8), 40))
    found = seeds_and_sweeps_interval(row, reference)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    chosen = seeds_and_sweeps_interval(row, reference, classes=np.array([True, False]))
    assert (chosen.mean, chosen.low, chosen.high) == pytest.approx((0.2, 0.2, 0.2))


def test_where_all_sweeps_are_alike_the_interval_is_that_over_seeds():
    # Gains of the first class 0.1, 0.2, 0.3, of the mean of both classes half of that
    row = counts_of(np.array([60, 70, 80])[:, None].repeat(8, 1))
    found = seeds_and_sweeps_interval(row, counts_of(np.full((3, 8), 50)))
    expected = paired_interval([0.05, 0.10, 0.15])
    assert (found.mean, found.low, found.high) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )


def test_where_all_seeds_are_alike_the_interval_is_the_normal_one_over_sweeps():
    # 400 sweeps, half of them 80 % and half 40 % right against 50 %: the gain of the first class is
    # 0.1 with a standard deviation of 0.2 a sweep, so 0.01 for the mean of 400; 1.96 of them, and
    # half of all that for the mean of two classes.
    right = np.where(np.arange(400) % 2, 80, 40)[None].repeat(3, 0)
    found = seeds_and_sweeps_interval(counts_of(right), counts_of(np.full((3, 400), 50)))
    assert found.mean == pytest.approx(0.05)
    assert (found.low, found.high) == pytest.approx((0.05 - 0.0098, 0.05 + 0.0098), abs=8e-4)


def test_variances_over_seeds_and_over_sweeps_add_up():
    # Gains of the first class by seed 0.06, 0.10, 0.14: s^2 / 3 = 0.04^2 / 3 = 5.33e-4. Sweeps as
    # above, but 100 of them: variance 0.2^2 / 100 = 4e-4. Together 9.33e-4; degrees of freedom
    # 2 (9.33 / 5.33)^2 = 6.125, t 2.4342; margin 0.07437, and half of it for the mean of two.
    right = np.where(np.arange(100) % 2, 80, 40) + np.array([[-4], [0], [4]])
    found = seeds_and_sweeps_interval(
        counts_of(right), counts_of(np.full((3, 100), 50)), resamples=20_000
    )
    assert found.mean == pytest.approx(0.05)
    assert found.high - found.mean == pytest.approx(0.07437 / 2, rel=0.02)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_of_one_seed_there_is_no_interval():
    found = seeds_and_sweeps_interval(counts_of([[60, 70]]), counts_of([[50, 50]]))
    assert found.mean == pytest.approx(0.075)
    assert math.isnan(found.low) and math.isnan(found.high)


def test_sweeps_that_are_drawn_in_blocks_keep_what_neighbours_share():
    # 100 sweeps in runs of 10 alike, 40 or 80 right. One by one, a draw has the variance 20^2, and
    # 100 of them 4. A block of ten begins anywhere, so its mean is even over 40..80, variance
    # 40^2 / 12, and 10 of them have 13.3: the interval is sqrt(13.3 / 4) = 1.83 times as wide.
    # Of alternating sweeps, a block has as many of one kind as of the other.
    reference = counts_of(np.full((2, 100), 50))

    def width(right, block):
        row = counts_of(right[None].repeat(2, 0))
        found = seeds_and_sweeps_interval(row, reference, block=block)
        return found.high - found.low

    runs = np.where(np.arange(100) // 10 % 2, 80, 40)
    assert width(runs, 10) / width(runs, 1) == pytest.approx(1.83, abs=0.15)
    assert width(np.where(np.arange(100) % 2, 80, 40), 10) == pytest.approx(0)


def test_a_class_that_a_resample_lacks_is_left_out_of_its_mean():
    # The second sweep alone has the first class. Where it isn't drawn, one time in four, both rows
    # score 1: gain 0; otherwise 0.1. Standard deviation 0.1 sqrt(1/4 3/4), 1.96 of them
    row, reference = counts_of([[0, 60]] * 2), counts_of([[0, 40]] * 2)
    row[:, 0, 0], reference[:, 0, 0] = 0, 0
    found = seeds_and_sweeps_interval(row, reference)
    assert found.mean == pytest.approx(0.1)
    assert found.high - found.mean == pytest.approx(1.96 * 0.0433, rel=0.03)


def test_the_same_seed_draws_the_same_interval():
    generator = np.random.default_rng(1)
    row = counts_of(generator.integers(0, 100, (3, 20)))
    reference = counts_of(generator.integers(0, 100, (3, 20)))
    found = seeds_and_sweeps_interval(row, reference)
    assert found == seeds_and_sweeps_interval(row, reference)


def test_rows_that_were_counted_on_other_points_are_refused():
    row = counts_of(np.full((2, 3), 50))
    with pytest.raises(ValueError, match="same points"):
        seeds_and_sweeps_interval(row, counts_of(np.full((2, 3), 50), points=99))
    with pytest.raises(ValueError, match=r"\(2, 3, 2, 3\), \(2, 2, 2, 3\)"):
        seeds_and_sweeps_interval(row, row[:, :2])


def test_drives_and_seeds_are_drawn_as_they_were_trained():
    # Gains of 0.1 on the first drive and 0.3 on the second, (0.7 - 0.5) / 2 and (0.9 - 0.3) / 2,
    # whatever the seed: their mean is 0.2. Two drives drawn from two have the mean 0.1, 0.2, 0.2
    # or 0.3, a variance of 0.005; twice that, of two drives; t with one degree of freedom is
    # 12.706.
    row = counts_of(np.repeat([70, 90], 3).reshape(2, 3))
    reference = counts_of(np.repeat([50, 30], 3).reshape(2, 3))
    found = drives_and_seeds_interval(row, reference, [0, 1], resamples=20_000)
    assert found.mean == pytest.approx(0.2)
    assert found.high - found.mean == pytest.approx(12.706 * 0.1, rel=0.02)
    # Pooled, 160 of 200 against 80 of 200 are right: (0.8 - 0.4) / 2.
    pooled = drives_and_seeds_interval(row, reference, [0, 1], pooled=True, resamples=10)
    assert pooled.mean == pytest.approx(0.2)


def test_drives_of_one_fold_share_their_seeds():
    # Gains of 0 and 0.2, by the seed alone. Drives of one fold have the same draw of two seeds,
    # whose mean is 0, 0.1, 0.1 or 0.2: a variance of 0.005. Of two folds each drive has its own
    # draw, half of that, but where one drive is drawn twice, every other time: three quarters.
    gains = np.array([[50, 90], [50, 90]])
    row, reference = counts_of(gains), counts_of(np.full((2, 2), 50))

    def variance(folds):
        found = drives_and_seeds_interval(row, reference, folds, resamples=20_000)
        return ((found.high - found.mean) / 12.706) ** 2 / 2

    assert variance([0, 0]) == pytest.approx(0.005, rel=0.03)
    assert variance([0, 1]) == pytest.approx(0.75 * 0.005, rel=0.03)


def test_one_drive_has_a_mean_and_no_interval():
    found = drives_and_seeds_interval(counts_of([[60, 80]]), counts_of([[40, 40]]), [0])
    assert found.mean == pytest.approx(0.15)
    assert math.isnan(found.low)


def test_rows_of_other_drives_or_points_are_no_pair():
    row = counts_of([[60], [80]])
    with pytest.raises(ValueError, match="of 1 drives"):
        drives_and_seeds_interval(row, row, [0])
    with pytest.raises(ValueError, match="not counted on the same points"):
        drives_and_seeds_interval(row, 2 * row, [0, 1])
