"""The ground under a made place: a slope with a kerb, a box, and a roof that hangs in the air."""

from __future__ import annotations

import numpy as np
import pytest

from haskd_training.image_labels.ground import find_ground

ORIGIN = np.array([[0.0, 0.0, 2.0]])


def surface(x: tuple[float, float], y: tuple[float, float], height) -> np.ndarray:
    """[N, 3] points each 0.25 m on a surface z = height(x, y)."""
    grid = np.stack(np.meshgrid(np.arange(*x, 0.25), np.arange(*y, 0.25)), -1).reshape(-1, 2)
    return np.column_stack([grid, np.broadcast_to(height(*grid.T), len(grid))])


def place(slope: float) -> np.ndarray:
    """A road that rises along x, a sidewalk 0.15 m above it from y = 5 m on, a box of 1.5 m at
    x 4 to 6, y -2 to 0, a roof 6 m above the road at x 10 to 14, y -4 to 0, and nothing else."""
    road = surface((-15, 15), (-8, 5), lambda x, y: slope * x)
    on_road = ~((road[:, 0] > 4) & (road[:, 0] < 6) & (road[:, 1] > -2) & (road[:, 1] < 0))
    return np.concatenate(
        [
            road[on_road],
            surface((-15, 15), (5, 8), lambda x, y: slope * x + 0.15),
            surface((4.25, 6), (-1.75, 0), lambda x, y: slope * x + 1.5),
            surface((10, 14), (-4, 0), lambda x, y: slope * x + 6),
        ]
    )


@pytest.mark.parametrize("slope", [0.0, 0.1], ids=["level", "10 percent"])
def test_heights_are_above_the_ground_not_above_a_level(slope):
    points = place(slope)
    above = find_ground(points, ORIGIN).above(points)
    x, y, z = points.T
    # A cell is 0.5 m long and its lowest point at most that far from any other of it.
    near = 0.06 + 0.5 * slope
    true = z - slope * x - np.where(y >= 5, 0.15, 0)
    away_from_kerb = np.abs(y - 5) > 0.8
    assert np.abs(above - true)[away_from_kerb].max() < near + 0.02
    assert np.isclose(above[true > 5].mean(), 6, atol=near)
    assert np.isclose(above[(true > 1) & (true < 2)].mean(), 1.5, atol=near)


def test_a_step_as_high_as_a_kerb_is_ground_and_a_wall_is_not():
    points = place(0.0)
    # A ledge of 1 m behind the sidewalk, as wide as a garden behind its wall
    points = np.concatenate([points, surface((-15, 15), (8, 12), lambda x, y: 1.0)])
    above = find_ground(points, ORIGIN).above(points)
    sidewalk = (points[:, 1] > 5.5) & (points[:, 1] < 7.5)
    ledge = (points[:, 1] > 8.5) & (points[:, 1] < 11)
    assert np.abs(above[sidewalk]).max() < 0.05
    # 1 m above the road, or 0.85 m above the sidewalk that is nearer
    assert above[ledge].min() > 0.8


def test_ground_that_is_far_from_all_points_of_it_is_not_known():
    far = np.array([[40.0, 40.0, 3.0]])
    points = np.concatenate([place(0.0), far])
    above = find_ground(points, ORIGIN).above(points)
    assert np.isnan(above[-1])
    assert not np.isnan(above[:-1]).any()
