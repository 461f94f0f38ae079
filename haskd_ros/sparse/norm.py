"""Batch norm over rows with what mostly follows it, a sum and a ReLU, in few passes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from haskd_ros.native import dispatch, kernels


class _CompiledNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        added: Tensor | None,
        relu: bool,
    ) -> Tensor:
        inverse_std = torch.rsqrt(variance + eps)
        scale = inverse_std * weight
        y = kernels.affine(x, scale, torch.addcmul(bias, mean, scale, value=-1), added, relu)
        ctx.save_for_backward(x, weight, mean, inverse_std, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
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
    x: Tensor, norm: nn.Module, added: Tensor | None = None, relu: bool = False
) -> Tensor:
    """relu(norm(x) + added) of rows x [R, C]; a norm in training also learns their mean and
    variance.

    Args:
        norm: batch norm with weight, bias and running moments.
        added: [R, C], left out if None.
        relu: whether the ReLU is to be taken.
    """
    if not _compiled(x, norm, added):
        y = norm(x)
        if added is not None:
            y = y.add_(added)
        return torch.relu_(y) if relu else y
    x = x.contiguous()
    with torch.no_grad():
        mean, variance = kernels.moments(x)
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (len(x) / (len(x) - 1)), norm.momentum)
    added = None if added is None else added.contiguous()
    return _CompiledNorm.apply(x, norm.weight, norm.bias, mean, variance, norm.eps, added, relu)


def _compiled(x: Tensor, norm: nn.Module, added: Tensor | None) -> bool:
    """Whether the compiled kernels can do it: a norm that learns from more than one row. They don't
    check shapes; what does not fit goes to torch, which says so."""
    if not (norm.training and isinstance(norm, nn.BatchNorm1d) and norm.momentum is not None):
        return False
    rows_fit = x.dim() == 2 and len(x) > 1 and x.shape[1] == norm.num_features
    if added is None:
        return rows_fit and dispatch.usable(x, norm.weight)
    return rows_fit and added.shape == x.shape and dispatch.usable(x, added, norm.weight)
