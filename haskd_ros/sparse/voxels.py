"""Voxels of a batch of clouds: one sorted int64 key a voxel, and the points' way to them and back.

A key packs (batch, x, y, z) of a voxel, z in the lowest bits, so that sorting by key puts the
voxels of one vertical column side by side. Everything in this package rests on that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from haskd_ros.native import dispatch, kernels, voxel_kernels

FIELD_BITS = 18
MAX_BATCH = 1 << (63 - 3 * FIELD_BITS)
BIAS = 1 << (FIELD_BITS - 1)
"""Added to every coordinate, so that keys are positive; a multiple of every stride in use."""

X_STEP, Y_STEP = 1 << (2 * FIELD_BITS), 1 << FIELD_BITS
_FIELD = (1 << FIELD_BITS) - 1
_BATCH_SHIFT = 3 * FIELD_BITS
# After a shift by one bit the lowest bit of a field stands at the top of the next one: clear it.
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
        _check_reach(int(coordinates.abs().max()))
    x, y, z = (coordinates.long() + BIAS).unbind(1)
    key = (x * X_STEP).add_(y * Y_STEP).add_(z)
    if batch is not None:
        _check_batch(batch)
        key += batch.long() << _BATCH_SHIFT
    return key


def _check_reach(reach: int) -> None:
    # One voxel of margin on each side, so that a neighbour's key never spills over.
    if reach > BIAS - 2:
        raise ValueError(f"voxel coordinate {reach} is beyond +-{BIAS - 2}")


def _check_batch(batch: Tensor) -> None:
    if len(batch) and (highest := int(batch.max())) >= MAX_BATCH:
        raise ValueError(f"a batch holds at most {MAX_BATCH} clouds, not {highest + 1}")


def locate(points: Tensor, batch: Tensor | None, voxel_size: float) -> tuple[Tensor, Tensor]:
    """In which cubic voxel a point lies, and where in it.

    Args:
        points: [N, 4] float32, finite, x y z in m first.
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
        keys, offset, reach = voxel_kernels.voxel_keys(
            points.contiguous(), batch, voxel_size, FIELD_BITS
        )
        _check_reach(int(reach))
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


def by_octant(keys: Tensor, parent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of keys [V], and their parents', sorted by which of its parent's 2 x 2 x 2 children a
    voxel is, 4 * x + 2 * y + z.

    Args:
        parent: [V] int64, the row of each one's parent.

    Returns:
        Rows [V] int32, ascending within a child; the rows of their parents [V] int32; and how many
        each of the 8 has.
    """
    if dispatch.usable(keys, dtype=torch.int64):
        return voxel_kernels.sort_by_octant(keys, parent, FIELD_BITS)
    lowest = [(keys >> (i * FIELD_BITS)) & 1 for i in (2, 1, 0)]
    octant = (lowest[0] << 2) | (lowest[1] << 1) | lowest[2]
    order = octant.argsort(stable=True)
    return order.int(), parent.index_select(0, order).int(), torch.bincount(octant, minlength=8)


def argsort(keys: Tensor) -> Tensor:
    """Ascending order of keys. On a CPU by numpy, whose vectorised sort is the faster one."""
    if keys.device.type == "cpu":
        return torch.from_numpy(keys.numpy().argsort())
    return keys.argsort()


@dataclass(frozen=True)
class Grouping:
    """N rows sorted into G groups, as embedding_bag wants them.

    Attributes:
        order: [N] int32 row numbers, group after group.
        starts: [G] int32, where in `order` a group begins.
        group: [N] int64, the group of each row.
    """

    order: Tensor
    starts: Tensor
    group: Tensor

    @cached_property
    def counts(self) -> Tensor:
        """[G] float32 rows in each group."""
        end = torch.full((1,), len(self.order), dtype=torch.int32, device=self.starts.device)
        return torch.diff(self.starts, append=end).float()

    def to_groups(self, rows: Tensor) -> Tensor:
        """[N, C] -> [G, C], the sum over each group."""
        return bag_sum(rows, self.order, self.starts)


def group_by_key(keys: Tensor) -> tuple[Tensor, Grouping]:
    """Unique keys in ascending order [G], and the grouping of the rows by them."""
    if dispatch.usable(keys, dtype=torch.int64):
        unique, *grouping = voxel_kernels.group_by_key(keys, FIELD_BITS)
        return unique, Grouping(*grouping)
    order = argsort(keys)
    ordered = keys[order]
    first = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
    torch.ne(ordered[1:], ordered[:-1], out=first[1:])
    starts = first.nonzero().squeeze(1)
    group = torch.empty_like(order)
    group[order] = first.long().cumsum_(0).sub_(1)
    return ordered[starts], Grouping(order.int(), starts.int(), group)


def bag_sum(rows: Tensor, order: Tensor, starts: Tensor) -> Tensor:
    """out[g] = sum of rows[order[starts[g]:starts[g + 1]]]: [R, C] -> [G, C].

    On a CPU ten times as fast as index_add_, since every output row is written once.
    """
    if len(order) == 0:
        return rows.new_zeros(len(starts), rows.shape[1])
    return torch.embedding_bag(rows, order, starts, mode=0)[0]


def _widened(x: Tensor) -> Tensor:
    """At least float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class _Pool(torch.autograd.Function):
    """Mean of the rows of each group; its gradient is a gather. Sums and counts are float32: in
    half precision a voxel of a few thousand points overflows."""

    @staticmethod
    def forward(ctx, rows: Tensor, grouping: Grouping) -> Tensor:
        ctx.grouping = grouping
        if dispatch.usable(rows):
            return kernels.pool(rows.contiguous(), grouping.order, grouping.starts)
        return (grouping.to_groups(_widened(rows)) / grouping.counts[:, None]).to(rows.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        grouping = ctx.grouping
        share = (_widened(gradient) / grouping.counts[:, None]).to(gradient.dtype)
        return share.index_select(0, grouping.group), None


class _Spread(torch.autograd.Function):
    """Each row gets its group's features; the gradient is the sum over the group."""

    @staticmethod
    def forward(ctx, groups: Tensor, grouping: Grouping) -> Tensor:
        ctx.grouping = grouping
        return groups.index_select(0, grouping.group)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return ctx.grouping.to_groups(gradient.contiguous()), None


def pool(rows: Tensor, grouping: Grouping) -> Tensor:
    """Mean over the points of each voxel: [N, C] -> [V, C]; differentiable."""
    return _Pool.apply(rows, grouping)


def spread(groups: Tensor, grouping: Grouping) -> Tensor:
    """Each point gets its voxel's features: [V, C] -> [N, C]; differentiable."""
    return _Spread.apply(groups, grouping)
