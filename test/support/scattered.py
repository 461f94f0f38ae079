"""Voxels scattered over a small grid, some clouds of them."""

from __future__ import annotations

import torch

from haskd_ros.sparse import pack

SIDE = 8


def scattered_voxels(
    seed: int, share: float = 0.15, batches: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Occupancy [B, S, S, S] bool and the sorted keys of the occupied voxels, in scan order."""
    generator = torch.Generator().manual_seed(seed)
    occupied = torch.rand(batches, SIDE, SIDE, SIDE, generator=generator) < share
    occupied[:, 0, 0, 0] = True
    index = occupied.nonzero()
    # Negative coordinates too: the grid's corner lies at -4, a multiple of the strides tested.
    keys = pack(index[:, 1:] - SIDE // 2, index[:, 0])
    assert torch.equal(keys, keys.sort().values)
    return occupied, keys
