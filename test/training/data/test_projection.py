"""Points to pixels, with every distortion model."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_training.data.projection import project
from haskd_training.recordings.camera_model import CameraModel

K = np.array([[500.0, 0, 320], [0, 480.0, 240], [0, 0, 1]])

DISTORTIONS = {
    "plumb_bob": [-0.28, 0.07, 0.001, -0.002, 0.01],
    "rational_polynomial": [1.2, -0.4, 0.001, -0.0005, 0.05, 1.5, -0.1, 0.02],
    "equidistant": [-0.02, 0.01, -0.005, 0.001],
}


def camera(model: str = "plumb_bob", d: list[float] | None = None) -> CameraModel:
    return CameraModel(K, model, np.array(d if d is not None else [0.0] * 5), 640, 480)


def test_a_pinhole_is_worked_out_by_hand() -> None:
    points = np.array([[1.0, 0.5, 5.0], [0.0, 0.0, 2.0], [4.0, 0.0, 5.0], [0.0, 0.0, -2.0]])
    seen = project(points, np.eye(4), camera())
    # u = 500 * 1/5 + 320, v = 480 * 0.5/5 + 240; the third: 500 * 4/5 + 320 = 720 > 640.
    assert seen.pixels[:3] == pytest.approx(np.array([[420, 288], [320, 240], [720, 240]]))
    assert np.isnan(seen.pixels[3]).all()
    assert seen.depth.tolist() == [5, 2, 5, -2]
    assert seen.inside.tolist() == [True, True, False, False]


def test_the_transform_comes_first() -> None:
    # Lidar: x forward, y left, z up, 1 m above the camera; camera: z forward, x right, y down.
    t_camera_lidar = np.array([[0, -1, 0, 0], [0, 0, -1, -1], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    # (10, 2, 0) -> x = -2, y = -1, depth 10: u = 320 - 100, v = 240 - 48.
    seen = project(np.array([[10.0, 2.0, 0.0]], np.float32), t_camera_lidar, camera())
    assert seen.pixels[0] == pytest.approx([220, 192])
    assert seen.depth[0] == pytest.approx(10)


def test_a_pixel_reaches_half_a_pixel_around_its_centre() -> None:
    edges = [-0.51, -0.49, 639.49, 639.51]
    points = np.array([[(u - 320) / 500, 0, 1] for u in edges])
    assert project(points, np.eye(4), camera()).inside.tolist() == [False, True, True, False]


directions = st.tuples(st.floats(-0.6, 0.6), st.floats(-0.45, 0.45), st.floats(1, 50))


@given(st.sampled_from(["plumb_bob", "rational_polynomial"]), st.lists(directions, min_size=1))
def test_polynomial_distortion_agrees_with_opencv(model: str, rays: list[tuple]) -> None:
    points = np.array([[x * depth, y * depth, depth] for x, y, depth in rays])
    d = DISTORTIONS[model]
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(d))
    seen = project(points, np.eye(4), camera(model, d))
    assert seen.pixels == pytest.approx(expected.reshape(-1, 2), abs=1e-6)


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(1, 50)), min_size=1))
def test_fisheye_distortion_agrees_with_opencv(rays: list[tuple]) -> None:
    points = np.array([[x * depth, y * depth, depth] for x, y, depth in rays])
    d = DISTORTIONS["equidistant"]
    expected, _ = cv2.fisheye.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), K, np.array(d)
    )
    seen = project(points, np.eye(4), camera("equidistant", d))
    assert seen.pixels == pytest.approx(expected.reshape(-1, 2), abs=1e-6)


def test_a_point_on_the_axis_of_a_fisheye_is_the_centre() -> None:
    seen = project(np.array([[0, 0, 3.0]]), np.eye(4), camera("equidistant", [0.1] * 4))
    assert seen.pixels[0] == pytest.approx([320, 240])


def test_points_beyond_the_models_range_do_not_fold_back_into_the_image() -> None:
    # r (1 - 0.3 r^2) grows until 1 = 0.9 r^2, r = 1.054. At r = 1.8 the polynomial gives
    # 1.8 * (1 - 0.972) = 0.05: the middle of the image, 61 degrees off the axis.
    model = camera("plumb_bob", [-0.3, 0, 0, 0, 0])
    points = np.array([[1.05, 0, 1.0], [1.06, 0, 1.0], [1.8, 0, 1.0]])
    folded, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, model.D)
    assert 0 < folded[2, 0, 0] < 640
    seen = project(points, np.eye(4), model)
    assert np.isnan(seen.pixels).all(axis=1).tolist() == [False, True, True]
    assert not seen.inside[2]


def test_a_fisheye_that_turns_back_is_cut_off_there() -> None:
    # theta (1 - 0.5 theta^2) grows until 1 = 1.5 theta^2, theta = 0.816: tan = 1.06.
    model = camera("equidistant", [-0.5, 0, 0, 0])
    seen = project(np.array([[1.05, 0, 1.0], [1.1, 0, 1.0], [5.0, 0, 1.0]]), np.eye(4), model)
    assert np.isnan(seen.pixels).all(axis=1).tolist() == [False, True, True]


def test_a_pole_of_the_rational_model_ends_its_range() -> None:
    # 1 / (1 - r^2): no pixel at or beyond r = 1.
    model = camera("rational_polynomial", [0, 0, 0, 0, 0, -1.0, 0, 0])
    seen = project(np.array([[0.5, 0, 1.0], [1.0, 0, 1.0], [1.5, 0, 1.0]]), np.eye(4), model)
    # u = 500 * 0.5 / 0.75 + 320
    assert seen.pixels[0, 0] == pytest.approx(653.333, abs=1e-3)
    assert np.isnan(seen.pixels).all(axis=1).tolist() == [False, True, True]


def test_an_empty_sweep_projects_to_nothing() -> None:
    seen = project(np.empty((0, 4), np.float32), np.eye(4), camera())
    assert seen.pixels.shape == (0, 2)
    assert seen.inside.shape == (0,)
