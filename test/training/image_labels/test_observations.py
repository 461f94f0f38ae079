"""What images say of points: hidden ones, moving ones, several cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.data.caches.cache import Cache, Sweep
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.image_labels.mask_files import Mask
from haskd_training.image_labels.observations import observe
from haskd_training.images.visibility import VisibilityConfig

STAMP_NS = 10**12
TAXONOMY = Taxonomy((ClassInfo("road", (0, 0, 0)), ClassInfo("car", (1, 1, 1))))
LEFT, RIGHT = 4, 7

# 100 x 80 px, focal length 100 px, (50, 40) on the axis. The sensor frame is the camera's: z ahead,
# x right, y down, so that a point (x, y, z) falls on (50 + 100 x / z, 40 + 100 y / z).
IMAGE = ImageRow(
    "drive", "front", STAMP_NS, 100, 80, [[100.0, 0, 50], [0, 100, 40], [0, 0, 1]], "plumb_bob",
    [0.0] * 5, np.eye(4).tolist(), np.eye(4).tolist(),
)  # fmt: skip


def halves(left=LEFT, right=RIGHT, confidence=255):
    """A mask whose columns up to 49 are of one class, the others of another."""
    classes = np.full((80, 100), left, np.uint8)
    classes[:, 50:] = right
    return Mask(classes, np.full((80, 100), confidence, np.uint8))


def look(points, masks, images=(IMAGE,), time=None, window_s=0.15):
    """(point, image, class, confidence) of each observation."""
    points = np.column_stack([np.array(points, np.float32), np.zeros(len(points), np.float32)])
    row = SweepRow("drive", STAMP_NS, len(points), [], np.eye(4).tolist())
    cache = Cache(Path(), TAXONOMY, 1.0, {}, [row], list(images), "")
    measured = np.array(time or [0.0] * len(points), np.float32)
    sweep = Sweep(points, measured, np.zeros(len(points), np.uint8), STAMP_NS, "drive")
    found = observe(
        cache, 0, sweep, lambda j: masks[j], window_s=window_s, visibility=VisibilityConfig()
    )
    return sorted(
        zip(*(values.tolist() for values in (
            found.point, found.image, found.class_id, found.confidence,
        )))
    )  # fmt: skip


def at(seconds, **changes):
    return replace(IMAGE, stamp_ns=STAMP_NS + round(seconds * 1e9), **changes)


def test_a_point_has_the_class_of_its_pixel():
    # 50 - 100 / 10 = 40 and 50 + 100 / 10 = 60
    found = look([(-1, 0, 10), (1, 0, 10), (0, 0, -10)], [halves(confidence=51)])
    assert [one[:3] for one in found] == [(0, 0, LEFT), (1, 0, RIGHT)]
    assert np.allclose([one[3] for one in found], 51 / 255)


def test_a_point_behind_another_surface_is_not_seen():
    # All three fall on pixel (60, 40); 10.1 m is still on the surface at 10 m, 20 m is not.
    points = [(1, 0, 10), (1.01, 0, 10.1), (2, 0, 20)]
    assert [one[0] for one in look(points, [halves()])] == [0, 1]


def test_a_moving_thing_is_looked_up_where_it_was_measured():
    # Two images of a camera: in the first the thing is there, in the second it has left. The
    # first point was measured with the first image, the second with the second.
    images = [at(-0.09), at(0)]
    masks = [halves(right=1), halves(right=2)]
    found = look([(1, 0, 10), (1.5, 0.5, 10)], masks, images, time=[-0.09, 0.0])
    assert [one[:3] for one in found] == [(0, 0, 1), (1, 1, 2)]


def test_each_camera_says_what_it_sees():
    images = [at(0.01), at(0.02, camera="side"), at(0.05, camera="side")]
    masks = [halves(right=1), halves(right=2), halves(right=3)]
    # Of the side camera the nearer image
    assert [one[:3] for one in look([(1, 0, 10)], masks, images)] == [(0, 0, 1), (0, 1, 2)]


def test_an_image_of_another_moment_or_without_a_mask_says_nothing():
    assert look([(1, 0, 10)], [halves()], [at(0.2)]) == []
    assert look([(1, 0, 10)], [None]) == []
    assert len(look([(1, 0, 10)], [halves()], [at(0.2)], window_s=0.3)) == 1
