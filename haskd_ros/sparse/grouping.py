"""Rows of equal keys as groups: points in a voxel or a pixel, children of a coarser voxel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from haskd_ros.native import dispatch, kernels, voxel_kernels
from haskd_ros.sparse.autograd import Context, apply
from haskd_ros.sparse.keys import FIELD_BITS


@dataclass(frozen=True)
class Grouping:
    """N rows sorted into G groups, as embedding_bag takes them.

    Attributes:
        order: [N] int32 row numbers, group after group.
        starts: [G] int32, where in `order` a group begins.
        inverse: [N] int64, the group of each row, as of torch.unique.
    """

    order: Tensor
    starts: Tensor
    inverse: Tensor

    @cached_property
    def counts(self) -> Tensor:
        """[G] float32 rows in each group."""
        end = torch.full((1,), len(self.order), dtype=torch.int32, device=self.starts.device)
        return torch.diff(self.starts, append=end).float()

    def sum(self, rows: Tensor) -> Tensor:
        """[N, C] -> [G, C], the sum over each group; not differentiable."""
        return segment_sum(rows, self.order, self.starts)


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
    inverse = torch.empty_like(order)
    inverse[order] = first.long().cumsum_(0).sub_(1)
    return ordered[starts], Grouping(order.int(), starts.int(), inverse)


def argsort(keys: Tensor) -> Tensor:
    """Ascending order of keys. On a CPU by numpy, whose vectorised sort is the faster one."""
    if keys.device.type == "cpu":
        return torch.from_numpy(keys.numpy().argsort())
    return keys.argsort()


def segment_sum(rows: Tensor, order: Tensor, starts: Tensor) -> Tensor:
    """out[g] = sum of rows[order[starts[g]:starts[g + 1]]]: [R, C] -> [G, C].

    On a CPU ten times as fast as index_add_, since every output row is written once.
    """
    if len(order) == 0:
        return rows.new_zeros(len(starts), rows.shape[1])
    return torch.embedding_bag(rows, order, starts, mode=0)[0]


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class _GroupingContext(Context, Protocol):
    grouping: Grouping


class _Pool(torch.autograd.Function):
    """Mean of the rows of each group; its gradient is a gather. Sums and counts are float32: in
    half precision a voxel of a few thousand points overflows."""

    @staticmethod
    def forward(ctx: _GroupingContext, rows: Tensor, grouping: Grouping) -> Tensor:
        ctx.grouping = grouping
        if dispatch.usable(rows):
            return kernels.pool(rows.contiguous(), grouping.order, grouping.starts)
        return (grouping.sum(_at_least_float32(rows)) / grouping.counts[:, None]).to(rows.dtype)

    @staticmethod
    def backward(ctx: _GroupingContext, gradient: Tensor) -> tuple[Tensor, None]:
        grouping = ctx.grouping
        share = (_at_least_float32(gradient) / grouping.counts[:, None]).to(gradient.dtype)
        return share.index_select(0, grouping.inverse), None


class _Unpool(torch.autograd.Function):
    """Each row gets its group's features; the gradient is the sum over the group."""

    @staticmethod
    def forward(ctx: _GroupingContext, groups: Tensor, grouping: Grouping) -> Tensor:
        ctx.grouping = grouping
        return groups.index_select(0, grouping.inverse)

    @staticmethod
    def backward(ctx: _GroupingContext, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.grouping.sum(gradient.contiguous()), None


def pool(rows: Tensor, grouping: Grouping) -> Tensor:
    """Mean over the points of each voxel: [N, C] -> [V, C]; differentiable."""
    return apply(_Pool, rows, grouping)


def unpool(groups: Tensor, grouping: Grouping) -> Tensor:
    """Each point gets its voxel's features: [V, C] -> [N, C]; differentiable."""
    return apply(_Unpool, groups, grouping)
