"""Which sweeps are chosen, by hand-made sketches of what they leave open."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_training.suggestions import choice
from haskd_training.suggestions.choice import choose, make_objective
from haskd_training.suggestions.sketches import Sketch


def sketch(looks: list[list[float]], places: dict[tuple[int, int, int], float] | None = None):
    """Mass by look and class, and by cube of the map."""
    places = places or {}
    return Sketch(
        np.array(looks, np.float32),
        np.array(list(places), np.int32).reshape(-1, 3),
        np.array(list(places.values()), np.float32),
    )


def chosen(sketches: list[Sketch], labelled: tuple[int, ...] = (), count: int = 9, recordings=None):
    objective = make_objective(sketches, recordings or [0] * len(sketches))
    return choose(objective, sketches, labelled=labelled, max_count=count)


# Two looks of one class. All sweeps leave 3 + 3 + 1 = 7 open of the first, 0 + 0 + 2 of the second.
FIRST, TWIN, OTHER = sketch([[3], [0]]), sketch([[3], [0]]), sketch([[1], [2]])


def test_a_look_alike_of_a_chosen_sweep_is_worth_nothing():
    found = chosen([FIRST, TWIN, OTHER])
    # FIRST shows all of look 0, weight 7/9. OTHER, 1/3 of look 0 and all of look 1, has
    # 7/9 / 3 + 2/9 = 0.48 at first, 2/9 after FIRST; TWIN has nothing left.
    assert [each.sweep for each in found] == [0, 2]
    assert [each.gain for each in found] == pytest.approx([7 / 9, 2 / 9])
    assert [each.covered for each in found] == pytest.approx([7 / 9, 1])
    assert found[0].fresh.tolist() == [1, 0] and found[1].fresh.tolist() == [0, 1]


def test_sweeps_with_labels_count_as_covered_and_are_not_suggested():
    (found,) = chosen([FIRST, TWIN, OTHER], labelled=(1,))
    assert (found.sweep, found.gain, found.covered) == pytest.approx((2, 2 / 9, 1))
    assert chosen([FIRST, TWIN], labelled=(0,)) == []


def test_a_rare_class_weighs_by_the_root_of_what_is_open_of_it():
    # 16 of class 0 and 4 of class 1: 16 / sqrt(16) = 4 and 4 / sqrt(4) = 2, so 2/3 and 1/3
    road, person = sketch([[16, 0], [0, 0]]), sketch([[0, 0], [0, 4]])
    found = chosen([person, road])
    assert [each.gain for each in found] == pytest.approx([2 / 3, 1 / 3])
    assert found[0].classes.tolist() == [1, 0] and found[1].classes.tolist() == [0, 1]


def test_the_same_place_of_the_map_is_covered_by_another_sweep_that_sees_it():
    here, there = (5, 0, 0), (-7, 2, 1)
    same = [[2.0]]
    sketches = [sketch(same, {here: 4}), sketch(same, {here: 2}), sketch(same, {there: 4})]
    found = chosen(sketches)
    # Look and places weigh 1/2 each, the places 1/4 each. The first shows the look and `here`;
    # after it the second shows nothing new, the third its own place.
    assert [each.sweep for each in found] == [0, 2]
    assert [each.gain for each in found] == pytest.approx([3 / 4, 1 / 4])


def test_maps_of_two_recordings_have_nothing_in_common():
    here = {(5, 0, 0): 4.0}
    sketches = [sketch([[2]], here), sketch([[2]], here)]
    assert len(chosen(sketches)) == 1
    assert len(chosen(sketches, recordings=[0, 1])) == 2


def test_where_there_are_too_many_places_larger_ones_are_compared(monkeypatch):
    monkeypatch.setattr(choice, "MAX_PLACES", 2)
    # Of cubes twice the size, counted from -2, (-2, 0, 0) and (-1, 0, 0) are one, (0, 0, 0) and
    # (1, 0, 0) another.
    sketches = [
        sketch([[1]], {(0, 0, 0): 1, (-1, 0, 0): 1}),
        sketch([[1]], {(1, 0, 0): 1, (-2, 0, 0): 1}),
    ]
    objective = make_objective(sketches, [0, 0])
    assert (objective.grid.halvings, len(objective.places)) == (1, 2)
    assert objective.columns_of(0, np.array([[1, 0, 0], [-2, 0, 0]])).tolist() == [2, 1]
    assert len(choose(objective, sketches, labelled=[], max_count=2)) == 1


def test_places_far_apart_are_told_apart():
    # 4 x 10^9 cubes along each axis: no number of 64 bits holds a cube of the first size.
    ends = (2**31 - 1, 2**31 - 1, 2**31 - 1), (-(2**31), -(2**31), -(2**31))
    sketches = [sketch([[1]], {end: 1}) for end in ends]
    assert [each.gain for each in chosen(sketches)] == pytest.approx([3 / 4, 1 / 4])


masses = st.lists(st.floats(0, 10, width=32), min_size=4, max_size=4)


@settings(max_examples=25, deadline=None)
@given(st.lists(masses, min_size=1, max_size=6), st.integers(1, 6))
def test_what_is_covered_is_the_sum_of_the_gains_and_at_most_all(rows, count):
    sketches = [sketch([row[:2], row[2:]]) for row in rows]
    found = chosen(sketches, count=count)
    gains = [each.gain for each in found]
    assert gains == sorted(gains, reverse=True) and len(found) <= count
    assert np.allclose(np.cumsum(gains), [each.covered for each in found], atol=1e-5)
    assert sum(gains) <= 1 + 1e-5
