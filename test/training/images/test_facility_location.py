"""Greedy choice of views: against hand-worked cases, brute force and plain coverage."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_training.images.facility_location import gains_in_order, greedy


def test_greedy_is_worked_out_by_hand() -> None:
    weights = np.array([1.0, 1.0, 2.0])
    quality = np.array([[0.5, 0.5, 0.5], [0.0, 0.0, 0.9], [1.0, 0.0, 0.0]])
    # Worth 2.0, 1.8 and 1.0 of 4. After the first: 0.4 * 2 = 0.8 and 0.5; after both: 0.5.
    picks = greedy(weights, quality, max_count=2)
    assert picks.chosen == [0, 1]
    assert picks.gains == pytest.approx([0.5, 0.2])
    assert picks.remaining_gains == pytest.approx([0, 0, 0.125])
    assert picks.stop == "K reached"
    assert gains_in_order(weights, quality) == pytest.approx([0.5, 0.2, 0.125])


def test_greedy_stops_when_an_image_adds_too_little() -> None:
    weights, quality = np.ones(10), np.eye(2, 10) * [[1.0], [0.5]]
    # The second shows a tenth of the weight half as well as can be: 5 %.
    assert greedy(weights, quality, max_count=2, min_gain=0.05).chosen == [0, 1]
    picks = greedy(weights, quality, max_count=2, min_gain=0.051)
    assert (picks.chosen, picks.stop) == ([0], "gain too small")
    assert greedy(weights, np.zeros((2, 10)), max_count=2).chosen == []
    assert greedy(weights, np.zeros((0, 10)), max_count=2).stop == "gain too small"


def test_greedy_stops_when_enough_of_what_can_be_seen_is_seen() -> None:
    # All that can be seen is 4 + 1 of 10; the first shows 80 % of it.
    weights = np.ones(10)
    quality = np.zeros((2, 10))
    quality[0, :4] = quality[1, 4] = 1
    assert greedy(weights, quality, max_count=2, target_coverage=0.81).chosen == [0, 1]
    picks = greedy(weights, quality, max_count=2, target_coverage=0.8)
    assert (picks.chosen, picks.stop) == ([0], "enough covered")


@st.composite
def problems(draw: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Weights [V], quality [F, V] and K; zeros and equal values among them."""
    views, voxels = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    value = st.sampled_from([0.0, 0.0, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1)
    row = st.lists(value, min_size=voxels, max_size=voxels)
    weights = draw(row)
    return (
        np.array(weights),
        np.array(draw(st.lists(row, min_size=views, max_size=views))),
        draw(st.integers(1, 4)),
    )


def worth(weights: np.ndarray, quality: np.ndarray, chosen: Any) -> float:
    """sum_v w(v) max_{f in S} q_f(v)"""
    return float(weights @ quality[list(chosen)].max(0)) if len(chosen) else 0.0


@given(problems())
def test_greedy_reaches_the_share_of_the_optimum_that_submodularity_promises(problem: Any) -> None:
    weights, quality, most = problem
    picks = greedy(weights, quality, max_count=most)
    best = max(
        worth(weights, quality, chosen)
        for size in range(min(most, len(quality)) + 1)
        for chosen in combinations(range(len(quality)), size)
    )
    found = worth(weights, quality, picks.chosen)
    assert found >= (1 - 1 / math.e) * best - 1e-9
    assert found == pytest.approx(sum(picks.gains) * (weights.sum() or 1))


@given(problems(), st.floats(0, 0.3), st.floats(0.3, 1))
def test_greedy_keeps_its_limits(problem: Any, min_gain: float, target: float) -> None:
    weights, quality, most = problem
    picks = greedy(weights, quality, max_count=most, min_gain=min_gain, target_coverage=target)
    assert len(picks.chosen) == len(set(picks.chosen)) <= most
    assert all(gain >= min_gain and gain > 0 for gain in picks.gains)
    # Submodular: nothing gains more later than something else did before.
    assert all(later <= earlier + 1e-9 for earlier, later in zip(picks.gains, picks.gains[1:]))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_makes_no_difference(seed: int, most: int, random: Any) -> None:
    generator = np.random.default_rng(seed)
    weights, quality = generator.random(20), generator.random((7, 20))
    order = list(range(7))
    random.shuffle(order)
    picks, shuffled = (
        greedy(weights, quality, max_count=most),
        greedy(weights, quality[order], max_count=most),
    )
    assert [order[pick] for pick in shuffled.chosen] == picks.chosen
    assert shuffled.gains == picks.gains
    assert shuffled.remaining_gains.tolist() == picks.remaining_gains[order].tolist()


@given(
    st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=6),
    st.integers(1, 4),
)
def test_with_weights_and_qualities_of_one_it_is_plain_greedy_coverage(
    shown: list[set[int]], most: int
) -> None:
    quality = np.array([[float(voxel in view) for voxel in range(8)] for view in shown])
    expected, covered = [], set()
    while len(expected) < most:
        news = [len(view - covered) for view in shown]
        if max(news) == 0:
            break
        expected.append(news.index(max(news)))
        covered |= shown[expected[-1]]
    picks = greedy(np.ones(8), quality, max_count=most)
    assert picks.chosen == expected
    assert sum(picks.gains) == pytest.approx(len(covered) / 8)
