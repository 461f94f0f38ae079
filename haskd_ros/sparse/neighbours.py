"""Which input row an output row meets under each tap, as a table: the kernel map of a GPU.

A table has a place for every tap of every row, so that its shape is known before the GPU has
computed it, and no copy to the CPU has to be waited for; `kernel_map` lists the pairs that there
are, whose number has to be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from haskd_ros.sparse.grouping import group_by_key
from haskd_ros.sparse.keys import X_STEP, Y_STEP, octants, parent_keys

NONE = -1


@dataclass(frozen=True)
class Neighbours:
    """The kernel map of V output rows under K taps.

    Attributes:
        sources: [K, V] int32 rows of the input, `NONE` where a tap meets no voxel.
        order: [V] int32, the output rows in the order in which they are best computed: those that
            meet voxels under the same taps after each other.
    """

    sources: Tensor
    order: Tensor


def submanifold_sources(keys: Tensor) -> Tensor:
    """[27, V] int32 of a 3 x 3 x 3 submanifold convolution over sorted `keys` [V]; the taps in
    (x, y, z) order.

    A search for the lowest voxel of a neighbouring column gives its three, since z neighbours are
    adjacent.
    """
    # A key no voxel can have, so that a search that ends behind the last voxel matches nothing.
    padded = torch.cat([keys, keys.new_full((3,), torch.iinfo(torch.int64).max)])
    none = torch.full((1,), NONE, dtype=torch.int32, device=keys.device)
    sources = []
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            neighbour = keys + (dx * X_STEP + dy * Y_STEP - 1)
            row = torch.searchsorted(keys, neighbour, out_int32=True)
            for dz in (-1, 0, 1):
                occupied = padded.index_select(0, row) == neighbour
                sources.append(torch.where(occupied, row, none))
                if dz < 1:
                    # Where this height is occupied, the next one can only be a row further on.
                    row = row + occupied
                    neighbour = neighbour + 1
    return torch.stack(sources)


def submanifold_neighbours(keys: Tensor) -> Neighbours:
    """Of a 3 x 3 x 3 submanifold convolution over sorted `keys` [V]."""
    return _in_order(submanifold_sources(keys))


def downsampling_neighbours(keys: Tensor) -> tuple[Tensor, Neighbours, Neighbours]:
    """Of a 2 x 2 x 2 convolution with stride 2 over sorted `keys` [V].

    Returns:
        Sorted keys of the coarse voxels [W]; fine to coarse, and coarse to fine.
    """
    parents, siblings = group_by_key(parent_keys(keys))
    octant, rows = octants(keys), torch.arange(len(keys), dtype=torch.int32, device=keys.device)
    down = torch.full((8, len(parents)), NONE, dtype=torch.int32, device=keys.device)
    down.view(-1).scatter_(0, octant * len(parents) + siblings.inverse, rows)
    up = torch.full((8, len(keys)), NONE, dtype=torch.int32, device=keys.device)
    up.scatter_(0, octant[None], siblings.inverse.int()[None])
    return parents, _in_order(down), _in_order(up)


def _in_order(sources: Tensor) -> Neighbours:
    taps = torch.arange(len(sources), device=sources.device)[:, None]
    met = ((sources != NONE).long() << taps).sum(0)
    return Neighbours(sources, met.argsort(stable=True).int())
