"""The greedy choice in rounds, against brute force and against one greedy choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_training.suggestions.choice import choose, make_objective
from haskd_training.suggestions.rounds import Pool, Suggested, shares
from haskd_training.suggestions.sketches import LookTotals, Sketch, merged


def sketch(looks: Sequence[float], places: dict[tuple[int, int, int], float] | None = None):
    """Mass by look, of one class, and by cube of the map."""
    places = places or {}
    return Sketch(
        np.array(looks, np.float32)[:, None],
        np.array(list(places), np.int32).reshape(-1, 3),
        np.array(list(places.values()), np.float32),
    )


def suggested(
    sketches: list[Sketch], recordings: list[int], labelled: set[int], count: int, compared: int
) -> Suggested:
    totals = LookTotals.none(*sketches[0].look_mass.shape)
    for number, each in enumerate(sketches):
        totals.add(each, labelled=number in labelled)
    return Pool(sketches.__getitem__, recordings, labelled, totals).choose(count, compared)


def test_shares_are_of_whole_recordings_but_for_long_ones():
    # Recordings of 2, 2, 1, 5 and 1 sweeps, three at most: the third joins the second.
    recordings = [0, 0, 1, 1, 2, 3, 3, 3, 3, 3, 4]
    assert list(shares(range(11), recordings, 3)) == [[0, 1], [2, 3, 4], [5, 6, 7], [8, 9, 10]]
    assert list(shares([], recordings, 3)) == []


def test_what_one_share_has_is_not_suggested_from_another():
    # Two recordings, three sweeps each, four at once: two shares. Looks 0 and 1 are in both, look 2
    # in the second alone. 12, 8 and 4 of them are open, of one class: 1/2, 1/3 and 1/6.
    sketches = [sketch([6, 0, 0]), sketch([0, 4, 0]), sketch([0, 0, 0])]
    sketches += [sketch([6, 0, 0]), sketch([0, 4, 0]), sketch([0, 0, 4])]
    found = suggested(sketches, [0, 0, 0, 1, 1, 1], set(), 2, 4)
    assert [choice.sweep for choice in found.choices] == [0, 1]
    assert [choice.gain for choice in found.choices] == pytest.approx([1 / 2, 1 / 3])


def test_labels_of_one_recording_cover_looks_of_another_and_places_of_their_own():
    here, there = (1, 2, 0), (7, 7, 0)
    # The labelled sweep 0 covers look 0 everywhere, and `here` in its own recording alone.
    sketches = [
        sketch([4, 0], {here: 2}), sketch([4, 0], {here: 2}), sketch([4, 0], {there: 2}),
        sketch([4, 0], {here: 1}), sketch([4, 0]), sketch([0, 1]),
    ]  # fmt: skip
    found = suggested(sketches, [0, 0, 0, 1, 1, 1], {0}, 2, 4)
    # Places are worth 2, 2 and 1, a half of all: 1/5, 1/5 and 1/10. Look 1 is worth a half of 1/21.
    assert [choice.sweep for choice in found.choices] == [2, 3]
    assert [choice.gain for choice in found.choices] == pytest.approx([1 / 5, 1 / 10])
    assert found.covered == pytest.approx(20 / 21 / 2 + 1 / 5)


def test_of_several_sweeps_the_largest_mass_of_each_look_and_place_is_merged():
    one = sketch([1, 5], {(0, 0, 0): 1, (1, 0, 0): 3})
    other = sketch([2, 4], {(1, 0, 0): 2, (2, 0, 0): 6})
    both = merged([one, other])
    assert both.look_mass[:, 0].tolist() == [2, 5]
    assert both.places.tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    assert both.place_mass.tolist() == [1, 3, 6]


masses = st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.0, 5.0]), min_size=5, max_size=5)


@settings(max_examples=50, deadline=None)
@given(st.lists(masses, min_size=2, max_size=8), st.integers(1, 2), st.sampled_from([4, 9]))
def test_rounds_reach_the_share_of_the_optimum_that_is_proven(rows, count, compared):
    sketches = [sketch(row) for row in rows]
    recordings = [number // 2 for number in range(len(rows))]
    found = suggested(sketches, recordings, set(), count, compared)
    objective = make_objective(sketches, recordings)

    def worth(chosen: Sequence[int]) -> float:
        return float(objective.weights @ objective.covered_by(chosen))

    best = max(worth(chosen) for chosen in combinations(range(len(rows)), min(count, len(rows))))
    parts = min(len(list(shares(range(len(rows)), recordings, compared))), count)
    chosen = [choice.sweep for choice in found.choices]
    assert worth(chosen) >= (1 - 1 / math.e) / parts * best - 1e-6
    if compared >= len(rows):
        at_once = choose(objective, sketches, labelled=[], max_count=count)
        assert chosen == [choice.sweep for choice in at_once]


def test_more_shares_than_are_compared_at_once_give_more_rounds():
    # 40 recordings of one sweep, each with a look of its own: look k has k + 1 open. Four at once,
    # of ten shares the two best each, of 20 again, of ten again: the largest two stay.
    sketches = [sketch([0.0] * k + [k + 1.0] + [0.0] * (39 - k)) for k in range(40)]
    found = suggested(sketches, list(range(40)), set(), 2, 4)
    assert [choice.sweep for choice in found.choices] == [39, 38]
    assert [choice.gain for choice in found.choices] == pytest.approx([40 / 820, 39 / 820])
