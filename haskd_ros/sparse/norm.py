"""Batch norm over rows with an optional addend and ReLU, in few passes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from haskd_ros.native import dispatch, kernels
from haskd_ros.sparse.autograd import Context, apply


class _CompiledNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Context,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        addend: Tensor | None,
        relu: bool,
    ) -> Tensor:
        inverse_std = torch.rsqrt(variance + eps)
        scale = inverse_std * weight
        y = kernels.affine(x, scale, torch.addcmul(bias, mean, scale, value=-1), addend, relu)
        ctx.save_for_backward(x, weight, mean, inverse_std, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std, y = ctx.saved_tensors
        x_gradient, weight_gradient, bias_gradient, addend_gradient = kernels.norm_backward(
            gradient.contiguous(),
            x,
            y,
            mean,
            inverse_std,
            weight,
            with_addend=ctx.needs_input_grad[6],
        )
        return x_gradient, weight_gradient, bias_gradient, None, None, None, addend_gradient, None


def norm_rows(
    x: Tensor, norm: nn.Module, addend: Tensor | None = None, relu: bool = False
) -> Tensor:
    """relu(norm(x) + addend) of rows x [R, C]; a norm in training also learns their mean and
    variance.

    Args:
        norm: batch norm with weight, bias and running moments.
        addend: [R, C], left out if None.
        relu: whether the ReLU is to be taken.
    """
    if not (isinstance(norm, nn.BatchNorm1d) and _usable(x, norm, addend)):
        y: Tensor = norm(x)
        if addend is not None:
            y = y.add_(addend)
        return torch.relu_(y) if relu else y
    x = x.contiguous()
    mean, variance = _learn_moments(x, norm)
    addend = None if addend is None else addend.contiguous()
    return apply(_CompiledNorm, x, norm.weight, norm.bias, mean, variance, norm.eps, addend, relu)


@torch.no_grad()
def _learn_moments(x: Tensor, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Mean and variance [C] of rows [R, C], of which the running ones take their share."""
    mean, variance = kernels.moments(x)
    unbiased = variance * (len(x) / (len(x) - 1))
    for running, value in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        if running is not None and norm.momentum is not None:
            running.lerp_(value, norm.momentum)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return mean, variance


def _usable(x: Tensor, norm: nn.BatchNorm1d, addend: Tensor | None) -> bool:
    """Whether the compiled kernels can compute it: a norm that learns from more than one row, with
    a fixed momentum. They check no shapes; what does not fit goes to torch, which raises."""
    if not norm.training or norm.momentum is None:
        return False
    rows_fit = x.dim() == 2 and len(x) > 1 and x.shape[1] == norm.num_features
    if addend is None:
        return rows_fit and dispatch.usable(x, norm.weight)
    return rows_fit and addend.shape == x.shape and dispatch.usable(x, addend, norm.weight)
