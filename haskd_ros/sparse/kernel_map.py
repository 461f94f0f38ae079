"""Which voxel meets which under each offset of a kernel: built once per resolution, then shared.

A kernel map is a list of pairs (source row, target row), offset after offset. Within one offset
both columns ascend: the keys of `voxels.py` are sorted, and an offset adds a constant to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from haskd_ros.native import dispatch, voxel_kernels
from haskd_ros.sparse.voxels import X_STEP, Y_STEP, argsort, by_octant, group_by_key, parent_keys

CENTRE = 13
"""Index of the offset (0, 0, 0) among the 27 of a 3 x 3 x 3 kernel, in (x, y, z) order."""

# (dx, dy) of half of the columns around a voxel, in the order of their offsets.
_COLUMNS = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True)
class KernelMap:
    """Pairs of rows that a kernel joins.

    Attributes:
        sources: [P] int32 rows of the input, offset after offset.
        targets: [P] int32 rows of the output, ascending within an offset.
        sizes: pairs of each offset; their sum is P. A submanifold map leaves the centre out (0
            pairs): there every row meets itself, which needs no gather.
        outputs: rows of the output.
        identity_centre: whether the centre offset joins each row with itself.
    """

    sources: Tensor
    targets: Tensor
    sizes: tuple[int, ...]
    outputs: int
    identity_centre: bool

    @cached_property
    def bags(self) -> tuple[Tensor, Tensor]:
        """For each output row the positions of its pairs, as `bag_sum` takes them."""
        # Pairs stand offset after offset; an output row's bag is the places of its own among them.
        sizes = torch.tensor(self.sizes, device=self.targets.device)
        offset = torch.repeat_interleave(sizes)
        bags = argsort(self.targets.long().mul_(len(self.sizes)).add_(offset)).int()
        counts = torch.bincount(self.targets, minlength=self.outputs)
        return bags, (counts.cumsum(0) - counts).int()

    @property
    def identity_tap(self) -> int | None:
        """The tap under which each row meets itself."""
        return len(self.sizes) // 2 if self.identity_centre else None

    @cached_property
    def tap_offsets(self) -> Tensor:
        """[K + 1] int64 on the CPU: where an offset's pairs begin, and the end of the last."""
        return torch.tensor([0, *accumulate(self.sizes)])


def submanifold_map(keys: Tensor) -> KernelMap:
    """The map of a 3 x 3 x 3 submanifold convolution over sorted `keys` [V]: the pairs of half of
    the offsets, and the same pairs swapped, which are those of the mirrored offsets."""
    if dispatch.usable(keys, dtype=torch.int64):
        columns = torch.tensor([dx * X_STEP + dy * Y_STEP for dx, dy in _COLUMNS])
        return KernelMap(
            *voxel_kernels.submanifold_pairs(keys, columns), len(keys), identity_centre=True
        )
    ahead = _neighbours(keys)
    none = torch.empty(0, dtype=torch.int32, device=keys.device)
    behind = [(targets, sources) for sources, targets in reversed(ahead)]
    sources, targets = zip(*behind, (none, none), *ahead)
    sizes = tuple(len(rows) for rows in sources)
    return KernelMap(torch.cat(sources), torch.cat(targets), sizes, len(keys), identity_centre=True)


def _neighbours(keys: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(sources, targets) of the 13 offsets behind the centre's, in their order.

    Four binary searches find them all: one search for the lowest voxel of a neighbouring column
    finds its three, since z neighbours lie side by side; and the vertical neighbour of a voxel is
    the row next to it.
    """
    above = (keys[1:] == keys[:-1] + 1).nonzero().squeeze(1).int()
    pairs = [(above + 1, above)]
    # A key no voxel can have, so that a search that ends behind the last voxel finds nothing.
    padded = torch.cat([keys, keys.new_full((3,), torch.iinfo(torch.int64).max)])
    for dx, dy in _COLUMNS:
        wanted = keys + (dx * X_STEP + dy * Y_STEP - 1)
        place = torch.searchsorted(keys, wanted, out_int32=True)
        for dz in range(3):
            found = padded.index_select(0, place) == wanted
            targets = found.nonzero().squeeze(1)
            pairs.append((place.index_select(0, targets), targets.int()))
            if dz < 2:
                # Where this height was found the next one can only stand one row further on.
                place = place + found
                wanted = wanted + 1
    return pairs


def identity_map(rows: int) -> KernelMap:
    """The map of a kernel of one tap, on a CPU: each row meets itself."""
    nothing = torch.empty(0, dtype=torch.int32)
    return KernelMap(nothing, nothing, (0,), rows, identity_centre=True)


@dataclass(frozen=True)
class Halving:
    """The step from one resolution to the next coarser one, shared by the strided convolution and
    its inverse.

    Attributes:
        parents: [W] sorted keys of the coarse voxels.
        fine: [V] int32 rows of the fine voxels, octant after octant.
        coarse: [V] int32 rows of their parents.
        sizes: fine rows of each of the 8 octants.
    """

    parents: Tensor
    fine: Tensor
    coarse: Tensor
    sizes: tuple[int, ...]

    def down(self) -> KernelMap:
        """Fine to coarse: a parent sums what its children send."""
        outputs = len(self.parents)
        return KernelMap(self.fine, self.coarse, self.sizes, outputs, identity_centre=False)

    def up(self) -> KernelMap:
        """Coarse to fine: each child has one parent, so each output row has one pair."""
        outputs = len(self.fine)
        return KernelMap(self.coarse, self.fine, self.sizes, outputs, identity_centre=False)


def halve(keys: Tensor) -> Halving:
    """The pairs of a 2 x 2 x 2 convolution with stride 2 over sorted `keys` [V]."""
    parents, family = group_by_key(parent_keys(keys))
    fine, coarse, sizes = by_octant(keys, family.group)
    return Halving(parents, fine, coarse, tuple(sizes.tolist()))
