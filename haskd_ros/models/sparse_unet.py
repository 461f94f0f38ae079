"""A sparse 3D U-Net between two point-wise networks.

points -> features a point -> mean a voxel -> U-Net over voxels -> back to the points, joined with
the point's own features -> class scores. The point-wise ends keep what is finer than a voxel: paint
on the road is a matter of single returns, and a voxel's mean intensity hides it.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from haskd_ros.models.blocks import BatchNorm, Normed, ResidualBlock, ResidualBlocks, fold_scale
from haskd_ros.models.network import Fuse, SegmentationNetwork
from haskd_ros.native import dispatch
from haskd_ros.sparse import (
    Epilogue,
    Features,
    Geometry,
    Grouping,
    InverseConv,
    Linear,
    StridedConv,
    SubmanifoldConv,
    group_by_key,
    make_geometry,
    pool,
    voxel_keys,
)

POINT_FEATURES = 5
"""Offset in the voxel (3), height and intensity."""


@dataclass(frozen=True)
class VoxelizedBatch:
    """A batch of clouds as the U-Net sees it.

    Attributes:
        geometry: of the V voxels, with the kernel maps.
        grouping: of N points by V voxels.
        offset: [N, 3] from the voxel's centre to the point, in voxels, -0.5..0.5.
    """

    geometry: Geometry
    grouping: Grouping
    offset: Tensor

    def sum_to_level(self, level: int, values: Tensor) -> Tensor:
        """Sum of the points' values over each voxel of a level: [N, D] -> [V_level, D];
        differentiable."""
        summed = pool(values, self.grouping) * self.grouping.counts[:, None]
        for step in range(level):
            summed = self.geometry.down(summed, _SumOfChildren(summed), step)
        return summed


class _SumOfChildren(nn.Module):
    """A strided convolution whose every tap is the identity: it adds up a voxel's children on any
    backend, whatever its order of rows."""

    weight: Tensor

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        width = like.shape[1]
        identity = torch.eye(width, dtype=like.dtype, device=like.device)
        self.register_buffer("weight", identity[:, None, None, None].expand(-1, 2, 2, 2, -1))


def voxelise(
    points: Tensor, batch: Tensor | None, voxel_size: float, backend: str = "auto"
) -> VoxelizedBatch:
    """Sort points into cubic voxels.

    Args:
        points: [N, >= 4] float32, finite, x y z in m in the sensor frame first.
        batch: [N] int64 ascending cloud numbers, or None for one cloud.
        voxel_size: edge in m.
        backend: of the sparse engine.
    """
    keys, offset = voxel_keys(points, batch, voxel_size)
    keys, grouping = group_by_key(keys)
    return VoxelizedBatch(make_geometry(keys, backend), grouping, offset)


class SparseUNet(SegmentationNetwork):
    """Segmentation network: points in, class scores out.

    Args:
        classes: number of classes C.
        voxel_size: edge of a voxel in m.
        channels: width of each level, finest first; each level halves the resolution.
        blocks: residual blocks of each level of the encoder; None: one each.
        decoder_blocks: residual blocks behind each level's convolution in the decoder, which has
            one level less, finest first; None: none.
        extra_inputs: values of a point beside place and intensity.
    """

    def __init__(
        self,
        classes: int,
        voxel_size: float,
        channels: tuple[int, ...],
        blocks: tuple[int, ...] | None = None,
        decoder_blocks: tuple[int, ...] | None = None,
        extra_inputs: int = 0,
    ) -> None:
        super().__init__()
        self.classes, self.voxel_size, self.channels = classes, voxel_size, tuple(channels)
        self.extra_inputs, self.backend = extra_inputs, "auto"
        width = channels[0]
        # Brings metres, fractions and intensities to one scale before anything is learned.
        inputs = POINT_FEATURES + extra_inputs
        self.scale: BatchNorm | nn.Identity = BatchNorm(inputs, affine=False)
        self.point_encoder = nn.Sequential(
            Normed(Linear(inputs, 2 * width, bias=False)),
            Normed(Linear(2 * width, width, bias=False)),
        )
        self.stem = Normed(SubmanifoldConv(width, width, bias=False))
        # A single block has no number in the names of its weights: so they are called in the files
        # of networks that know of no others.
        self.encoder = nn.ModuleList(
            ResidualBlock(channel) if count == 1 else ResidualBlocks(channel, count)
            for channel, count in zip(channels, blocks or (1,) * len(channels))
        )
        steps = list(pairwise(channels))
        self.down = nn.ModuleList(
            Normed(StridedConv(fine, coarse, bias=False)) for fine, coarse in steps
        )
        self.up = nn.ModuleList(
            Normed(InverseConv(coarse, fine, bias=False)) for fine, coarse in steps
        )
        self.decoder = nn.ModuleList(
            Normed(SubmanifoldConv(2 * fine, fine, bias=False)) for fine, _ in steps
        )
        self.refine = nn.ModuleList(
            ResidualBlocks(fine, count)
            for (fine, _), count in zip(steps, decoder_blocks or (0,) * len(steps))
        )
        self.voxel_head = Linear(width, 2 * width)
        self.point_head = Linear(width, 2 * width, bias=False)
        self.classifier = Linear(2 * width, classes)

    def forward(self, points: Tensor, batch: Tensor | None = None) -> Tensor:
        inference = not torch.is_grad_enabled() and dispatch.usable(points)
        with dispatch.own_threads() if inference else nullcontext():
            return super().forward(points, batch)

    def fold(self) -> None:
        self.scale = fold_scale(self.scale, self.point_encoder[0])

    def features(
        self, points: Tensor, batch: Tensor | None = None, fuse: Fuse | None = None
    ) -> Tensor:
        """What the classifier reads: [N, feature_width] of points as in `forward`.

        Args:
            fuse: changes each encoder level's voxel features, for a network with image features.
        """
        if len(points) == 0:
            return points.new_zeros(0, self.feature_width)
        voxels = voxelise(points, batch, self.voxel_size, self.backend)
        point_features = self._encode(points, voxels.offset)
        x = self.unet(pool(point_features, voxels.grouping), voxels, fuse)
        # The sum of two linear maps is the linear map of both together; the voxels' half is
        # computed once a voxel instead of once a point.
        epilogue = Epilogue(addend=self.voxel_head(x), grouping=voxels.grouping, relu=True)
        features: Tensor = self.point_head(point_features, epilogue)
        return features

    def _encode(self, points: Tensor, offset: Tensor) -> Tensor:
        """Point features [N, channels[0]] from the offset in the voxel (3), the height in m, the
        intensity 0..1 and the further inputs."""
        inputs = offset, self.own_values(points)
        folded = isinstance(self.scale, nn.Identity)
        scaled: Features = inputs if folded else self.scale(torch.cat(inputs, 1))
        encoded: Tensor = self.point_encoder(scaled)
        return encoded

    def unet(self, x: Tensor, voxels: VoxelizedBatch, fuse: Fuse | None = None) -> Tensor:
        """[V, channels[0]] -> [V, channels[0]] over the voxels of level 0."""
        geometry = voxels.geometry
        x = self.encoder[0](self.stem(x, geometry, 0), geometry, 0)
        skips = [x if fuse is None else fuse(0, x, voxels.sum_to_level)]
        for level, down in enumerate(self.down, 1):
            x = self.encoder[level](down(skips[-1], geometry, level - 1), geometry, level)
            skips.append(x if fuse is None else fuse(level, x, voxels.sum_to_level))
        x = skips[-1]
        for level in reversed(range(len(self.up))):
            x = self.up[level](x, geometry, level)
            x = self.decoder[level]((x, skips[level]), geometry, level)
            x = self.refine[level](x, geometry, level)
        return x
