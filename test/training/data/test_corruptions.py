"""Corrupted clouds: what is left, and that labels stay with their points."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.caches.cache import Sweep
from haskd_training.data.corruptions import (
    CORRUPTIONS,
    NO_SOURCE,
    alternate_beams,
    corrupted,
    fog,
    noise,
    scaled_intensity,
    tenth_of_the_points,
)

ELEVATIONS_DEG = np.array([-19, -14, -10, -8, -6, -5, -4, -3.8, -3.6, -3.4, -3.2, -3, 1, 2, 5, 15])
"""Of beams as unevenly spaced as a real sensor's."""


def scan(distance, columns=900, origin_m=0.0):
    """Points [16 * columns, 4] and the beam [16 * columns] of each. distance: m, by azimuth in
    radians. The sensor stood `origin_m` above its frame's origin."""
    azimuth, beam = np.meshgrid(
        np.linspace(-np.pi, np.pi, columns, endpoint=False), np.arange(16), indexing="ij"
    )
    azimuth, beam = azimuth.ravel(), beam.ravel()
    elevation = np.radians(ELEVATIONS_DEG[beam])
    flat = distance(azimuth) * np.cos(elevation)
    height = distance(azimuth) * np.sin(elevation) + origin_m
    points = [flat * np.cos(azimuth), flat * np.sin(azimuth), height, np.full(len(beam), 0.3)]
    return np.stack(points, 1).astype(np.float32), beam


def cloud(count=500, seed=0, reach=60.0):
    generator = np.random.default_rng(seed)
    points = generator.uniform(-reach, reach, (count, 4))
    points[:, 3] = generator.uniform(0, 1, count)
    return points.astype(np.float32)


def straight_ahead(distance, intensity, count=4000):
    """`count` points on one spot."""
    return np.tile(np.array([distance, 0, 0, intensity], np.float32), (count, 1))


def test_every_other_beam_is_chosen_however_unevenly_they_are_spaced():
    points, beam = scan(lambda azimuth: 20 + 5 * np.sin(3 * azimuth))
    chosen = alternate_beams(points)
    assert (chosen == (beam % 2 == 1)).all() or (chosen == (beam % 2 == 0)).all()


def test_beams_are_told_apart_where_near_and_far_points_of_one_beam_lie_further_apart_than_beams():
    # 5 cm seen from 6 m are 0.48 degrees and from 60 m 0.05; the closest beams are 0.2 apart. The
    # sectors that a border between near and far cuts may be wrong.
    points, beam = scan(lambda azimuth: np.where(np.sin(azimuth) > 0, 6.0, 60.0), origin_m=0.05)
    alike = np.mean(alternate_beams(points) == (beam % 2 == 1))
    assert max(alike, 1 - alike) > 0.95


def test_points_without_any_order_and_no_points_at_all_have_beams_too():
    assert 0.3 < alternate_beams(cloud()).mean() < 0.7
    assert alternate_beams(cloud(0)).shape == (0,)
    assert alternate_beams(cloud(1)).shape == (1,)


def test_half_the_beams_are_sometimes_the_even_and_sometimes_the_odd_ones():
    points, beam = scan(lambda azimuth: np.full_like(azimuth, 20.0), columns=90)
    kept = set()
    for seed in range(8):
        _, source = CORRUPTIONS["half the beams"](points, np.random.default_rng(seed))
        assert len(source) == len(points) / 2
        kept.add(int(beam[source[0]]) % 2)
    assert kept == {0, 1}


def test_a_tenth_of_the_points_is_left_in_their_order():
    points = cloud(505)
    left, source = tenth_of_the_points(points, np.random.default_rng(0))
    assert len(left) == 50  # 50.5, rounded to even
    assert (np.diff(source) > 0).all()


def test_intensities_are_all_halved_or_all_doubled_up_to_1():
    points = np.zeros((3, 4), np.float32)
    points[:, 3] = 0.1, 0.4, 0.8
    found = {
        tuple(scaled_intensity(points, np.random.default_rng(seed))[0][:, 3].round(3).tolist())
        for seed in range(8)
    }
    assert {tuple(round(v, 2) for v in row) for row in found} == {(0.05, 0.2, 0.4), (0.2, 0.8, 1.0)}


def test_noise_has_5_cm_in_each_direction_and_leaves_the_intensity():
    points = straight_ahead(10, 0.5)
    moved, _ = noise(points, np.random.default_rng(0))
    np.testing.assert_allclose((moved - points)[:, :3].std(0), 0.05, rtol=0.05)
    np.testing.assert_array_equal(moved[:, 3], points[:, 3])


def test_fog_dims_a_target_twice_on_the_way_there_and_back():
    # Visibility 50 m: a = ln 20 / 50. At 25 m: exp(-2 a 25) = 1/20.
    points, source = fog(straight_ahead(25, 1.0), np.random.default_rng(0))
    np.testing.assert_allclose(points[source != NO_SOURCE, 3], 1 / 20, rtol=1e-5)


