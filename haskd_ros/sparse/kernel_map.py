"""Which voxel meets which under each offset of a kernel: built once per resolution, then shared.

A kernel map is a list of pairs (source row, target row), offset after offset. Within one offset
both columns ascend: the keys of `voxels.py` are sorted, and an offset adds a constant to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from haskd_ros.sparse.voxels import (
    X_STEP,
    Y_STEP,
    Grouping,
    argsort,
    group_by_key,
    octants,
    parent_keys,
)

CENTRE = 13
"""Index of the offset (0, 0, 0) among the 27 of a 3 x 3 x 3 kernel, in (x, y, z) order."""

# Half of the columns around a voxel; the mirrored half holds the same pairs, swapped.
_COLUMNS = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True)
class KernelMap:
    """Pairs of rows that a kernel joins.

    Attributes:
        sources: [P] int32 rows of the input, offset after offset.
        targets: [P] int32 rows of the output, ascending within an offset.
        sizes: pairs of each offset; their sum is P. A submanifold map leaves the centre out (0
            pairs): there every row meets itself, which needs no gather.
        bags, bag_starts: for each output row the positions of its pairs, as `bag_sum` takes them.
        outputs: rows of the output.
        identity_centre: whether the centre offset joins each row with itself.
    """

    sources: Tensor
    targets: Tensor
    sizes: tuple[int, ...]
    bags: Tensor
    bag_starts: Tensor
    outputs: int
    identity_centre: bool


def submanifold_map(keys: Tensor) -> KernelMap:
    """The map of a 3 x 3 x 3 submanifold convolution over sorted `keys` [V].

    Four binary searches find all 26 neighbours: one search for the lowest voxel of a neighbouring
    column finds its three, since z neighbours lie side by side; the vertical neighbours of a voxel
    are the rows next to it; and a mirrored offset is the same pairs swapped.
    """
    count = len(keys)
    rows = torch.arange(count, dtype=torch.int32, device=keys.device)
    pairs: list[tuple[Tensor, Tensor]] = [(rows[:0], rows[:0])] * 27

    def add(offset: int, found: Tensor, sources: Tensor | None = None) -> None:
        targets = found.nonzero().squeeze(1)
        if sources is None:  # the row above
            pair = (targets + 1).int(), targets.int()
        else:
            pair = sources.index_select(0, targets), targets.int()
        pairs[offset] = pair
        pairs[26 - offset] = pair[1], pair[0]

    add(CENTRE + 1, keys[1:] == keys[:-1] + 1)
    # A key no voxel can have, so that a search that ends behind the last voxel finds nothing.
    padded = torch.cat([keys, keys.new_full((3,), torch.iinfo(torch.int64).max)])
    for dx, dy in _COLUMNS:
        wanted = keys + (dx * X_STEP + dy * Y_STEP - 1)
        place = torch.searchsorted(keys, wanted, out_int32=True)
        for dz in range(3):
            found = padded.index_select(0, place) == wanted
            add((dx + 1) * 9 + (dy + 1) * 3 + dz, found, place)
            if dz < 2:
                # Where this height was found the next one can only stand one row further on.
                place = place + found
                wanted = wanted + 1
    return _assemble(pairs, count, identity_centre=True)


def _assemble(pairs: list[tuple[Tensor, Tensor]], outputs: int, identity_centre: bool) -> KernelMap:
    sources = torch.cat([pair[0] for pair in pairs])
    targets = torch.cat([pair[1] for pair in pairs])
    sizes = tuple(len(pair[0]) for pair in pairs)
    # Pairs stand offset after offset; an output row's bag is the places of its own among them.
    offset = torch.repeat_interleave(torch.tensor(sizes, device=targets.device))
    bags = argsort(targets.long().mul_(len(pairs)).add_(offset)).int()
    counts = torch.bincount(targets, minlength=outputs)
    bag_starts = (counts.cumsum(0) - counts).int()
    return KernelMap(sources, targets, sizes, bags, bag_starts, outputs, identity_centre)


@dataclass(frozen=True)
class Halving:
    """The step from one resolution to the next coarser one, shared by the strided convolution and
    its inverse.

    Attributes:
        parents: [W] sorted keys of the coarse voxels.
        family: grouping of the V fine rows by parent.
        order: [V] int64, fine rows octant after octant.
        rank: [V] int64, where in `order` a fine row stands.
        sizes: fine rows of each of the 8 octants.
    """

    parents: Tensor
    family: Grouping
    order: Tensor
    rank: Tensor
    sizes: tuple[int, ...]

    def down(self) -> KernelMap:
        """Fine to coarse: a parent sums what its children send."""
        bags = self.rank.index_select(0, self.family.order.long()).int()
        return KernelMap(
            self.order.int(),
            self.family.group.index_select(0, self.order).int(),
            self.sizes,
            bags,
            self.family.starts,
            len(self.parents),
            identity_centre=False,
        )

    def up(self) -> KernelMap:
        """Coarse to fine: each child has one parent, so each output row has one pair."""
        children = len(self.order)
        starts = torch.arange(children, dtype=torch.int32, device=self.order.device)
        return KernelMap(
            self.family.group.index_select(0, self.order).int(),
            self.order.int(),
            self.sizes,
            self.rank.int(),
            starts,
            children,
            identity_centre=False,
        )


def halve(keys: Tensor) -> Halving:
    """The pairs of a 2 x 2 x 2 convolution with stride 2 over sorted `keys` [V]."""
    parents, family = group_by_key(parent_keys(keys))
    octant = octants(keys)
    order = octant.argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(keys), device=keys.device)
    sizes = tuple(torch.bincount(octant, minlength=8).tolist())
    return Halving(parents, family, order, rank, sizes)
