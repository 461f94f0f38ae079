"""What the other clouds of a recording say of a place, the later ones too."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.robot.offline.score_votes import Heard, Voter, voted

TAXONOMY = Taxonomy(
    (
        ClassInfo("road", (1, 1, 1)),
        ClassInfo("car", (2, 2, 2), movable=True),
        ClassInfo("wall", (3, 3, 3)),
    )
)
ROAD, CAR, WALL = np.eye(3).tolist()
HERE = [5.1, 0.1, 0.1]


def pose(x=0.0, y=0.0, z=0.0, yaw=0.0):
    cosine, sine = math.cos(yaw), math.sin(yaw)
    return np.array([[cosine, -sine, 0, x], [sine, cosine, 0, y], [0, 0, 1, z], [0, 0, 0, 1.0]])


ORIGIN = pose()


def voter(time_s, *said, where=ORIGIN):
    """A cloud of (point, probabilities), called by its time."""
    heard = Heard()
    points, probabilities = zip(*said)
    heard(torch.tensor(points, dtype=torch.float32), torch.tensor(probabilities).float())
    return Voter(time_s, round(time_s * 1e9), where, heard)


def counted(voters, seconds=1.0):
    """(time, probabilities) of each cloud, in the order in which they come out."""
    return [
        (cloud, None if found is None else found.tolist())
        for cloud, found in voted(voters, TAXONOMY, seconds)
    ]


def test_half_of_what_the_other_says_is_added_and_nothing_of_ones_own():
    first, second = [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]
    assert counted([voter(0.0, (HERE, first)), voter(0.5, (HERE, second))]) == [
        (0.0, [[0.5 + 0.125, 0.25 + 0.125, 0.25 + 0.25]]),
        (0.5, [[0.25 + 0.25, 0.25 + 0.125, 0.5 + 0.125]]),
    ]


def test_clouds_within_the_time_vote_earlier_and_later_ones():
    clouds = [voter(0.0, (HERE, ROAD)), voter(0.5, (HERE, WALL)), voter(1.0, (HERE, WALL))]
    assert counted(clouds, 0.5) == [
        (0.0, [[1.0, 0.0, 0.5]]),
        (0.5, [[0.5, 0.0, 1.5]]),
        (1.0, [[0.0, 0.0, 1.5]]),
    ]
    assert counted(clouds, 1.0)[0] == (0.0, [[1.0, 0.0, 1.0]])
    assert counted(clouds, 0.4)[1] == (0.5, [WALL])


def test_a_voxels_points_share_one_vote_and_other_voxels_have_none():
    beside, elsewhere = [5.15, 0.15, 0.1], [5.3, 0.1, 0.1]
    (_, first), (_, second) = counted(
        [
            voter(0.0, (HERE, ROAD), (beside, WALL)),
            voter(0.1, (beside, WALL), (elsewhere, WALL)),
        ]
    )
    assert first == [[1.0, 0.0, 0.5], [0.0, 0.0, 1.5]]
    assert second == [[0.25, 0.0, 1.25], WALL]


def test_what_moves_stays_as_it_is_and_does_not_vote():
    mostly_car = [0.25, 0.75, 0.0]
    (_, first), (_, second) = counted(
        [voter(0.0, (HERE, ROAD)), voter(0.1, (HERE, mostly_car), (HERE, WALL))]
    )
    assert first == [[1.0, 0.0, 0.5]]
    assert second == [mostly_car, [0.5, 0.0, 1.0]]


@pytest.mark.parametrize("moved", [pose(x=2.0), pose(y=-3.0, yaw=math.pi / 2), pose(30, -40, 3)])
@pytest.mark.parametrize("start", [0.0, 5e6])
def test_the_place_counts_wherever_the_sensor_is(moved, start):
    begin = pose(x=start)
    seen = (np.linalg.inv(moved) @ [*HERE, 1.0])[:3].tolist()
    (_, first), (_, second) = counted(
        [
            voter(0.0, (HERE, ROAD), where=begin),
            voter(0.1, (seen, WALL), (HERE, WALL), where=begin @ moved),
        ]
    )
    assert first == [[1.0, 0.0, 0.5]]
    assert second == [[0.5, 0.0, 1.0], WALL]


def test_clouds_without_a_pose_or_points_come_in_order_and_take_no_part():
    clouds = [
        voter(0.0, (HERE, ROAD)),
        voter(0.1, (HERE, WALL), where=None),
        Voter(0.2, 2 * 10**8, pose(), Heard()),
        voter(0.3, (HERE, CAR)),
        voter(0.4, (HERE, ROAD)),
    ]
    assert counted(clouds) == [
        (0.0, [[1.5, 0.0, 0.0]]),
        (0.1, None),
        (0.2, None),
        (0.3, [CAR]),
        (0.4, [[1.5, 0.0, 0.0]]),
    ]


def test_scores_that_are_no_numbers_stay_so_and_spoil_nothing():
    clouds = [voter(0.0, (HERE, [math.nan] * 3)), voter(0.1, (HERE, WALL))]
    (_, first), (_, second) = counted(clouds)
    assert np.isnan(first).all() and second == [WALL]


def test_a_recording_that_begins_again_is_another_one():
    clouds = [voter(5.0, (HERE, ROAD)), voter(4.4, (HERE, WALL)), voter(4.5, (HERE, ROAD))]
    assert counted(clouds) == [
        (5.0, [ROAD]),
        (4.4, [[0.5, 0.0, 1.0]]),
        (4.5, [[1.0, 0.0, 0.5]]),
    ]
    # A little out of order it goes on
    assert counted([clouds[0], voter(4.75, (HERE, WALL))])[0] == (5.0, [[1.0, 0.0, 0.5]])


def test_a_cloud_that_was_recorded_twice_does_not_vote_for_itself():
    assert counted([voter(1.0, (HERE, ROAD))] * 2) == [(1.0, [ROAD])] * 2


def test_no_more_clouds_are_held_than_vote_for_each_other():
    asked = []

    def clouds():
        for number in range(100):
            asked.append(number)
            yield voter(0.1 * number, (HERE, ROAD))

    for number, (_, found) in enumerate(voted(clouds(), TAXONOMY, 0.35)):
        # Three before, three after, and the one that shows that there are no more
        assert asked[-1] <= number + 4
        others = min(number, 3) + min(99 - number, 3)
        assert found.tolist() == [[1 + 0.5 * others, 0, 0]]
