"""Votes on a handful of points, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.caches.label_sets import LabelSets
from haskd_training.image_labels.ground import Ground
from haskd_training.image_labels.shapes import Shapes
from haskd_training.image_labels.votes import Evidence, Place, Voting, agreement_curve

ROAD, HOUSE, CAR, TRUCK, REST, SIGN = range(6)
SETS = LabelSets(6, ((CAR, TRUCK), (HOUSE, REST), (SIGN, REST)))
CAR_OR_TRUCK, HOUSE_OR_REST, SIGN_OR_REST = 6, 7, 8

# Image classes: 0 road, 1 house, 2 car or truck, 3 sign, 4 pole, 9 the sky, which says nothing.
MEANT = np.zeros((256, 6), bool)
MEANT[0, ROAD] = MEANT[1, HOUSE] = MEANT[2, [CAR, TRUCK]] = True
MEANT[3, SIGN] = MEANT[4, [SIGN, REST]] = True

SHAPES = Shapes(
    ground=np.array([True, False, False, False, False, False]),
    up_to=np.array([np.inf, np.inf, 2.0, 4.5, np.inf, np.inf]),
    reaches=np.array([0.0, 3.0, 0.0, 0.0, 0.0, 0.0]),
    wide_up_to=np.array([np.inf, np.inf, np.inf, np.inf, np.inf, 1.5]),
    rest=REST,
)
ANY = Shapes(np.zeros(6, bool), np.full(6, np.inf), np.zeros(6), np.full(6, np.inf), None)

FLAT = Ground(np.array([-20.0, -20.0]), np.zeros((80, 80), np.float32))


def wall(top: float) -> list[tuple[float, float, float]]:
    """Points of a wall, one each 0.1 m from 0.2 m above the ground on."""
    return [(5.05, 5.05, 0.1 * step) for step in range(2, round(10 * top) + 1)]


def vote(points, evidence, shapes=SHAPES, visible=np.inf):
    """evidence: (point, image class, confidence) of each view, the first half of them earlier."""
    points = np.array(points, np.float64)
    place = Place(points, FLAT.above(points), FLAT, np.full(FLAT.shape, visible))
    point, class_id, confidence = zip(*evidence, strict=True)
    later = np.arange(len(point)) >= len(point) / 2
    views = Evidence(
        np.array(point), later, np.array(class_id, np.uint8), np.array(confidence, np.float32)
    )
    return Voting(place, shapes, MEANT, SETS).vote(views)


def test_a_sure_view_outvotes_two_that_are_half_sure():
    found = vote([(5, 5, 1)], [(0, 1, 0.6), (0, 1, 0.6), (0, 2, 0.9)], ANY)
    # 0.6^2 + 0.6^2 = 0.72 against 0.9^2 = 0.81, of three views: 0.81 / (3 + 1)
    assert found.label.tolist() == [CAR_OR_TRUCK]
    assert found.score == pytest.approx([0.2025], abs=1e-4)


def test_what_was_seen_of_a_place_goes_for_every_point_of_it():
    # Voxels of 0.3 m: the first two points lie in one, the third in another.
    found = vote([(5.1, 5.1, 1), (5.2, 5.2, 1.1), (7, 5, 1)], [(0, 1, 1.0)], ANY)
    assert found.label.tolist() == [HOUSE, HOUSE, UNLABELLED]
    assert found.seen.tolist() == [True, True, False]
    # 1^2 / (1 + 1)
    assert found.score == pytest.approx([0.5, 0.5, 0])


def test_a_class_that_means_nothing_is_no_vote():
    found = vote([(5, 5, 1), (9, 9, 1)], [(0, 9, 1.0), (0, 9, 1.0), (0, 1, 0.5), (1, 9, 1)], ANY)
    # One view that says something: 0.5^2 / (1 + 1)
    assert found.label.tolist() == [HOUSE, UNLABELLED]
    assert found.score == pytest.approx([0.125, 0])
    assert found.seen.tolist() == [True, True]


@pytest.mark.parametrize(
    ("height", "label"),
    [(1.0, CAR_OR_TRUCK), (3.0, TRUCK), (8.0, REST)],
    ids=["as a car", "too high for a car", "too high for both"],
)
def test_of_what_an_image_says_that_is_left_which_can_be(height, label):
    assert vote([(5, 5, height)], [(0, 2, 1.0)]).label.tolist() == [label]


def test_things_do_not_lie_flat_on_bare_ground():
    points = [(5, 5, 0.02), (8, 8, 0.02), (8, 8, 1.0)]
    found = vote(points, [(0, 2, 1.0), (1, 2, 1.0), (0, 0, 0.4)])
    # A car's pixels over bare road: the less sure road is left. Where something stands on the
    # ground its foot is of it.
    assert found.label[0] == ROAD
    assert found.label[1] == CAR_OR_TRUCK


@pytest.mark.parametrize(
    ("top", "visible", "label"),
    [
        (4.2, np.inf, HOUSE),
        (3.5, np.inf, HOUSE_OR_REST),
        (2.0, np.inf, REST),
        (2.0, 2.6, HOUSE_OR_REST),
        (2.0, 2.1, HOUSE),
        (3.5, 3.6, HOUSE_OR_REST),
        (4.2, 4.3, HOUSE),
    ],
    ids=[
        "tall",
        "as a high wall",
        "too low",
        "ends, below what is visible",
        "may go on",
        "may go on, as a high wall",
        "may go on, tall",
    ],
)
def test_a_house_is_taller_than_a_wall(top, visible, label):
    points = wall(top)
    found = vote(points, [(i, 1, 1.0) for i in range(len(points))], visible=visible)
    assert set(found.label.tolist()) == {label}


@pytest.mark.parametrize(
    ("length", "seen_as", "label"),
    [
        (1.2, 3, SIGN),
        (1.8, 3, UNLABELLED),
        (1.8, 4, SIGN_OR_REST),
    ],
    ids=["a sign", "a poster", "what may be no sign"],
)
def test_signs_stand_free_and_posters_hang_on_walls(length, seen_as, label):
    # One point in the middle of each voxel of a row from x = 0, at heights of 2 m to 2.6 m.
    row = 0.15 + 0.3 * np.arange(round(length / 0.3))
    points = [(x, 5.0, z) for z in (1.95, 2.25, 2.55) for x in row]
    # On the ground, and a voxel of air away, at the row's end: neither makes it wider.
    points += [(x, 5.0, 0.0) for x in row] + [(length + 0.45, 5.0, 2.25)]
    found = vote(points, [(0, seen_as, 1.0)])
    assert found.label[0] == label


def test_a_poster_is_of_the_wall_that_other_views_show():
    points = [(0.15 + 0.3 * step, 5.0, 2.25) for step in range(10)]
    found = vote(points, [(4, 3, 1.0), (4, 1, 0.3)], visible=2.3)
    assert found.label[4] == HOUSE


def test_a_vehicle_as_tall_as_a_truck_is_one_down_to_its_wheels():
    def block(top):
        side = np.arange(4.0, 7.0, 0.25)
        return np.stack(np.meshgrid(side, side[:6], np.arange(0.2, top, 0.2)), -1).reshape(-1, 3)

    for top, label in ((1.6, CAR_OR_TRUCK), (3.6, TRUCK)):
        points = block(top)
        found = vote(points, [(i, 2, 1.0) for i in range(len(points))])
        assert set(found.label[points[:, 2] < 1.5].tolist()) == {label}


def test_confidence_is_how_often_halves_of_the_views_agree():
    # Of scores 0.25 half agree, of 0.75 nine in ten. The curve passes through both:
    # a 0.25 + b = ln 1, a 0.75 + b = ln 9
    pairs = np.array([(0.25, i < 50) for i in range(100)] + [(0.75, i < 90) for i in range(100)])
    slope, offset = agreement_curve(pairs)
    assert slope == pytest.approx(2 * math.log(9), abs=0.01)
    assert offset == pytest.approx(-0.5 * math.log(9), abs=0.01)


def test_halves_that_leave_a_class_in_common_agree():
    points = [(5, 5, 3.0), (9, 9, 1.0)]
    # At 3 m both halves say truck; at the other place house against car or truck.
    found = vote(points, [(0, 2, 1.0), (1, 1, 1.0), (0, 2, 0.5), (1, 2, 1.0)], visible=3.0)
    # 1^2 / 2 and 0.5^2 / 2 of the first, twice 1^2 / 2 of the second
    assert sorted(map(tuple, found.agreement.round(3).tolist())) == [
        (0.125, 1.0), (0.5, 0.0), (0.5, 0.0), (0.5, 1.0),
    ]  # fmt: skip
