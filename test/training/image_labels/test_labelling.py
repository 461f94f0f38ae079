"""Masks of prepared recordings -> labels of their points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from painted_wall import POSTER, WALL, wall_cache

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED, ClassInfo, Taxonomy
from haskd_training.image_labels.class_sets import ImageClasses
from haskd_training.image_labels.labelling import PointLabelConfig, label_points, label_sets
from haskd_training.image_labels.mask_files import CERTAIN, Mask, write_mask
from haskd_training.image_labels.masks import MaskFolder, mask_path
from haskd_training.image_labels.quality import measure
from haskd_training.image_labels.shapes import Shapes

CLASSES = ImageClasses(("plain", "red"), (3, 8), (("wall",), ("poster",)))
SHAPES = Shapes(np.zeros(2, bool), np.full(2, np.inf), np.zeros(2), np.full(2, np.inf), None)
SWEEPS = 6


def save_masks(cache, folder, said_of=lambda image: image[..., 0] > image[..., 1] + 50.0):
    """Masks by the pictures' own colours: posters are red."""
    for j, row in enumerate(cache.images):
        classes = np.where(said_of(cache.image(j).astype(float)), 8, 3).astype(np.uint8)
        path = mask_path(folder, row.recording, row.camera, row.stamp_ns)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, Mask(classes, np.full(classes.shape, CERTAIN, np.uint8)))
    return MaskFolder(folder, cache.images, CLASSES)


@pytest.fixture(scope="module")
def wall(tmp_path_factory):
    """A wall whose posters change from sweep to sweep, and masks of it."""
    folder = tmp_path_factory.mktemp("wall")
    cache = wall_cache(folder / "cache", SWEEPS)
    return cache, save_masks(cache, folder / "masks")


def label(cache, masks, out, map_sweeps=60, **how):
    config = PointLabelConfig(window_s=0.01, map_sweeps=map_sweeps)
    return label_points([cache], masks, CLASSES, SHAPES, out, origin={}, config=config, **how)


def without_poses(cache):
    """The same as of a recording without a fixed frame."""
    sweeps = [replace(row, T_world_lidar=None) for row in cache.sweeps]
    images = [replace(row, T_world_camera=None) for row in cache.images]
    return replace(cache, sweeps=sweeps, images=images)


def test_each_sweep_votes_alone_where_a_recording_has_no_poses(wall, tmp_path):
    cache, masks = wall
    posed = measure([cache], label(cache, masks, tmp_path / "posed"))
    alone = without_poses(cache)
    labels = measure([alone], label(alone, masks, tmp_path / "alone"))
    # All points are in the picture. A voxel of 0.3 m is a fifth of a poster: what is wrong lies at
    # the edges. With poses all sweeps vote on the same wall, where posters come and go by chance.
    assert labels.labelled_share == 1
    assert labels.right().strict > 0.85
    assert posed.right().strict < 0.8


def test_a_sweep_without_an_image_has_the_labels_of_its_place(wall, tmp_path):
    cache, masks = wall
    only = replace(cache, images=[row for row in cache.images if row == cache.images[2]])
    labels = label(only, masks, tmp_path)
    shares = []
    for row in cache.sweeps:
        found, _ = labels.with_confidence(row.recording, row.stamp_ns, row.points)
        shares.append((found != UNLABELLED).mean())
        assert set(found.tolist()) <= {WALL, POSTER, UNLABELLED}
        assert np.array_equal(labels.seen(row.recording, row.stamp_ns), found != UNLABELLED)
    assert shares[2] == 1
    # 600 points in 800 voxels of 0.3 m: another sweep's point falls on one of them more often than
    # every other time, 1 - exp(-600 / 800) = 0.53.
    assert all(0.4 < share < 0.7 for share in np.delete(shares, 2))


def test_labelling_goes_on_where_it_was_stopped(wall, tmp_path):
    cache, masks = wall
    alone = without_poses(cache)

    def stop(done, total, remark=""):
        assert total == SWEEPS
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(alone, masks, tmp_path / "stopped", progress=stop)
    done = sorted((tmp_path / "stopped").rglob("*.safetensors"))
    assert len(done) == 4
    before = {path: path.stat().st_mtime_ns for path in done}
    label(alone, masks, tmp_path / "stopped")
    label(alone, masks, tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in done} == before
    for path in (tmp_path / "whole").rglob("*.safetensors"):
        other = tmp_path / "stopped" / path.relative_to(tmp_path / "whole")
        assert path.read_bytes() == other.read_bytes()


def test_images_that_show_no_point_are_told(wall, tmp_path):
    cache, masks = wall
    late = [replace(row, stamp_ns=row.stamp_ns + 10**12) for row in cache.images]
    with pytest.raises(InputError, match="no image shows a point"):
        label(replace(cache, images=late), masks, tmp_path)


def test_every_set_that_may_be_left_has_an_id():
    taxonomy = Taxonomy(tuple(ClassInfo(name, (i, i, i)) for i, name in enumerate("abcd")))
    classes = ImageClasses(("x", "y", "z"), (0, 1, 2), (("c", "a", "b"), ("a", "c"), ("d",)))
    # Of c, a, b: each two of them and all, in that order; a with c is there already.
    shapes = Shapes(np.zeros(4, bool), np.full(4, np.inf), np.zeros(4), np.full(4, np.inf), None)
    assert set(label_sets(classes, taxonomy, shapes).several) == {(2, 0), (2, 1), (0, 1), (2, 0, 1)}
    # b has to reach 3 m and may be too low for it: then it may be the rest, d.
    any_width = np.full(4, np.inf)
    shapes = Shapes(np.zeros(4, bool), np.full(4, np.inf), np.array([0, 3.0, 0, 0]), any_width, 3)
    more = {(1, 3), (2, 1, 3), (0, 1, 3), (2, 0, 1, 3)}
    several = set(label_sets(classes, taxonomy, shapes).several)
    assert several == {(2, 0), (2, 1), (0, 1), (2, 0, 1), *more}
