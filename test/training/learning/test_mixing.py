"""Two sweeps as one: every point keeps what belongs to it, and nothing is there twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_training.learning.mixing import mixture, turned

SEEDS = st.integers(0, 2**32)


def sweeps(seed):
    generator = np.random.default_rng(seed)
    first, second = (generator.uniform(-30, 30, (n, 4)).astype(np.float32) for n in (300, 200))
    return first, second, generator.random(200) < 0.1


def mixed(way, seed):
    first, second, movable = sweeps(seed)
    return mixture(first, second, movable, (way,), np.random.default_rng(seed))


def azimuth(points):
    return np.arctan2(points[:, 1], points[:, 0])


@given(SEEDS)
def test_sectors_are_halves_of_the_turn_that_do_not_overlap(seed):
    first, second, _ = sweeps(seed)
    found = mixed("sectors", seed)
    ours, theirs = azimuth(first[found.of_first]), azimuth(second[found.of_second])
    # Seen from the middle of the other sweep's half, all of its points are nearer than 90 degrees.
    middle = np.angle(np.exp(1j * theirs).sum())
    start = (theirs - middle + np.pi) % (2 * np.pi) - np.pi
    assert np.ptp(start) <= np.pi
    apart = (ours[:, None] - theirs[None]) % (2 * np.pi)
    assert apart.min() > 0
    assert np.ptp(np.unwrap(np.sort((ours - middle) % (2 * np.pi)))) <= np.pi + 1e-6
    assert found.turn == 0


@given(SEEDS)
def test_things_bring_all_movable_points_and_take_none(seed):
    _, _, movable = sweeps(seed)
    found = mixed("things", seed)
    assert found.of_first.all()
    np.testing.assert_array_equal(found.of_second, movable)
    assert -np.pi <= found.turn <= np.pi


@given(SEEDS)
def test_bands_alternate_by_elevation(seed):
    first, second, _ = sweeps(seed)
    found = mixed("bands", seed)
    elevation = np.concatenate(
        [np.arctan2(p[:, 2], np.hypot(p[:, 0], p[:, 1])) for p in (first, second)]
    )
    from_second = np.concatenate([~found.of_first, found.of_second])[np.argsort(elevation)]
    # Where a band is the second's, the first has no points, and the other way round.
    changes = np.count_nonzero(np.diff(from_second.astype(int)))
    assert 1 <= changes <= 5


@given(SEEDS)
def test_a_union_costs_one_sweep(seed):
    found = mixed("union", seed)
    count = found.of_first.sum() + found.of_second.sum()
    # 500 draws of a half: more than six standard deviations of 11
    assert abs(count - 250) < 75


@pytest.mark.parametrize("way", ["sectors", "things", "bands", "union"])
def test_a_sweep_without_points_mixes(way):
    empty = np.zeros((0, 4), np.float32)
    found = mixture(empty, empty, np.zeros(0, bool), (way,), np.random.default_rng(0))
    assert (len(found.of_first), len(found.of_second)) == (0, 0)


def test_a_quarter_turn_takes_ahead_to_the_left():
    points = np.array([[2, 0, 1, 0.5], [0, 3, -1, 0.25]], np.float32)
    expected = [[0, 2, 1, 0.5], [-3, 0, -1, 0.25]]
    np.testing.assert_allclose(turned(points, np.pi / 2), expected, atol=1e-6)
    np.testing.assert_array_equal(points[0], [2, 0, 1, 0.5])
