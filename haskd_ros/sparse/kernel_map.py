"""Which voxels a kernel joins under each of its taps: built once per resolution, then shared.

A kernel map is a list of pairs (source row, target row), tap after tap. Within one tap both columns
ascend: voxels are sorted by their keys (`keys`), and a tap adds a constant to a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from haskd_ros.native import dispatch, voxel_kernels
from haskd_ros.sparse.grouping import argsort, group_by_key
from haskd_ros.sparse.keys import X_STEP, Y_STEP, parent_keys, sort_by_octant
from haskd_ros.sparse.neighbours import NONE, submanifold_sources

CENTRE = 13
"""Index of the tap (0, 0, 0) among the 27 of a 3 x 3 x 3 kernel, in (x, y, z) order."""

# (dx, dy) of half of the columns around a voxel, in the order of their taps.
_COLUMNS = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True)
class KernelMap:
    """Pairs of rows that a kernel joins.

    Attributes:
        sources: [P] int32 rows of the input, tap after tap.
        targets: [P] int32 rows of the output, ascending within a tap.
        sizes: pairs of each tap; their sum is P. A submanifold map leaves the centre out (0 pairs):
            there every row meets itself, which needs no gather.
        output_rows: rows of the output.
        identity_centre: whether the centre tap joins each row with itself.
    """

    sources: Tensor
    targets: Tensor
    sizes: tuple[int, ...]
    output_rows: int
    identity_centre: bool

    @cached_property
    def segments(self) -> tuple[Tensor, Tensor]:
        """For each output row the indices of its pairs, as `segment_sum` takes them: order [P] and
        starts [V], int32."""
        targets = self.targets.long()
        sizes = torch.tensor(self.sizes, device=targets.device)
        tap = torch.repeat_interleave(sizes, output_size=len(targets))
        order = argsort((targets * len(self.sizes)).add_(tap)).int()
        # Not bincount, for which a GPU is asked for the highest number.
        counts = targets.new_zeros(self.output_rows)
        counts.scatter_add_(0, targets, torch.ones_like(targets))
        return order, (counts.cumsum(0) - counts).int()

    @property
    def identity_tap(self) -> int | None:
        """The tap under which each row meets itself."""
        return len(self.sizes) // 2 if self.identity_centre else None

    @cached_property
    def tap_offsets(self) -> Tensor:
        """[K + 1] int64 on the CPU: where a tap's pairs begin, and the end of the last."""
        return torch.tensor([0, *accumulate(self.sizes)])


def submanifold_map(keys: Tensor) -> KernelMap:
    """The map of a 3 x 3 x 3 submanifold convolution over sorted `keys` [V]: the pairs of half of
    the taps, and the same pairs swapped, which are those of the mirrored taps."""
    if dispatch.usable(keys, dtype=torch.int64):
        columns = torch.tensor([dx * X_STEP + dy * Y_STEP for dx, dy in _COLUMNS])
        return KernelMap(
            *voxel_kernels.submanifold_pairs(keys, columns), len(keys), identity_centre=True
        )
    if keys.device.type != "cpu":
        return submanifold_map_at_once(keys)
    after = _pairs_after_centre(keys)
    none = torch.empty(0, dtype=torch.int32, device=keys.device)
    before = [(targets, sources) for sources, targets in reversed(after)]
    sources, targets = zip(*before, (none, none), *after)
    sizes = tuple(len(rows) for rows in sources)
    return KernelMap(torch.cat(sources), torch.cat(targets), sizes, len(keys), identity_centre=True)


def submanifold_map_at_once(keys: Tensor) -> KernelMap:
    """The same map from a table of all neighbours: more work, but a GPU is asked twice for a number
    instead of once for each tap, and stands still each time."""
    sources = submanifold_sources(keys)
    sources[CENTRE] = NONE
    met = sources != NONE
    tap, targets = met.nonzero().unbind(1)
    sizes = tuple(met.sum(1).tolist())
    pairs = sources[tap, targets], targets.int()
    return KernelMap(*pairs, sizes, len(keys), identity_centre=True)


def _pairs_after_centre(keys: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(sources, targets) of the 13 taps after the centre, in their order.

    Four binary searches are enough: one search for the lowest voxel of a neighbouring column gives
    its three, since z neighbours are adjacent; and the vertical neighbour of a voxel is the next
    row.
    """
    above = (keys[1:] == keys[:-1] + 1).nonzero().squeeze(1).int()
    pairs = [(above + 1, above)]
    # A key no voxel can have, so that a search that ends behind the last voxel matches nothing.
    padded = torch.cat([keys, keys.new_full((3,), torch.iinfo(torch.int64).max)])
    for dx, dy in _COLUMNS:
        neighbour = keys + (dx * X_STEP + dy * Y_STEP - 1)
        row = torch.searchsorted(keys, neighbour, out_int32=True)
        for dz in range(3):
            occupied = padded.index_select(0, row) == neighbour
            targets = occupied.nonzero().squeeze(1)
            pairs.append((row.index_select(0, targets), targets.int()))
            if dz < 2:
                # Where this height is occupied, the next one can only be one row further on.
                row = row + occupied
                neighbour = neighbour + 1
    return pairs


def identity_map(rows: int) -> KernelMap:
    """The map of a kernel of one tap, on a CPU: each row meets itself."""
    nothing = torch.empty(0, dtype=torch.int32)
    return KernelMap(nothing, nothing, (0,), rows, identity_centre=True)


@dataclass(frozen=True)
class DownsamplingMap:
    """From one resolution to voxels twice as large, for the convolution with stride 2 and its
    inverse.

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
        rows = len(self.parents)
        return KernelMap(self.fine, self.coarse, self.sizes, rows, identity_centre=False)

    def up(self) -> KernelMap:
        """Coarse to fine: each child has one parent, so each output row has one pair."""
        rows = len(self.fine)
        return KernelMap(self.coarse, self.fine, self.sizes, rows, identity_centre=False)


def downsampling_map(keys: Tensor) -> DownsamplingMap:
    """The map of a 2 x 2 x 2 convolution with stride 2 over sorted `keys` [V]."""
    parents, siblings = group_by_key(parent_keys(keys))
    fine, coarse, sizes = sort_by_octant(keys, siblings.inverse)
    return DownsamplingMap(parents, fine, coarse, tuple(sizes.tolist()))
