"""Augmentation moves points and never tears a sweep from its labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_training.learning.augmentation import AugmentationConfig, augment, fewer_beams

OFF = AugmentationConfig(rotation_deg=0, flip=False, scale=0, shift_m=0, drop=0, intensity=0)


def sweep():
    return np.random.default_rng(0).uniform(-30, 30, (200, 4)).astype(np.float32)


def moved(points, config, seed):
    """The changed points alone."""
    return augment(points, config, np.random.default_rng(seed))[0]


def test_with_everything_switched_off_nothing_changes():
    points = sweep()
    changed = moved(points, OFF, 1)
    np.testing.assert_array_equal(changed, points)


@given(st.integers(0, 2**32))
def test_rotation_and_flip_keep_heights_and_all_distances(seed):
    points = sweep()
    config = OFF.model_copy(update={"rotation_deg": 180.0, "flip": True})
    changed = moved(points, config, seed)
    np.testing.assert_allclose(changed[:, 2:], points[:, 2:], atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(changed[:100, :3] - changed[100:, :3], axis=1),
        np.linalg.norm(points[:100, :3] - points[100:, :3], axis=1),
        rtol=1e-4,
    )


@given(st.integers(0, 2**32))
def test_size_and_brightness_stay_within_their_ranges(seed):
    points = np.array([[10.0, 0, 0, 0.5], [0, 0, 0, 0.5]], np.float32)
    config = OFF.model_copy(update={"scale": 0.05, "intensity": 0.1})
    changed = moved(points, config, seed)
    assert 9.5 - 1e-3 <= np.linalg.norm(changed[0, :3] - changed[1, :3]) <= 10.5 + 1e-3
    assert 0.45 - 1e-6 <= changed[0, 3] <= 0.55 + 1e-6


def test_the_same_seed_gives_the_same_sweep_and_another_seed_another():
    points = sweep()
    first, again, other = (moved(points, AugmentationConfig(drop=0), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@given(st.integers(0, 2**32), st.floats(0, 0.9))
def test_thinning_keeps_each_label_at_its_point_and_no_more_than_asked(seed, share):
    points = sweep()
    points[:, 3] = np.arange(200)  # the intensity identifies the point
    config = OFF.model_copy(update={"drop": share})
    kept, chosen = augment(points, config, np.random.default_rng(seed))
    labels = np.flatnonzero(chosen)
    np.testing.assert_array_equal(kept[:, 3], labels)
    assert (np.diff(labels) > 0).all()
    # 200 draws at a rate of at most `share`: six standard deviations of sqrt(200) / 2 and more
    assert len(kept) >= 200 * (1 - share) - 45


def test_a_sector_without_intensity_has_the_mean_of_the_sensor():
    points = sweep()
    points[:, 3] = 0.5
    config = OFF.model_copy(update={"no_intensity": 1.0})
    shares = []
    for seed in range(200):
        changed, _ = augment(points, config, np.random.default_rng(seed), mean_intensity=0.25)
        np.testing.assert_array_equal(changed[:, :3], points[:, :3])
        without = changed[:, 3] == 0.25
        assert (changed[~without, 3] == 0.5).all()
        shares.append(without.mean())
        # One sector: by azimuth it begins once.
        order = np.argsort(np.arctan2(points[:, 1], points[:, 0]))
        assert np.count_nonzero(np.diff(without[order].astype(int))) <= 2
    assert 0.4 < np.mean(shares) < 0.6
    assert max(shares) > 0.95


def test_about_the_asked_share_of_the_sweeps_lacks_intensity_somewhere():
    points = sweep()
    points[:, 3] = 0.5
    config = OFF.model_copy(update={"no_intensity": 0.25})
    lacking = [(moved(points, config, seed)[:, 3] == 0).any() for seed in range(400)]
    assert 60 < sum(lacking) < 140  # 100, and more than four standard deviations of 8.7


@given(st.integers(0, 2**32))
def test_contrast_keeps_the_order_of_intensities_and_their_ends(seed):
    points = np.zeros((4, 4), np.float32)
    points[:, 3] = [0, 0.25, 0.5, 1]
    changed = moved(points, OFF.model_copy(update={"contrast": 0.5}), seed)[:, 3]
    assert (changed[0], changed[3]) == (0, 1)
    # 0.25 ** 1.5 and 0.25 ** (1 / 1.5)
    assert 0.125 - 1e-6 <= changed[1] <= 0.3969
    assert changed[2] == pytest.approx(np.sqrt(changed[1]), rel=1e-5)


def test_a_sensor_of_another_gain_is_brighter_or_darker_and_saturates():
    points = np.zeros((3, 4), np.float32)
    points[:, 3] = [0.01, 0.1, 0.5]
    config = OFF.model_copy(update={"gain": 10.0})
    changed = np.array([moved(points, config, seed)[:, 3] for seed in range(200)])
    assert changed.max() == 1
    factor = changed[:, 0] / 0.01
    assert 0.1 - 1e-6 <= factor.min() < 0.2
    assert 5 < factor.max() <= 10 + 1e-4
    assert 70 < (factor > 1).sum() < 130  # 100, and more than four standard deviations of 7
    np.testing.assert_allclose(changed[:, 1], np.minimum(0.1 * factor, 1), rtol=1e-5)
    np.testing.assert_allclose(changed[:, 2], np.minimum(0.5 * factor, 1), rtol=1e-5)


@given(st.integers(0, 2**32))
def test_a_tilted_and_lifted_sensor_sees_the_same_distances(seed):
    points = sweep()
    config = OFF.model_copy(update={"tilt_deg": 5.0, "height_m": 0.5})
    changed = moved(points, config, seed)
    np.testing.assert_allclose(
        np.linalg.norm(changed[:100, :3] - changed[100:, :3], axis=1),
        np.linalg.norm(points[:100, :3] - points[100:, :3], axis=1),
        rtol=1e-4,
    )
    np.testing.assert_array_equal(changed[:, 3], points[:, 3])
    # The sensor itself: lifted, and by no more than asked
    origin = moved(np.zeros((2, 4), np.float32), config, seed)[0]
    assert (origin[0], origin[1]) == (0, 0)
    assert abs(origin[2]) <= 0.5


@pytest.mark.parametrize("beams", [1, 16])
def test_a_sensor_of_few_beams_keeps_them(beams):
    elevation = np.radians(np.repeat(np.linspace(-15, 15, beams) if beams > 1 else [0.0], 100))
    points = np.zeros((len(elevation), 4), np.float32)
    points[:, 0], points[:, 2] = 10 * np.cos(elevation), 10 * np.sin(elevation)
    config = OFF.model_copy(update={"beams": 1.0})
    counts = [len(moved(points, config, seed)) for seed in range(200)]
    assert min(counts) >= 0.15 * len(points)


def test_what_stands_in_for_an_intensity_has_no_gain():
    points = sweep()
    points[::2, 3] = 0.25
    config = OFF.model_copy(update={"gain": 10.0, "contrast": 0.5, "intensity": 0.5})
    changed, _ = augment(points, config, np.random.default_rng(3), mean_intensity=0.25)
    assert (changed[::2, 3] == 0.25).all()
    assert not np.isclose(changed[1::2, 3], points[1::2, 3]).any()


def test_fewer_beams_are_rings_at_equal_distances():
    elevation = np.radians(np.arange(-20, 10, 0.05))
    points = np.zeros((len(elevation), 4), np.float32)
    points[:, 0], points[:, 2] = 10 * np.cos(elevation), 10 * np.sin(elevation)
    for seed in range(20):
        seen = np.degrees(elevation[fewer_beams(points, np.random.default_rng(seed))])
        # The first ring may be cut off by the lowest beam.
        apart = np.diff(seen[np.diff(seen, prepend=-99) > 0.1][1:])
        assert np.ptp(apart) < 0.11  # the sweep's own steps
        assert 0.5 < apart.mean() < 3.1
