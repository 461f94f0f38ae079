"""One point for each voxel of a cloud."""

from __future__ import annotations

import numpy as np
import torch

from haskd_ros.sparse.grouping import group_by_key
from haskd_ros.sparse.keys import BIAS, voxel_keys


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
    reach = np.float32((BIAS - 3) * voxel_size)
    rows = rows[(np.abs(points[rows, :3]) < reach).all(1)]
    kept: np.ndarray = chosen.copy()
    if not len(rows):
        return kept
    keys, offset = voxel_keys(torch.from_numpy(points[rows]), None, voxel_size)
    _, grouping = group_by_key(keys)
    voxel, from_centre = grouping.inverse.numpy(), offset.square().sum(1).numpy()
    least = np.minimum.reduceat(from_centre[grouping.order.numpy()], grouping.starts.numpy())
    # Backwards, so that of several equally near the first one stays.
    nearest = np.flatnonzero(from_centre == least[voxel])[::-1]
    stays = np.empty(len(least), np.int64)
    stays[voxel[nearest]] = nearest
    kept[rows] = False
    kept[rows[stays]] = True
    return kept
