"""Boxes and frames."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_ros.clouds.crop import inside_box, is_unbounded, matrix_of


def transform(rotation, translation):
    names = ("x", "y", "z", "w")
    return SimpleNamespace(
        rotation=SimpleNamespace(**dict(zip(names, rotation))),
        translation=SimpleNamespace(**dict(zip(names, translation))),
    )


def test_faces_belong_to_the_box_and_what_is_not_finite_does_not():
    points = np.array(
        [[0, 0, 0, 9], [1, 1, 1, 9], [1.1, 0, 0, 9], [0, 0, -50, 9], [0, 0, -np.inf, 9],
         [np.nan, 0, 0, 9]], np.float32,
    )  # fmt: skip
    low, high = np.array([0, 0, -np.inf]), np.array([1, 1, 1])
    assert inside_box(points, low, high).tolist() == [True, True, False, True, False, False]


def test_the_box_is_in_its_own_frame():
    # The sensor 2 m above the base, turned left by 90 degrees: its x is the base's y
    half = math.sqrt(0.5)
    to_base = matrix_of(transform((0, 0, half, half), (0, 0, 2)))
    assert to_base @ [1, 0, 0, 1] == pytest.approx([0, 1, 2, 1])
    points = np.array([[3, 0, 0], [0, 3, 0]], np.float32)
    low, high = np.array([-1, 0, 0]), np.array([1, 5, 5])
    assert inside_box(points, low, high, to_base).tolist() == [True, False]


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_any_quaternion_gives_a_rotation(quaternion):
    rotation = matrix_of(transform(quaternion, (0, 0, 0)))[:3, :3]
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_a_box_with_one_closed_side_is_a_box():
    low, high = [-math.inf] * 3, [math.inf] * 3
    assert is_unbounded(low, high)
    assert not is_unbounded(low, [math.inf, 5.0, math.inf])
