"""One point for each voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_ros.clouds.thinning import one_per_voxel


def kept(rows, voxel_size, chosen=None) -> list[int]:
    points = np.zeros((len(rows), 4), np.float32)
    points[:, :3] = np.array(rows, np.float32).reshape(-1, 3)
    chosen = np.ones(len(rows), bool) if chosen is None else np.array(chosen)
    return np.flatnonzero(one_per_voxel(points, chosen, voxel_size)).tolist()


ROWS = [
    (0.1, 0.1, 0.1),  # voxel 0 0 0 of 1 m, 0.69 m from its centre
    (0.5, 0.5, 0.75),  # the same, 0.25 m
    (-0.1, 0.5, 0.5),  # voxel -1 0 0
    (0.5, 0.5, 0.25),  # voxel 0 0 0, 0.25 m: the first of two stays
    (0.5, 1.0, 0.5),  # voxel 0 1 0, on the border
    (0.9, 1.9, 0.9),  # the same, and nearer: 0.69 m to 0.5 m
]


def test_the_point_nearest_to_the_centre_stays():
    # 4: (0, -0.5, 0) from the centre, 0.5 m; 5: (0.4, 0.4, 0.4), 0.69 m
    assert kept(ROWS, 1.0) == [1, 2, 4]
    assert kept(ROWS, 10.0) == [2, 5]
    assert kept(ROWS, 0.1) == list(range(6))


def test_points_that_are_not_chosen_take_no_voxel():
    assert kept(ROWS, 1.0, [True, False, False, False, False, True]) == [0, 5]
    assert kept(ROWS, 1.0, [False] * 6) == []
    assert kept([], 1.0) == []


def test_what_is_not_chosen_may_be_no_number():
    assert kept([(np.nan, 0, 0), (1, 1, 1), (np.inf, 0, 0)], 0.5, [False, True, False]) == [1]


def test_points_too_far_for_such_voxels_all_stay():
    # 131069 voxels of 0.01 m are 1310.69 m
    far = [(1400.0, 0, 0), (1400.0, 0, 0), (3e38, 0, 0), (0, -1310.6, 0), (0, -1310.6, 0)]
    assert kept(far, 0.01) == [0, 1, 2, 3]


@given(
    st.lists(st.tuples(*[st.integers(-20, 20)] * 3, st.booleans()), max_size=60),
    st.sampled_from([0.25, 0.5, 1.0, 2.0]),
)
def test_each_voxel_with_a_point_keeps_one(rows, voxel_size):
    # In eighths of a metre, which float32 holds.
    xyz = [(x / 8, y / 8, z / 8) for x, y, z, _ in rows]
    chosen = [is_chosen for *_, is_chosen in rows]
    stay = kept(xyz, voxel_size, chosen)

    nearest: dict[tuple, tuple] = {}
    for number, (point, is_chosen) in enumerate(zip(xyz, chosen)):
        voxel = tuple(value // voxel_size for value in point)
        squared = sum((value % voxel_size - voxel_size / 2) ** 2 for value in point)
        if is_chosen:
            nearest[voxel] = min(nearest.get(voxel, (squared, number)), (squared, number))
    assert stay == sorted(number for _, number in nearest.values())


@pytest.mark.parametrize("voxel_size", [0.01, 0.1, 10.0])
def test_a_random_cloud_loses_no_voxel(voxel_size):
    points = np.random.default_rng(0).normal(0, 30, (50_000, 4)).astype(np.float32)
    stay = one_per_voxel(points, np.ones(len(points), bool), voxel_size)
    # By the same float32 quotient
    voxels = np.floor(points[:, :3] / np.float32(voxel_size))
    assert len(np.unique(voxels, axis=0)) == stay.sum() == len(np.unique(voxels[stay], axis=0))
