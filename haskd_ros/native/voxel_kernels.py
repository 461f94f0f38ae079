"""Compiled kernels for where points and voxels are, as functions of arrays and tensors; see
`kernels`, of which the same holds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from haskd_ros.native.dispatch import thread_count
from haskd_ros.native.kernels import address
from haskd_ros.native.library import library

_LARGEST_FLOAT = float(np.finfo(np.float32).max)


def choose(
    points: np.ndarray,
    factor: float,
    default_intensity: float,
    min_range: float,
    max_range: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Points that can be labelled: finite, not in the sensor's origin, and within the range.

    Args:
        points: [N, 4] float32, or [N, 3] without intensity; the values of a row lie side by side,
            the rows may lie apart.

    Returns:
        Chosen points [M, 4] float32 with the intensity times `factor`, or the default where they
        have none; and [N] bool, whether a point was chosen.
    """
    chosen = np.empty((len(points), 4), np.float32)
    usable = np.empty(len(points), np.bool_)
    count = library().haskd_choose(
        points.ctypes.data,
        len(points),
        points.strides[0],
        points.shape[1] == 4,
        factor,
        default_intensity,
        min_range**2,
        min(max_range**2, _LARGEST_FLOAT),
        chosen.ctypes.data,
        usable.ctypes.data,
    )
    return chosen[:count], usable


def voxel_keys(
    points: Tensor, batch: Tensor | None, voxel_size: float, field_bits: int
) -> tuple[Tensor, Tensor, float]:
    """Keys [N] int64 of the voxels that hold contiguous points [N, 4], the points' offsets [N, 3]
    from the voxels' centres, and the largest coordinate: too large a one makes no keys.

    Args:
        batch: contiguous [N] int64, or None for one cloud.
    """
    keys = torch.empty(len(points), dtype=torch.int64)
    offset = points.new_empty(len(points), 3)
    reach = library().haskd_voxel_keys(
        points.data_ptr(),
        address(batch),
        len(points),
        voxel_size,
        field_bits,
        keys.data_ptr(),
        offset.data_ptr(),
        thread_count(),
    )
    return keys, offset, reach


def group(keys: Tensor, field_bits: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unique keys [G] int64 in ascending order; the rows in the order of their keys, those of equal
    keys ascending, [N] int32; where in that each group begins, [G] int32; and each row's group [N]
    int64; from keys [N] int64, whose fields z, y and x have `field_bits` bits."""
    keys = keys.contiguous()
    unique, of_row = torch.empty_like(keys), torch.empty_like(keys)
    order, starts = torch.empty(2, len(keys), dtype=torch.int32).unbind(0)
    groups = library().haskd_group(
        keys.data_ptr(),
        len(keys),
        field_bits,
        unique.data_ptr(),
        order.data_ptr(),
        starts.data_ptr(),
        of_row.data_ptr(),
    )
    return unique[:groups], order, starts[:groups], of_row


def submanifold_pairs(keys: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Sources [P] and targets [P] int32 of a 3 x 3 x 3 kernel over sorted keys [V], tap after tap,
    and the pairs of each of the 27 taps, none of the centre's. The four columns of voxels behind
    the centre's have keys higher by `columns` [4] int64."""
    keys = keys.contiguous()
    sources, targets = torch.empty(2, 26 * len(keys), dtype=torch.int32).unbind(0)
    sizes = torch.empty(27, dtype=torch.int64)
    pairs = library().haskd_submanifold_pairs(
        keys.data_ptr(),
        len(keys),
        columns.data_ptr(),
        sources.data_ptr(),
        targets.data_ptr(),
        sizes.data_ptr(),
        thread_count(),
    )
    return sources[:pairs], targets[:pairs], tuple(sizes.tolist())


def by_octant(keys: Tensor, parent: Tensor, field_bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows octant after octant, and each one's parent, [V] int32; and how many each of the 8
    octants has; from keys and parents [V] int64; the keys' fields z, y and x have `field_bits`
    bits."""
    keys, parent = keys.contiguous(), parent.contiguous()
    fine, coarse = torch.empty(2, len(keys), dtype=torch.int32).unbind(0)
    sizes = torch.empty(8, dtype=torch.int64)
    library().haskd_by_octant(
        keys.data_ptr(),
        parent.data_ptr(),
        len(keys),
        field_bits,
        fine.data_ptr(),
        coarse.data_ptr(),
        sizes.data_ptr(),
    )
    return fine, coarse, sizes
