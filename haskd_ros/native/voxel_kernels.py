"""Compiled kernels over points and voxel keys, as functions of arrays and tensors; see `kernels`,
of which the same holds."""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from haskd_ros.native.dispatch import thread_count
from haskd_ros.native.kernels import address
from haskd_ros.native.library import library

_LARGEST = sys.float_info.max


def valid_points(
    points: np.ndarray,
    *,
    factor: float,
    default_intensity: float,
    min_range: float,
    max_range: float,
    limits: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Points that can be labelled: finite, not in the sensor's origin, and within the range.

    Args:
        points: [N, 4] float32 x y z in m and intensity, or [N, 3] without; the values of a row are
            contiguous, the rows may lie apart.
        factor: of the intensity.
        default_intensity: of points without one, or with one that is no number.
        min_range, max_range: m from the sensor.
        limits: [4] float32, lowest and highest z in m, lowest and highest intensity times `factor`.

    Returns:
        Valid points [M, 4] float32 with the intensity times `factor`, or the default; [N] bool,
        which points are valid; and how many of them lie outside of the limits, or have an intensity
        that is no number.
    """
    valid = np.empty((len(points), 4), np.float32)
    mask = np.empty(len(points), np.bool_)
    limits = np.ascontiguousarray(limits, np.float32)
    beyond = np.zeros(1, np.int64)
    count = library().haskd_valid_points(
        points.ctypes.data,
        len(points),
        points.strides[0],
        points.shape[1] == 4,
        factor,
        default_intensity,
        min_range * min_range,
        min(max_range * max_range, _LARGEST),
        limits.ctypes.data,
        valid.ctypes.data,
        mask.ctypes.data,
        beyond.ctypes.data,
    )
    return valid[:count], mask, int(beyond[0])


def voxel_keys(
    points: Tensor, batch: Tensor | None, voxel_size: float, field_bits: int
) -> tuple[Tensor, Tensor, float]:
    """Keys [N] int64 of the voxels that hold contiguous points [N, >= 4], the points' offsets
    [N, 3] from the voxels' centres in voxels, and the largest absolute voxel coordinate: the keys
    are invalid where it exceeds what `field_bits` can hold.

    Args:
        batch: contiguous [N] int64, or None for one cloud.
    """
    keys = torch.empty(len(points), dtype=torch.int64)
    offset = points.new_empty(len(points), 3)
    largest = library().haskd_voxel_keys(
        points.data_ptr(),
        points.shape[1],
        address(batch),
        len(points),
        voxel_size,
        field_bits,
        keys.data_ptr(),
        offset.data_ptr(),
        thread_count(),
    )
    return keys, offset, largest


def group_by_key(keys: Tensor, field_bits: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unique keys [G] int64 in ascending order; the rows in the order of their keys, those of equal
    keys ascending, [N] int32; where in that order each group begins, [G] int32; and each row's
    group [N] int64; from keys [N] int64, whose fields z, y and x have `field_bits` bits."""
    keys = keys.contiguous()
    unique, inverse = torch.empty_like(keys), torch.empty_like(keys)
    order, starts = torch.empty(2, len(keys), dtype=torch.int32).unbind(0)
    groups = library().haskd_group_by_key(
        keys.data_ptr(),
        len(keys),
        field_bits,
        unique.data_ptr(),
        order.data_ptr(),
        starts.data_ptr(),
        inverse.data_ptr(),
    )
    return unique[:groups], order, starts[:groups], inverse


def submanifold_pairs(keys: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Sources [P] and targets [P] int32 of a 3 x 3 x 3 kernel over sorted keys [V], tap after tap,
    and the number of pairs of each of the 27 taps, 0 for the centre. `columns` [4] int64: by how
    much the keys of the four neighbouring columns after the centre's are higher."""
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


def sort_by_octant(keys: Tensor, parent: Tensor, field_bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows octant after octant, and each one's parent, [V] int32; and the number of rows in each of
    the 8 octants; from keys and parents [V] int64; the keys' fields z, y and x have `field_bits`
    bits."""
    keys, parent = keys.contiguous(), parent.contiguous()
    fine, coarse = torch.empty(2, len(keys), dtype=torch.int32).unbind(0)
    sizes = torch.empty(8, dtype=torch.int64)
    library().haskd_sort_by_octant(
        keys.data_ptr(),
        parent.data_ptr(),
        len(keys),
        field_bits,
        fine.data_ptr(),
        coarse.data_ptr(),
        sizes.data_ptr(),
    )
    return fine, coarse, sizes
