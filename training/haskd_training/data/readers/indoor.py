"""The frame of a scene indoors, which was measured from everywhere and has no sensor's own."""

from __future__ import annotations

import numpy as np

_FLOOR_SHARE = 0.01
"""Share of a scene's points below what counts as its floor: mirrors and windows put some there."""

_BELOW_M = 1e-4
"""Of the origin: coordinates are often whole millimetres, and no point may lie in the origin, which
would make it a return of nothing."""


def scene_origin(xyz: np.ndarray) -> np.ndarray:
    """Where the origin of a scene's frame is put: in its middle, on the floor.

    A model counts range and height from the origin: so none of the scene is far from it, and z is
    the height over the floor.

    Args:
        xyz: [N, 3] m, z upwards, N > 0.

    Returns:
        [3] the middle of the box around the points along x and y, and 0.1 mm less than the height
        that 1 % of them are below.
    """
    low, high = xyz[:, :2].min(0), xyz[:, :2].max(0)
    return np.array([*(low + high) / 2, np.quantile(xyz[:, 2], _FLOOR_SHARE) - _BELOW_M])
