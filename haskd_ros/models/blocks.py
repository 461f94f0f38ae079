"""Building blocks that can fold their batch norm away."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from haskd_ros.sparse import Features, Finish, Finishing, Geometry, SubmanifoldConv, norm_rows

ToRows = Callable[[int, Tensor], Tensor]
"""(level, values [N, D] of the points) -> [R, D], their sums over the level's R rows."""

Fuse = Callable[[int, Tensor, ToRows], Tensor]
"""(level, x [R, C], to_rows) -> [R, C]: takes part in a network at each of its levels. A row is a
voxel of that level, or a pixel of a 2D network."""


class SegmentationNetwork(nn.Module):
    """Points in, class scores out: what inference, training and a teacher ask of every network.

    A network has `classifier`, a linear layer, `channels` of its encoder's levels, finest first,
    and `features`, what the classifier reads.
    """

    classifier: nn.Linear
    channels: tuple[int, ...]

    @property
    def feature_width(self) -> int:
        """Channels of `features`."""
        return self.classifier.in_features

    @property
    def fusion_widths(self) -> tuple[int, ...]:
        """Channels of the places where `fuse` is called, finest first."""
        return self.channels

    def fold(self) -> None:
        """Have other layers do the work of a batch norm that is no `Normed`'s, where there is one;
        every `Normed` is folded already."""

    def forward(self, points: Tensor, batch: Tensor | None = None) -> Tensor:
        """Class scores of every point.

        Args:
            points: [N, 4] float32, finite: x y z in m in the sensor frame, intensity 0..1.
            batch: [N] int64 ascending cloud numbers from 0, or None for one cloud.

        Returns:
            [N, C] logits, point order kept.
        """
        return self.classifier(self.features(points, batch))


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over rows that also takes a single row in training: a batch that lies in one
    voxel has no variance of its own, and the running one stands in."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) == 1:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)


class Normed(nn.Module):
    """A convolution or linear layer without bias, batch norm, and ReLU.

    Once folded, the layer's own weight and bias do the norm's work: same result, fewer operations.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.norm: nn.Module = BatchNorm(layer.weight.shape[0])

    def forward(self, x: Features, *where: object, added: Tensor | None = None) -> Tensor:
        """The layer at `where`, its norm, the sum with `added` if there is one, ReLU."""
        if not isinstance(self.norm, nn.Identity):
            return norm_rows(self.layer(x, *where), self.norm, added, relu=True)
        finish = Finish(added=added, relu=True)
        if isinstance(self.layer, Finishing):
            return self.layer(x, *where, finish=finish)
        return finish(self.layer(x, *where))

    @torch.no_grad()
    def fold(self) -> None:
        """w' = w * gamma / sqrt(var + eps), b' = beta - mean * gamma / sqrt(var + eps)."""
        norm = self.norm
        if isinstance(norm, nn.Identity):
            return
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shape = (-1,) + (1,) * (self.layer.weight.dim() - 1)
        self.layer.weight.copy_(self.layer.weight * scale.view(shape))
        self.layer.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
        self.norm = nn.Identity()


@torch.no_grad()
def fold_scale(scale: nn.Module, layer: nn.Linear) -> nn.Identity:
    """Have a linear layer with bias do the work of the norm before it, which learned no weights:
    w' = w / sqrt(var + eps), b' = b - w' mean. Returns what stands in the norm's place."""
    if isinstance(scale, nn.Identity):
        return scale
    layer.weight.copy_(layer.weight * torch.rsqrt(scale.running_var + scale.eps))
    layer.bias.copy_(layer.bias - layer.weight @ scale.running_mean)
    return nn.Identity()


class ResidualBlock(nn.Module):
    """Two submanifold convolutions around a shortcut (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Normed(SubmanifoldConv(channels, channels, bias=False))
        self.second = Normed(SubmanifoldConv(channels, channels, bias=False))

    def forward(self, x: Tensor, geometry: Geometry, level: int) -> Tensor:
        return self.second(self.first(x, geometry, level), geometry, level, added=x)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Fold every batch norm of a network into the layer beside it, in place; returns the network,
    in eval mode."""
    # What stands within a module before the module itself.
    for module in reversed(list(network.modules())):
        if isinstance(module, (Normed, SegmentationNetwork)):
            module.fold()
    return network.eval()
