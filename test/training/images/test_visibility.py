"""Which points an image shows, on which pixels, and what the view is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.preparing.prepare import prepare
from haskd_training.data.projection import project
from haskd_training.images.visibility import (
    View,
    VisibilityConfig,
    image_qualities,
    image_quality,
    views,
)
from haskd_training.recordings.camera_model import DISTORTION_COEFFICIENTS
from recorded_bags import Scene, write_bag

STAMP_NS = 10**12
TAXONOMY = Taxonomy((ClassInfo("road", (0, 0, 0)), ClassInfo("car", (1, 1, 1), movable=True)))

# 100 x 80 px, focal length 100 px, (50, 40) on the axis. The sensor frame is the camera's: z ahead,
# x right, y down, so that a point (x, y, z) falls on (50 + 100 x / z, 40 + 100 y / z).
IMAGE = ImageRow(
    recording="drive",
    camera="front",
    stamp_ns=STAMP_NS,
    width=100,
    height=80,
    K=[[100.0, 0, 50], [0, 100, 40], [0, 0, 1]],
    distortion_model="plumb_bob",
    D=[0.0] * 5,
    T_world_camera=np.eye(4).tolist(),
    T_camera_lidar=np.eye(4).tolist(),
    shard="",
    key="",
)


def cache_of(*images: ImageRow) -> Cache:
    """One sweep at STAMP_NS and some images; nothing on disk."""
    sweep = SweepRow("drive", STAMP_NS, 0, [], np.eye(4).tolist(), "", "")
    return Cache(Path(), TAXONOMY, 1.0, {}, [sweep], list(images), "")


def look(
    points: list[tuple[float, ...]] | np.ndarray,
    image: ImageRow = IMAGE,
    movable: bool = False,
    config: VisibilityConfig | None = None,
    **arguments: np.ndarray,
) -> View:
    points = np.array(points, np.float64)
    moves = np.full(len(points), movable)
    (view,) = views(
        cache_of(image),
        0,
        points=points,
        images=[0],
        movable=moves,
        config=config or VisibilityConfig(),
        image_quality=lambda _: 0.8,
        **arguments,
    )
    return view


def after(seconds: float) -> ImageRow:
    """The image, taken that much after the sweep."""
    return replace(IMAGE, stamp_ns=STAMP_NS + round(seconds * 1e9))


def test_pixel_and_quality_are_worked_out_by_hand() -> None:
    view = look([(0, 0, 10), (1, 2, 10), (0, -1, 40), (0, 0, -10), (9, 0, 10)])
    # 50 + 100 * 1 / 10, 40 + 100 * 2 / 10; 40 - 100 / 40; behind the camera; 50 + 90 is outside.
    assert view.pixels[:3] == pytest.approx(np.array([[50, 40], [60, 60], [50, 37.5]]))
    assert np.isnan(view.pixels[3]).all()
    # Up to 20 m the image's own 0.8; at sqrt(1 + 1600) m 0.8 * 20 / 40.01.
    assert view.quality == pytest.approx([0.8, 0.8, 0.8 * 20 / 1601**0.5, 0, 0])
    assert view.pixels.dtype == view.quality.dtype == np.float32


def test_a_view_fades_with_the_time_between_cloud_and_image() -> None:
    point = [(0.0, 0.0, 10.0)]
    assert look(point, after(0.5)).quality == pytest.approx([0.8 * np.exp(-0.5)])
    assert look(point, after(-0.5)).quality == pytest.approx([0.8 * np.exp(-0.5)])


def test_movable_points_are_seen_within_50_ms_only() -> None:
    point = [(0.0, 0.0, 10.0)]
    # exp(-0.05 / 0.1)
    assert look(point, after(0.05), movable=True).quality == pytest.approx([0.8 * np.exp(-0.5)])
    assert look(point, after(-0.051), movable=True).quality.tolist() == [0]


def test_the_time_that_counts_is_the_points_own() -> None:
    # The stamp is the end of the sweep, and the image was taken when the sensor passed the first
    # point, 0.1 s before it; the second was measured 0.06 s later.
    points = [(0.0, 0.0, 10.0), (1.0, 0.0, 10.0)]
    view = look(points, after(-0.1), movable=True, times=np.array([-0.1, -0.04]))
    assert view.quality == pytest.approx([0.8, 0])


def test_the_border_of_an_image_shows_nothing() -> None:
    # At depth 10, u = 50 + 10 x. Pixel 5 begins at 4.5, pixel 94 ends at 94.5.
    points = [((u - 50) / 10, 0, 10) for u in (4.4, 4.6, 94.4, 94.6)]
    assert (look(points).quality > 0).tolist() == [False, True, True, False]
    points = [(0, (v - 40) / 10, 10) for v in (4.4, 4.6, 74.4, 74.6)]
    assert (look(points).quality > 0).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("depth", "hidden"),
    [
        # 5 % of the depth: 10.52 - 0.526 = 9.994 is not behind 10, 10.54 - 0.527 = 10.013 is.
        ((10, 10.52), False),
        ((10, 10.54), True),
        # Nearer than 4 m it is 0.2 m.
        ((2, 2.19), False),
        ((2, 2.21), True),
    ],
)
def test_a_point_behind_another_is_hidden(depth: tuple[float, float], hidden: bool) -> None:
    view = look([(0, 0, depth[0]), (0, 0, depth[1])])
    assert (view.quality > 0).tolist() == [True, not hidden]
    assert np.isfinite(view.pixels).all()


def test_nothing_is_seen_through_the_gaps_of_a_near_surface() -> None:
    # A wall 5 m away, x from -0.5 to 0.5: on every pixel of every second row from 30 to 50.
    wall = [((u - 50) / 20, (v - 40) / 20, 5) for v in range(30, 51, 2) for u in range(40, 61)]
    # 20 m away: in a gap of the wall, beside it, above it.
    behind = [(0, (41 - 40) / 5, 20), ((70 - 50) / 5, 0, 20), (0, (28 - 40) / 5, 20)]
    # 1.5 degrees of 100 px are 2.6 px: the z-buffer is closed over 3 rows.
    assert (look(wall + behind).quality[-3:] > 0).tolist() == [False, True, True]
    as_it_is = VisibilityConfig(gap_deg=(0, 0))
    assert (look(wall + behind, config=as_it_is).quality[-3:] > 0).tolist() == [True, True, True]


def test_a_street_at_a_grazing_angle_does_not_hide_itself() -> None:
    # 1.5 m below the camera: v = 40 + 150 / z. At 12 m a pixel is 12^2 / 150 = 0.96 m long, 8 %.
    config = VisibilityConfig(tolerance=0.1)
    street = [(x / 10, 1.5, z) for z in np.geomspace(5, 12, 30) for x in range(-10, 11)]
    assert (look(street, config=config).quality > 0).all()
    # What a box on it hides is hidden all the same: 6 m away, u and v from 40 to 60 and 40 to 65.
    box = [(x / 20, y / 20, 6) for x in range(-12, 13) for y in range(0, 31)]
    seen = look(street + box, config=config).quality > 0
    ahead = np.array([z if x == 0 else 0 for x, _, z in street])
    assert seen[: len(street)][(ahead > 0) & (ahead < 6)].all()
    assert not seen[: len(street)][ahead > 6 / 0.9].any()
    assert seen[len(street) :].all()


def test_points_are_hidden_by_the_cloud_that_they_were_taken_from() -> None:
    points = [(0.0, 0.0, 10.0), (1.0, 0.0, 10.0)]
    cloud = np.array([*points, (0.0, 0.0, 5.0)])
    assert (look(points).quality > 0).tolist() == [True, True]
    assert (look(points, occluders=cloud).quality > 0).tolist() == [False, True]
    assert np.array_equal(look(points, occluders=cloud).pixels, look(points).pixels)


def test_the_vehicles_motion_counts() -> None:
    # The camera has driven 15 m ahead: a point 40 m from the sensor is 25 m from the image.
    pose = np.eye(4)
    pose[2, 3] = 15
    view = look([(1, 0, 40), (0, 0, 10)], replace(IMAGE, T_world_camera=pose.tolist()))
    assert view.pixels[0] == pytest.approx([54, 40])
    # The other one lies behind it now.
    assert view.quality == pytest.approx([0.8 * 20 / 626**0.5, 0])


DISTORTIONS = {
    "plumb_bob": [-0.28, 0.07, 0.001, -0.002, 0.01],
    "rational_polynomial": [1.2, -0.4, 0.001, -0.0005, 0.05, 1.5, -0.1, 0.02],
    "equidistant": [-0.02, 0.01, -0.005, 0.001],
}
coordinates = st.floats(-30, 30, width=32)


@given(
    st.sampled_from(sorted(DISTORTION_COEFFICIENTS)),
    st.sampled_from([30.0, 60.0, 200.0, 5000.0]),
    st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=40),
)
def test_no_point_of_the_image_is_overlooked(
    model: str, focal: float, points: list[tuple[float, float, float]]
) -> None:
    K = [[focal, 0, 50], [0, focal, 40], [0, 0, 1]]
    image = replace(IMAGE, distortion_model=model, D=DISTORTIONS[model], K=K)
    exact = project(np.array(points), np.eye(4), image.camera_model)
    view = look(points, image)
    assert view.pixels[exact.inside] == pytest.approx(exact.pixels[exact.inside], abs=1e-3)
    assert not (view.quality > 0)[~exact.inside].any()


@given(
    st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_points_makes_no_difference(points: list, random: object) -> None:
    order = list(range(len(points)))
    random.shuffle(order)
    view, shuffled = look(points), look([points[i] for i in order])
    assert np.array_equal(shuffled.quality, view.quality[order])
    assert np.array_equal(shuffled.pixels, view.pixels[order], equal_nan=True)


def test_no_points_are_no_trouble() -> None:
    view = look(np.empty((0, 3)))
    assert view.pixels.shape == (0, 2)
    assert view.quality.shape == (0,)


def squares(low: int, high: int) -> np.ndarray:
    """[120, 160, 3] squares of 8 px with sharp edges, in random greys."""
    grey = np.random.default_rng(0).integers(low, high, (15, 20, 1)).astype(np.uint8)
    return grey.repeat(8, axis=0).repeat(8, axis=1).repeat(3, axis=2)


def test_a_sharp_image_is_worth_more_than_a_blurred_one() -> None:
    sharp = squares(50, 200)
    assert image_quality(sharp) == 1
    # Each pixel the mean of 15 neighbours in its row, as if the camera had turned.
    padded = np.pad(sharp, ((0, 0), (7, 7), (0, 0)), mode="edge").astype(float)
    turned = sum(padded[:, k : k + 160] for k in range(15)) / 15
    assert image_quality(turned.astype(np.uint8)) < 0.5


def test_an_edge_in_one_direction_is_enough_to_tell() -> None:
    image = np.full((80, 100, 3), 60, np.uint8)
    image[:, 50:] = 180
    assert image_quality(image) == 1


def test_quality_does_not_hang_on_contrast() -> None:
    assert image_quality(squares(100, 140)) == pytest.approx(
        image_quality(squares(50, 200)), abs=0.01
    )


def test_what_is_black_or_burnt_out_is_worth_nothing() -> None:
    image = squares(50, 200)
    image[:, 80:] = 0
    # Half of it can be seen, and that half is sharp.
    assert image_quality(image) == pytest.approx(0.5, abs=0.01)
    image[:, :80] = 255
    assert image_quality(image) == 0
    assert image_quality(np.full((10, 10, 3), 128, np.uint8)) == 0


def test_an_images_quality_is_computed_once(tmp_path: Path) -> None:
    bag = write_bag(tmp_path, Scene(clouds=2, images=2))
    prepare([bag], "pandaset", tmp_path / "cache", PrepareConfig())
    cache = Cache.open(tmp_path / "cache")
    qualities = image_qualities(cache)
    first = qualities(0)
    for shard in (tmp_path / "cache").glob("images-*"):
        shard.unlink()
    # The file is gone, the number is still known.
    assert qualities(0) == first
    assert 0 < first <= 1
