"""A transformer over voxels whose neighbours are those beside them on space-filling curves, after
Wu et al., "Point Transformer V3", CVPR 2024, in small.

points -> features a point -> mean a voxel -> U-Net of blocks, each of which attends within patches
of one curve -> back to the points, joined with the point's own features -> class scores.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from haskd_ros.errors import InputError
from haskd_ros.models.blocks import BatchNorm, Normed, fold_scale
from haskd_ros.models.network import Fuse, SegmentationNetwork
from haskd_ros.models.serialization import CURVES, Patches, SerializedLevel, serialize
from haskd_ros.models.sparse_unet import POINT_FEATURES
from haskd_ros.sparse import (
    Epilogue,
    Grouping,
    Linear,
    SubmanifoldConv,
    group_by_key,
    pool,
    unpool,
    voxel_keys,
)

HEAD_WIDTH = 16
"""Channels of an attention head."""

WIDENING = 2
"""Of the hidden layer behind the attention."""


class PatchAttention(nn.Module):
    """Multi-head attention among the voxels of each patch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // HEAD_WIDTH)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor, patches: Patches) -> Tensor:
        """[V, C] -> [V, C]."""
        slots = patches.cut(self.query_key_value(x))
        # [P, W, 3 C] -> three of [P, heads, W, C / heads]
        query, key, value = slots.view(*slots.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        taken = patches.taken[:, None, None, :]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=taken)
        projected: Tensor = self.project(patches.join(found.transpose(1, 2).flatten(2)))
        return projected


class TransformerBlock(nn.Module):
    """Where a voxel's neighbours lie, by a convolution; attention; a point-wise network: each is
    added to what went in.

    Args:
        curve: along which it attends.
    """

    def __init__(self, channels: int, curve: int) -> None:
        super().__init__()
        self.curve = curve
        self.position = SubmanifoldConv(channels, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.attention = PatchAttention(channels)
        self.wide = nn.Linear(channels, WIDENING * channels)
        self.narrow = nn.Linear(WIDENING * channels, channels)

    def forward(self, x: Tensor, level: SerializedLevel) -> Tensor:
        """[V, C] -> [V, C]."""
        after_position, before_attention, before_network = self.norms
        x = x + after_position(self.position(x, level.geometry, 0))
        x = x + self.attention(before_attention(x), level.patches(self.curve))
        y: Tensor = self.narrow(F.gelu(self.wide(before_network(x))))
        return x + y


class PointTransformer(SegmentationNetwork):
    """Segmentation network: points in, class scores out.

    Args:
        classes: number of classes C.
        voxel_size: edge of a voxel in m.
        channels: width of each level, finest first; each level halves the resolution. Above 16
            multiples of it.
        patch: most voxels that attend to each other.
        extra_inputs: values of a point beside place and intensity.

    Raises:
        InputError: a width that can't be divided into heads.
    """

    def __init__(
        self,
        classes: int,
        voxel_size: float,
        channels: tuple[int, ...],
        patch: int = 128,
        extra_inputs: int = 0,
    ) -> None:
        super().__init__()
        self.classes, self.voxel_size, self.channels = classes, voxel_size, tuple(channels)
        self.patch, self.extra_inputs, self.backend = patch, extra_inputs, "auto"
        for channel in channels:
            if channel > HEAD_WIDTH and channel % HEAD_WIDTH:
                raise InputError(
                    f"a level of {channel} channels; wanted up to {HEAD_WIDTH}, or a multiple of it"
                )
        width = channels[0]
        # Brings metres, fractions and intensities to one scale before anything is learned.
        inputs = POINT_FEATURES + extra_inputs
        self.scale: BatchNorm | nn.Identity = BatchNorm(inputs, affine=False)
        self.point_encoder = nn.Sequential(
            Normed(Linear(inputs, 2 * width, bias=False)),
            Normed(Linear(2 * width, width, bias=False)),
        )
        self.stem = Normed(SubmanifoldConv(width, width, bias=False))
        self.encoder = nn.ModuleList(
            TransformerBlock(channel, level % CURVES) for level, channel in enumerate(channels)
        )
        steps = list(pairwise(channels))
        self.down = nn.ModuleList(
            Normed(Linear(fine, coarse, bias=False)) for fine, coarse in steps
        )
        self.up = nn.ModuleList(Normed(Linear(coarse, fine, bias=False)) for fine, coarse in steps)
        self.skip = nn.ModuleList(Normed(Linear(fine, fine, bias=False)) for fine, _ in steps)
        # Along another curve than the encoder's block of that level.
        self.decoder = nn.ModuleList(
            TransformerBlock(fine, (level + 1) % CURVES) for level, (fine, _) in enumerate(steps)
        )
        self.voxel_head = Linear(width, 2 * width)
        self.point_head = Linear(width, 2 * width, bias=False)
        self.classifier = Linear(2 * width, classes)

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
        keys, offset = voxel_keys(points, batch, self.voxel_size)
        keys, grouping = group_by_key(keys)
        levels = serialize(keys, len(self.channels), self.patch, self.backend)
        inputs = torch.cat([offset, self.own_values(points)], 1)
        point_features = self.point_encoder(self.scale(inputs))
        x = self.unet(pool(point_features, grouping), levels, grouping, fuse)
        # The sum of two linear maps is the linear map of both together; the voxels' half is
        # computed once a voxel instead of once a point.
        epilogue = Epilogue(addend=self.voxel_head(x), grouping=grouping, relu=True)
        features: Tensor = self.point_head(point_features, epilogue)
        return features

    def unet(
        self,
        x: Tensor,
        levels: list[SerializedLevel],
        grouping: Grouping,
        fuse: Fuse | None = None,
    ) -> Tensor:
        """[V, channels[0]] -> [V, channels[0]] over the voxels of the finest level.

        Args:
            grouping: of the points by those voxels.
        """

        def sum_to_level(level: int, values: Tensor) -> Tensor:
            summed = pool(values, grouping) * grouping.counts[:, None]
            for children in children_of[1 : level + 1]:
                summed = pool(summed, children) * children.counts[:, None]
            return summed

        # The finest level has none; it is not asked.
        children_of = [level.children or grouping for level in levels]
        x = self.stem(x, levels[0].geometry, 0)
        skips: list[Tensor] = []
        for number, level in enumerate(levels):
            if number:
                x = pool(self.down[number - 1](skips[-1]), children_of[number])
            x = self.encoder[number](x, level)
            skips.append(x if fuse is None else fuse(number, x, sum_to_level))
        x = skips[-1]
        for number in reversed(range(len(self.up))):
            x = unpool(self.up[number](x), children_of[number + 1])
            x = self.skip[number](skips[number], residual=x)
            x = self.decoder[number](x, levels[number])
        return x
