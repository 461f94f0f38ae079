"""Building blocks that can fold their batch norm away."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from haskd_ros.models.network import SegmentationNetwork
from haskd_ros.models.panorama import PixelConv
from haskd_ros.sparse import (
    Epilogue,
    Features,
    Geometry,
    Linear,
    SparseConvolution,
    SubmanifoldConv,
    norm_rows,
)

Network = TypeVar("Network", bound=nn.Module)


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

    Args:
        layer: its weight has an output channel a row.
    """

    def __init__(self, layer: SparseConvolution | nn.Linear | PixelConv) -> None:
        super().__init__()
        self.layer = layer
        self.norm: BatchNorm | nn.Identity = BatchNorm(layer.weight.shape[0])

    def forward(self, x: Features, *domain: object, residual: Tensor | None = None) -> Tensor:
        """relu(norm(layer(x)) + residual).

        Args:
            domain: what the layer takes beside x: geometry and level, or panorama.
            residual: [R, O] like the result; left out if None.
        """
        y: Tensor
        if not isinstance(self.norm, nn.Identity):
            y = self.layer(x, *domain)
            return norm_rows(y, self.norm, residual, relu=True)
        epilogue = Epilogue(addend=residual, relu=True)
        if isinstance(self.layer, (SparseConvolution, Linear)):
            y = self.layer(x, *domain, epilogue=epilogue)
            return y
        y = self.layer(x, *domain)
        return epilogue(y)

    @torch.no_grad()
    def fold(self) -> None:
        """w' = w * gamma / sqrt(var + eps), b' = beta - mean * gamma / sqrt(var + eps)."""
        norm = self.norm
        if isinstance(norm, nn.Identity):
            return
        mean, variance = running_moments(norm)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        shape = (-1,) + (1,) * (self.layer.weight.dim() - 1)
        self.layer.weight.copy_(self.layer.weight * scale.view(shape))
        self.layer.bias = nn.Parameter(norm.bias - mean * scale)
        self.norm = nn.Identity()


def running_moments(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Running mean and variance [C].

    Raises:
        ValueError: the norm keeps none.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"{norm} keeps no running mean and variance")
    return norm.running_mean, norm.running_var


@torch.no_grad()
def fold_scale(scale: BatchNorm | nn.Identity, reader: nn.Module) -> nn.Identity:
    """Fold a norm without weights into the folded `Normed` linear layer that reads it:
    w' = w / sqrt(var + eps), b' = b - w' mean.

    Returns:
        what replaces the norm.

    Raises:
        TypeError: another module reads it.
    """
    if isinstance(scale, nn.Identity):
        return scale
    if not isinstance(reader, Normed) or not isinstance(reader.layer, nn.Linear):
        raise TypeError(f"a norm can't be folded into {reader}")
    layer = reader.layer
    mean, variance = running_moments(scale)
    layer.weight.copy_(layer.weight * torch.rsqrt(variance + scale.eps))
    # Column after column: a matrix product adds up in an order of its library's, and the runtime
    # without torch is to come to the same bits.
    shift = sum(column * value for column, value in zip(layer.weight.unbind(1), mean.unbind()))
    layer.bias.sub_(shift)
    return nn.Identity()


class ResidualBlock(nn.Module):
    """Two submanifold convolutions around a shortcut (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Normed(SubmanifoldConv(channels, channels, bias=False))
        self.second = Normed(SubmanifoldConv(channels, channels, bias=False))

    def forward(self, x: Tensor, geometry: Geometry, level: int) -> Tensor:
        y: Tensor = self.first(x, geometry, level)
        y = self.second(y, geometry, level, residual=x)
        return y


class ResidualBlocks(nn.ModuleList):
    """Residual blocks one after the other, at one level."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__(ResidualBlock(channels) for _ in range(count))

    def forward(self, x: Tensor, geometry: Geometry, level: int) -> Tensor:
        for block in self:
            x = block(x, geometry, level)
        return x


def fold_batch_norm(network: Network) -> Network:
    """Fold every batch norm of a network into the layer beside it, in place; returns the network,
    in eval mode."""
    # Modules before the module that holds them.
    for module in reversed(list(network.modules())):
        if isinstance(module, (Normed, SegmentationNetwork)):
            module.fold()
    return network.eval()
