"""Voxels of a batch of clouds as int64 keys, one a voxel.

A key packs (batch, x, y, z) of a voxel, z in the lowest bits, so that sorting by key puts the
voxels of one vertical column side by side. Everything in this package rests on that order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from haskd_ros.native import dispatch, voxel_kernels

FIELD_BITS = 18
MAX_BATCH = 1 << (63 - 3 * FIELD_BITS)
BIAS = 1 << (FIELD_BITS - 1)
"""Added to every coordinate, so that keys are positive; a multiple of every stride in use."""

X_STEP, Y_STEP = 1 << (2 * FIELD_BITS), 1 << FIELD_BITS
_FIELD = (1 << FIELD_BITS) - 1
_BATCH_SHIFT = 3 * FIELD_BITS
# A shift by one bit moves the lowest bit of a field to the top of the next one: it is cleared.
_HALVED = sum((_FIELD >> 1) << (i * FIELD_BITS) for i in range(3))


def pack(coordinates: Tensor, batch: Tensor | None = None) -> Tensor:
    """Voxel coordinates -> keys.

    Args:
        coordinates: [V, 3] integers x y z, each within +-131070.
        batch: [V] integers, which cloud of the batch a voxel belongs to; None for one cloud.

    Returns:
        [V] int64.

    Raises:
        ValueError: a coordinate or a batch index too large to be packed.
    """
    if len(coordinates):
        _check_largest(int(coordinates.abs().max()))
    x, y, z = (coordinates.long() + BIAS).unbind(1)
    key = (x * X_STEP).add_(y * Y_STEP).add_(z)
    if batch is not None:
        _check_batch(batch)
        key += batch.long() << _BATCH_SHIFT
    return key


def _check_largest(coordinate: int) -> None:
    # One voxel of margin on each side, so that a neighbour's key never overflows its field.
    if coordinate > BIAS - 2:
        raise ValueError(f"voxel coordinate {coordinate} is beyond +-{BIAS - 2}")


def _check_batch(batch: Tensor) -> None:
    if len(batch) and (highest := int(batch.max())) >= MAX_BATCH:
        raise ValueError(f"a batch holds at most {MAX_BATCH} clouds, not {highest + 1}")


def voxel_keys(points: Tensor, batch: Tensor | None, voxel_size: float) -> tuple[Tensor, Tensor]:
    """Keys of the cubic voxels that hold the points, and the points' offsets in them.

    Args:
        points: [N, >= 4] float32, finite, x y z in m first.
        batch: [N] int64 cloud numbers, or None for one cloud.
        voxel_size: edge in m.

    Returns:
        Keys [N] int64, and offsets [N, 3] from the voxel's centre to the point, in voxels,
        -0.5..0.5.

    Raises:
        ValueError: points or a batch too large for the keys.
    """
    if dispatch.usable(points):
        if batch is not None:
            _check_batch(batch)
            batch = batch.contiguous()
        keys, offset, largest = voxel_kernels.voxel_keys(
            points.contiguous(), batch, voxel_size, FIELD_BITS
        )
        _check_largest(int(largest))
        return keys, offset
    scaled = points[:, :3] / voxel_size
    lowest = scaled.floor()
    return pack(lowest.int(), batch), scaled - lowest - 0.5


def unpack(keys: Tensor) -> Tensor:
    """[V] keys -> [V, 4] int32 (batch, x, y, z); coordinates still biased by `BIAS` >> level."""
    fields = [keys >> _BATCH_SHIFT]
    fields += [(keys >> (i * FIELD_BITS)) & _FIELD for i in (2, 1, 0)]
    return torch.stack(fields, 1).int()


def parent_keys(keys: Tensor) -> Tensor:
    """Keys at a resolution -> keys of the voxels twice as large that hold them."""
    batch = (keys >> _BATCH_SHIFT) << _BATCH_SHIFT
    return batch | ((keys >> 1) & _HALVED)


def octants(keys: Tensor) -> Tensor:
    """[V] int64: which of its parent's 2 x 2 x 2 children a voxel is, 4 * x + 2 * y + z."""
    lowest = [(keys >> (i * FIELD_BITS)) & 1 for i in (2, 1, 0)]
    return (lowest[0] << 2) | (lowest[1] << 1) | lowest[2]


def sort_by_octant(keys: Tensor, parent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of keys [V], and their parents', sorted by the voxels' octants, as of `octants`.

    Args:
        parent: [V] int64, the row of each one's parent.

    Returns:
        Rows [V] int32, ascending within an octant; the rows of their parents [V] int32; and the
        number of rows [8] int64 in each octant.
    """
    if dispatch.usable(keys, dtype=torch.int64):
        return voxel_kernels.sort_by_octant(keys, parent, FIELD_BITS)
    octant = octants(keys)
    order = octant.argsort(stable=True)
    # Not bincount, for which a GPU is asked for the highest number.
    sizes = (octant == torch.arange(8, device=octant.device)[:, None]).sum(1)
    return order.int(), parent.index_select(0, order).int(), sizes
