"""One point for each voxel of a cloud."""

from __future__ import annotations

import numpy as np

_FIELD_BITS = 18
_BIAS = 1 << (_FIELD_BITS - 1)
"""Added to every coordinate of a voxel, so that none is below 0."""


def one_per_voxel(points: np.ndarray, chosen: np.ndarray, voxel_size: float) -> np.ndarray:
    """Which of some points stay where each voxel keeps one of them, that nearest to its centre: no
    mean of several, which nothing may be at.

    Args:
        points: [N, 4] float32, x y z in m first; finite where they are chosen.
        chosen: [N] bool, the points that there are.
        voxel_size: edge in m; voxels are counted from the frame's origin.

    Returns:
        [N] bool, some of those chosen. Points too far away for voxels of this size all stay.
    """
    rows = np.flatnonzero(chosen)
    # One voxel of margin for the rounding of the quotient.
    reach = np.float32((_BIAS - 3) * voxel_size)
    rows = rows[(np.abs(points[rows, :3]) < reach).all(1)]
    kept: np.ndarray = chosen.copy()
    if not len(rows):
        return kept
    scaled = points[rows, :3] / np.float32(voxel_size)
    lowest = np.floor(scaled)
    from_centre = np.square(scaled - lowest - np.float32(0.5)).sum(1)
    x, y, z = (lowest.T + _BIAS).astype(np.int64)
    keys = (x << 2 * _FIELD_BITS) | (y << _FIELD_BITS) | z
    order = keys.argsort(kind="stable")
    is_first = np.diff(keys[order], prepend=-1) != 0
    least = np.minimum.reduceat(from_centre[order], np.flatnonzero(is_first))
    voxel = is_first.cumsum() - 1
    # Backwards, so that of several equally near the first one stays.
    nearest = np.flatnonzero(from_centre[order] == least[voxel])[::-1]
    stays = np.empty(len(least), np.int64)
    stays[voxel[nearest]] = order[nearest]
    kept[rows] = False
    kept[rows[stays]] = True
    return kept
