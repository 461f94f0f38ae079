"""Labels by hand, taken over by other sweeps of their place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from painted_wall import POSTER, T_WORLD_LIDAR, TAXONOMY, WALL, wall_cache

from haskd_ros.taxonomy import UNLABELLED, Taxonomy
from haskd_training.data.projection import transform_points
from haskd_training.image_labels.carried import (
    MOVABLE_S,
    NEAR_M,
    LabelledPlaces,
    carried,
    places_near,
)

NOBODY = UNLABELLED


def places(points, labels):
    return LabelledPlaces.collect(
        np.array(points, float), np.array(labels, np.uint8), len(TAXONOMY)
    )


def test_what_is_told_is_worked_out_by_hand():
    # Voxels of 0.3 m: the first five points lie in that from 0 to 0.3 m, the sixth in the next.
    points = [[0.05, 0.1, 0.1]] * 4 + [[0.29, 0.1, 0.1], [0.31, 0.1, 0.1], [9.0, 9.0, 9.0]]
    labels = [WALL, WALL, WALL, POSTER, NOBODY, POSTER, NOBODY]
    told = places(points, labels).of(
        np.array([[0.2, 0.2, 0.2], [0.5, 0.2, 0.2], [-0.1, 0.2, 0.2], [9.0, 9.0, 9.0]])
    )
    assert told.label.tolist() == [WALL, POSTER, NOBODY, NOBODY]
    assert told.share.tolist() == [0.75, 1.0, 0.0, 0.0]


def test_where_labels_are_at_odds_nothing_is_told():
    told = places([[0.1, 0.1, 0.1]] * 3, [WALL, WALL, POSTER]).of(np.array([[0.2, 0.2, 0.2]]))
    assert told.label.tolist() == [NOBODY]
    assert told.share.tolist() == pytest.approx([2 / 3])


def test_without_labels_nothing_is_told():
    told = places(np.zeros((0, 3)), []).of(np.zeros((2, 3)))
    assert told.label.tolist() == [NOBODY, NOBODY]
    assert told.share.tolist() == [0, 0]


@given(
    st.lists(
        st.tuples(
            st.integers(-40, 40), st.integers(-40, 40), st.integers(-4, 4), st.integers(0, 1)
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 60),
)
def test_without_some_it_is_that_of_the_others(rows, cut):
    table = np.array(rows)
    points, labels = 0.1 * table[:, :3] + 0.05, table[:, 3].astype(np.uint8)
    of_all = places(points, labels).without(points[:cut], labels[:cut])
    others = places(points[cut:].reshape(-1, 3), labels[cut:])
    one, other = of_all.of(points), others.of(points)
    assert one.label.tolist() == other.label.tolist()
    assert one.share.tolist() == other.share.tolist()


def with_labels(cache, kept):
    """The cache as if people had labelled only some of its sweeps."""
    rows = [
        row if i in kept else replace(row, class_counts=[0] * len(TAXONOMY))
        for i, row in enumerate(cache.sweeps)
    ]
    return replace(cache, sweeps=rows)


def points_of(cache, block):
    return np.concatenate(
        [
            transform_points(np.array(cache.sweeps[i].T_world_lidar), cache.sweep(i).points)
            for i in block
        ]
    )


def told(cache, block, most=60):
    sweeps = [cache.sweep(i) for i in block]
    return carried(cache, block, sweeps, points_of(cache, block), most)


@pytest.fixture(scope="module")
def wall(tmp_path_factory):
    """Sweeps of a wall whose posters change from one to the next."""
    return wall_cache(tmp_path_factory.mktemp("wall") / "cache", 3, points=5000)


def test_a_sweep_has_the_labels_of_another_and_never_its_own(wall):
    one = with_labels(wall, [0])
    found = told(one, [0, 1])
    of_first, of_second = found.label[:5000], found.label[5000:]
    assert set(of_first.tolist()) == {NOBODY}
    # 5000 points in 40 x 20 voxels: hardly one without.
    known = of_second != NOBODY
    assert known.mean() > 0.8
    first, second = one.sweep(0).label, one.sweep(1).label
    # What is told is of the first sweep's posters, which are others in the second.
    assert (of_second[known] == second[known]).mean() < 0.7
    again = LabelledPlaces.collect(points_of(one, [0]), first, 2).of(points_of(one, [1]))
    assert of_second.tolist() == again.label.tolist()


def test_the_nearest_labelled_sweeps_are_read(wall):
    far = np.array(T_WORLD_LIDAR)
    far[0, 3] = 10.0
    rows = list(wall.sweeps)
    rows[1] = replace(rows[1], T_world_lidar=far.tolist())
    moved = with_labels(replace(wall, sweeps=rows), [1, 2])
    nearest = places_near(moved, [0], 1)
    assert nearest.counts.sum() == 5000
    # Of sweep 2, whose wall is 8 m ahead, and not of that which is 18 m ahead.
    assert nearest.low[0] == 26
    assert places_near(moved, [0], 2).counts.sum() == 10000


def test_what_is_far_says_nothing(wall):
    far = np.array(T_WORLD_LIDAR)
    far[0, 3] = NEAR_M + 1
    rows = list(wall.sweeps)
    rows[1] = replace(rows[1], T_world_lidar=far.tolist())
    assert not places_near(with_labels(replace(wall, sweeps=rows), [1]), [0], 60).counts.any()


def test_other_recordings_and_sweeps_without_pose_say_nothing(wall):
    rows = list(wall.sweeps)
    rows[1] = replace(rows[1], recording="another")
    rows[2] = replace(rows[2], T_world_lidar=None)
    assert not places_near(with_labels(replace(wall, sweeps=rows), [1, 2]), [0], 60).counts.any()


def test_what_can_move_is_not_taken_to_stand_there_for_long(wall):
    parked = Taxonomy(
        tuple(replace(info, movable=info.name == "poster") for info in TAXONOMY.classes)
    )
    counts = {}
    for seconds in (MOVABLE_S - 1, MOVABLE_S + 1):
        rows = list(wall.sweeps)
        rows[0] = replace(rows[0], stamp_ns=int(rows[1].stamp_ns + seconds * 1e9))
        later = replace(wall, sweeps=rows, taxonomy=parked)
        counts[seconds] = places_near(with_labels(later, [1]), [0], 60).counts.sum(0)
    soon, late = counts.values()
    assert soon.tolist() == np.bincount(wall.sweep(1).label).tolist()
    assert late.tolist() == [soon[WALL], 0]