def test_fog_hides_what_is_weaker_than_the_weakest_echo_in_clear_air():
    # Seen is a target with p exp(-2 a r) >= 0.1 (r / 200 m)^2.
    # p = 1, r = 60 m: exp(-7.19) = 7.6e-4 < 0.1 * 0.09 = 9e-3, so only echoes of fog are left.
    # p = 1, r = 30 m: exp(-3.59) = 2.7e-2 > 0.1 * 0.0225 = 2.3e-3, so none is lost.
    _, source = fog(straight_ahead(60, 1.0), np.random.default_rng(0))
    assert (source == NO_SOURCE).all()
    points, _ = fog(straight_ahead(30, 1.0), np.random.default_rng(0))
    assert len(points) == 4000


def test_echoes_of_fog_lie_before_their_target_on_its_beam():
    target = straight_ahead(30, 0.1)
    points, source = fog(target, np.random.default_rng(0))
    echoes = points[source == NO_SOURCE]
    assert 0 < len(echoes) < 4000
    assert ((echoes[:, 0] >= 0.999) & (echoes[:, 0] <= 30)).all()
    assert (echoes[:, 1:3] == 0).all()


def test_the_share_of_echoes_of_fog_is_that_of_the_formula():
    # Target at 20 m with p = 0.1: 0.1 / pi * exp(-2 a 20) = 0.03183 * 0.09103 = 2.898e-3.
    # Fog at s: 0.046 / 50 * 1.5 * u * e = 1.38e-3 u e, u = exp(-2 a s) uniform on
    # exp(-2 a 20) = 0.09103 .. exp(-2 a 1) = 0.8871. P(e > 2.1 / u), mean over u by the midpoints.
    u = 0.09103 + (0.8871 - 0.09103) * (np.arange(1000) + 0.5) / 1000
    expected = np.exp(-2.1 / u).mean()
    _, source = fog(straight_ahead(20, 0.1, 100_000), np.random.default_rng(0))
    assert (source == NO_SOURCE).mean() == pytest.approx(expected, abs=0.003)


def test_there_is_no_echo_of_fog_before_a_target_at_arm_s_length():
    _, source = fog(straight_ahead(0.9, 0.0), np.random.default_rng(0))
    assert len(source) == 4000
    assert (source != NO_SOURCE).all()


@given(st.integers(0, 1000), st.floats(20, 100), st.floats(1.5, 5))
@settings(max_examples=30)
def test_thicker_fog_never_shows_a_target_that_thinner_fog_lost(seed, visibility, factor):
    points = cloud(300, seed, reach=120)

    def targets(visibility_m):
        source = fog(points, np.random.default_rng(seed), visibility_m)[1]
        return set(source[source != NO_SOURCE].tolist())

    assert targets(visibility) <= targets(factor * visibility)


@pytest.mark.parametrize("name", CORRUPTIONS)
@given(st.integers(0, 200), st.integers(0, 100))
@settings(max_examples=10)
def test_labels_and_times_follow_their_points(name, count, seed):
    # Every point's label and time tell its place; intensities fade, directions don't.
    points = cloud(count, seed, reach=40)
    place = np.arange(count)
    before = points.copy()
    sweep = Sweep(points, place.astype(np.float32), place.astype(np.uint8), 7, "street")
    after = corrupted(sweep, name, seed)
    np.testing.assert_array_equal(points, before)
    assert after.points.dtype == np.float32
    assert after.time.dtype == np.float32
    assert after.label.dtype == np.uint8
    assert len(after.points) == len(after.time) == len(after.label) <= count
    assert (after.stamp_ns, after.recording) == (7, "street")
    real = after.label != UNLABELLED
    np.testing.assert_array_equal(after.time[real], after.label[real])
    np.testing.assert_allclose(after.points[real, :3], points[after.label[real], :3], atol=0.5)
    assert ((after.points[:, 3] >= 0) & (after.points[:, 3] <= 1)).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_sweep_is_corrupted_alike_for_every_model(name):
    points = cloud(400)
    sweep = Sweep(points, np.zeros(400, np.float32), np.zeros(400, np.uint8), 7, "street")
    one, other = corrupted(sweep, name, 3), corrupted(sweep, name, 3)
    np.testing.assert_array_equal(one.points, other.points)
    np.testing.assert_array_equal(one.label, other.label)


def test_what_was_not_measured_is_taken_for_the_mean():
    points = cloud(50)
    sweep = Sweep(points, np.zeros(50, np.float32), np.zeros(50, np.uint8), 7, "street")
    after = corrupted(sweep, "no intensity", mean_intensity=0.25)
    assert (after.points[:, 3] == 0.25).all()
    np.testing.assert_array_equal(after.points[:, :3], points[:, :3])


def test_an_unknown_corruption_is_named_with_those_there_are():
    sweep = Sweep(cloud(1), np.zeros(1, np.float32), np.zeros(1, np.uint8), 7, "street")
    with pytest.raises(InputError, match=r"'snow'; there are half the beams, .*fog"):
        corrupted(sweep, "snow")


def test_fog_of_the_visibility_s_definition_leaves_5_percent_one_way():
    # exp(-a * visibility) = exp(-ln 20) = 1/20
    points, source = fog(straight_ahead(5, 1.0, 10), np.random.default_rng(0), visibility_m=10.0)
    assert points[source != NO_SOURCE, 3] == pytest.approx(math.exp(-math.log(20)))
