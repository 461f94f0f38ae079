"""Voxels along space-filling curves, and patches of neighbours on them.

Neighbours are looked up nowhere: voxels that follow each other on such a curve lie close together
(Wu et al., "Point Transformer V3", CVPR 2024). Each curve cuts some neighbours apart, so there are
several.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from haskd_ros.sparse import Geometry, Grouping, group_by_key, make_geometry, pack
from haskd_ros.sparse.grouping import argsort
from haskd_ros.sparse.keys import parent_keys, unpack

CURVES = 4
"""Morton's and Hilbert's curve, each also with x and y exchanged."""


def morton(coordinates: Tensor) -> Tensor:
    """Place on Morton's curve: the bits of x, y and z in turn, x first.

    Args:
        coordinates: [V, 3] int64, 0 to 2^18 - 1.

    Returns:
        [V] int64; a cell's eighth of the curve is the code shifted right by three bits.
    """
    code = torch.zeros_like(coordinates[:, 0])
    for axis in range(3):
        code |= _spread(coordinates[:, axis]) << (2 - axis)
    return code


def hilbert(coordinates: Tensor, bits: int) -> Tensor:
    """Place on Hilbert's curve, whose steps all lead to a neighbour: Skilling, "Programming the
    Hilbert curve", AIP 2004. Arguments and result as of `morton`.

    Args:
        bits: of the coordinates.
    """
    axes = list(coordinates.unbind(1))
    for bit in reversed(range(1, bits)):
        below = (1 << bit) - 1
        for i in range(3):
            # All ones where the bit is set.
            is_set = -((axes[i] >> bit) & 1)
            exchanged = (axes[0] ^ axes[i]) & below & ~is_set
            axes[i] = axes[i] ^ exchanged
            axes[0] = axes[0] ^ exchanged ^ (below & is_set)
    axes[1] = axes[1] ^ axes[0]
    axes[2] = axes[2] ^ axes[1]
    flipped = torch.zeros_like(axes[2])
    for bit in range(1, bits):
        flipped ^= -((axes[2] >> bit) & 1) & ((1 << bit) - 1)
    return morton(torch.stack([axis ^ flipped for axis in axes], 1))


def _spread(x: Tensor) -> Tensor:
    """Two zeros between the bits of numbers of 21 bits."""
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        x = (x | (x << shift)) & mask
    return x


@dataclass(frozen=True)
class Patches:
    """V voxels along one curve, cut into P patches of W slots; the last slots of a patch may stay
    empty.

    Attributes:
        slot: [V] int64, each voxel's slot among all.
        taken: [P, W] bool, which slots hold a voxel; at least one of each patch.
    """

    slot: Tensor
    taken: Tensor

    def cut(self, rows: Tensor) -> Tensor:
        """[V, C] -> [P, W, C], zeros in empty slots."""
        count, width = self.taken.shape
        slots = rows.new_zeros(count * width, rows.shape[1]).index_copy(0, self.slot, rows)
        return slots.view(count, width, -1)

    def join(self, slots: Tensor) -> Tensor:
        """The inverse of `cut`."""
        return slots.flatten(0, 1).index_select(0, self.slot)


@dataclass(frozen=True)
class SerializedLevel:
    """The V voxels of a batch of clouds at one resolution, in the order of their keys.

    Attributes:
        keys: [V] int64 sorted voxel keys.
        codes: [CURVES, V] int64, cloud and place on each curve; unique on each of them.
        children: of the finer level's voxels by these, None at the finest level.
        backend: of the sparse engine.
        patch: most voxels of a patch.
    """

    keys: Tensor
    codes: Tensor
    children: Grouping | None
    backend: str
    patch: int

    @cached_property
    def geometry(self) -> Geometry:
        """The voxels for convolutions, at its level 0."""
        return make_geometry(self.keys, self.backend)

    @cached_property
    def _layout(self) -> tuple[Tensor, Tensor]:
        """Slot [V] of the n-th voxel of any curve, and which slots are taken [P, W].

        The clouds follow each other on every curve, so that no patch need hold voxels of two; the
        patches of a cloud are of one size, give or take one voxel.
        """
        _, cloud, size = torch.unique_consecutive(
            unpack(self.keys)[:, 0], return_inverse=True, return_counts=True
        )
        patches = (size + self.patch - 1) // self.patch
        first_voxel, first_patch = size.cumsum(0) - size, patches.cumsum(0) - patches
        size_here, patches_here = size[cloud], patches[cloud]
        within = torch.arange(len(cloud), device=cloud.device) - first_voxel[cloud]
        patch = within * patches_here // size_here
        # The first voxel of patch k is the first one n with n * patches // size = k.
        place = within - (patch * size_here + patches_here - 1) // patches_here
        count, width = int(patches.sum()), int(place.max()) + 1
        slot = (patch + first_patch[cloud]) * width + place
        taken = torch.zeros(count * width, dtype=torch.bool, device=slot.device)
        taken[slot] = True
        return slot, taken.view(count, width)

    def patches(self, curve: int) -> Patches:
        """The patches along a curve."""
        slots, taken = self._layout
        slot = torch.empty_like(slots)
        slot[argsort(self.codes[curve])] = slots
        return Patches(slot, taken)

    def coarser(self) -> SerializedLevel:
        """Voxels twice as large; a curve leads through them in the order of their children."""
        keys, children = group_by_key(parent_keys(self.keys))
        first = children.order.index_select(0, children.starts)
        codes = self.codes.index_select(1, first) >> 3
        return SerializedLevel(keys, codes, children, self.backend, self.patch)


def serialize(
    keys: Tensor, levels: int, patch: int, backend: str = "auto"
) -> list[SerializedLevel]:
    """Voxels at every resolution, finest first.

    Coordinates are counted from each cloud's lowest corner: whole voxels that a cloud is moved by
    change neither curves nor patches.

    Args:
        keys: [V] int64 sorted unique voxel keys, one or more.
        levels: number of resolutions.
        patch: most voxels of a patch.
        backend: of the sparse engine.
    """
    fields = unpack(keys).long()
    batch, coordinates = fields[:, 0], fields[:, 1:]
    coordinates = coordinates - _lowest(coordinates, batch).index_select(0, batch)
    # A level takes one bit of each axis.
    bits = max(int(coordinates.max()).bit_length(), levels)
    exchanged = coordinates[:, [1, 0, 2]]
    curves = [
        morton(coordinates),
        hilbert(exchanged, bits),
        morton(exchanged),
        hilbert(coordinates, bits),
    ]
    codes = torch.stack(curves) | (batch << (3 * bits))
    found = [SerializedLevel(pack(coordinates, batch), codes, None, backend, patch)]
    while len(found) < levels:
        found.append(found[-1].coarser())
    return found


def _lowest(coordinates: Tensor, batch: Tensor) -> Tensor:
    """[B, 3]: the lowest coordinates of each cloud."""
    lowest = coordinates.new_full((int(batch[-1]) + 1, 3), torch.iinfo(coordinates.dtype).max)
    return lowest.scatter_reduce_(0, batch[:, None].expand(-1, 3), coordinates, "amin")
