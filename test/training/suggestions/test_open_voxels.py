"""What a model leaves open: looks, places and regions of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import UNLABELLED, ClassInfo, Taxonomy
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.rows import SweepRow
from haskd_training.learning.inference import label_as_robot
from haskd_training.suggestions.looks import find_looks, look_of
from haskd_training.suggestions.open_voxels import Observer, OpenVoxels
from haskd_training.suggestions.regions import find_regions
from haskd_training.suggestions.sketches import sketch

TAXONOMY = Taxonomy((ClassInfo("road", (1, 1, 1)), ClassInfo("car", (2, 2, 2), movable=True)))


def voxels(centroids: list, entropy: list[float], car: list[float], features=None) -> OpenVoxels:
    """Voxels whose classes are road and car."""
    probability = np.array([[1 - share, share] for share in car], np.float32)
    features = np.zeros((len(entropy), 1)) if features is None else np.array(features)
    return OpenVoxels(
        np.array(centroids, np.float32),
        np.array(entropy, np.float32),
        probability,
        features.astype(np.float32),
    )


def test_a_model_is_as_unsure_as_on_the_robot(drive_cache, tiny_model):
    cache = Cache.open(drive_cache)
    # Voxels of a few millimetres hold a point each, but for points in one place.
    found = Observer(tiny_model, 0.002).observe(cache, 0)
    robot = label_as_robot(Segmenter.load(tiny_model, device="cpu", precision="fp32"), cache, 0)
    labelled = robot.class_id != UNLABELLED
    assert len(found.entropy) == pytest.approx(labelled.sum(), rel=0.01)
    expected = robot.entropy[labelled] / np.log(3)
    assert found.entropy.mean() == pytest.approx(expected.mean(), rel=0.01)
    classes = np.bincount(found.probability.argmax(1), minlength=3)
    assert classes == pytest.approx(np.bincount(robot.class_id[labelled], minlength=3), abs=30)
    assert np.allclose(found.probability.sum(1), 1, atol=1e-4)


def test_looks_are_the_clusters_of_the_features():
    generator = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    rows = np.repeat(centres, 50, 0) + generator.normal(0, 0.1, (150, 2)).astype(np.float32)
    # More cells than clusters, as k-means from drawn rows may leave two clusters in one
    looks = find_looks(rows, 12, generator)
    cell = look_of(rows, looks)
    assert len(looks) == 12
    assert not set(cell[:50]) & set(cell[50:100]) and not set(cell[50:100]) & set(cell[100:])
    assert len(find_looks(rows[:5], 12, generator)) == 5


def test_a_sketch_sums_entropy_by_look_and_by_place_of_what_does_not_move():
    # Two voxels of look 0, the second one a car; one of look 1 in the first one's cube of 1 m
    found = voxels(
        [(0.2, 0, 0), (9, 0, 0), (0.4, 0.1, 0)], [0.5, 0.4, 0.2], [0, 0.75, 0], [[0], [1], [9]]
    )
    # The sensor stands at x = 10 m.
    T_world_lidar = np.eye(4)
    T_world_lidar[0, 3] = 10
    row = SweepRow("drive", 0, 3, [0, 0], T_world_lidar=T_world_lidar.tolist())
    of_sweep = sketch(found, np.array([[0], [8]], np.float32), row, TAXONOMY, 1.0)
    # Look 0: road 0.5 + 0.4 * 0.25, car 0.4 * 0.75; look 1: road 0.2
    assert of_sweep.look_mass == pytest.approx(np.array([[0.6, 0.3], [0.2, 0]]))
    assert of_sweep.places.tolist() == [[10, 0, 0]]
    assert of_sweep.place_mass == pytest.approx([0.7])
    without_pose = replace(row, T_world_lidar=None)
    of_sweep = sketch(found, np.array([[0], [8]], np.float32), without_pose, TAXONOMY, 1.0)
    assert len(of_sweep.places) == len(of_sweep.place_mass) == 0


def test_regions_are_clusters_of_open_voxels_the_most_worth_first():
    found = voxels(
        # Two beside each other, one far away, one that is not open, one that is covered
        [(5, 5, 0), (5.9, 5, 2), (-20, 0, 1), (5, 6, 0), (-20, 1, 1)],
        [0.4, 0.6, 0.5, 0.2, 0.9],
        [0.5, 0.7, 0, 0, 0],
    )
    near, far = find_regions(found, np.array([0.4, 0.6, 0.5, 0, 0]), count=5, max_size=10)
    assert (near.low.tolist(), near.voxels) == ([5, 5, 0], 2)
    assert near.high == pytest.approx([5.9, 5, 2]) and near.centre == pytest.approx([5.45, 5, 1])
    assert (near.entropy, near.worth) == pytest.approx((0.5, 1 / 1.5))
    assert near.likely(TAXONOMY.names) == [
        ("car", pytest.approx(0.6)),
        ("road", pytest.approx(0.4)),
    ]
    assert (far.voxels, far.worth) == (1, pytest.approx(0.5 / 1.5))
    assert len(find_regions(found, np.array([0.4, 0.6, 0.5, 0, 0]), count=1, max_size=10)) == 1
    assert find_regions(found, np.zeros(5), count=5, max_size=10) == []


def test_a_long_wall_is_cut_into_regions_of_a_size_that_can_be_looked_at():
    wall = voxels([(0.5 + x, 3, 0) for x in range(30)], [0.5] * 30, [0] * 30)
    regions = find_regions(wall, wall.entropy, count=9, max_size=10)
    assert [region.voxels for region in regions] == [10, 10, 10]
    assert max((region.high - region.low).max() for region in regions) <= 10
