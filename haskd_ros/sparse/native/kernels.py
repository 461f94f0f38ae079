"""The compiled kernels as functions of tensors. Each has its twin in plain torch, which says what
it computes; results agree to rounding and are the same for any number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from haskd_ros.sparse.native.build import library

if TYPE_CHECKING:
    from haskd_ros.sparse.kernel_map import KernelMap

_plain: ContextVar[bool] = ContextVar("plain", default=False)


def usable(*tensors: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Whether these tensors can go through the compiled kernels that take `dtype`."""
    if _plain.get() or torch.is_autocast_enabled("cpu"):
        return False
    if any(t.device.type != "cpu" or t.dtype != dtype for t in tensors):
        return False
    return library() is not None


@contextmanager
def plain_torch() -> Iterator[None]:
    """Within it plain torch does the work: to compare the two."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def _pairs(pairs: KernelMap) -> tuple[int, int, int, int]:
    identity = len(pairs.sizes) // 2 if pairs.identity_centre else -1
    starts = pairs.offset_starts
    return pairs.sources.data_ptr(), pairs.targets.data_ptr(), starts.data_ptr(), identity


def convolve(
    x: Tensor, weight: Tensor, pairs: KernelMap, backward: bool = False, mirrored: bool = False
) -> Tensor:
    """Sparse convolution of contiguous x [U, I] with weight [O, k, k, k, I] -> [V, O].

    Args:
        backward: x is a gradient [U, O] of an output, the result that of an input [V, I].
        mirrored: take the taps from the last to the first.
    """
    outputs, inputs = weight.shape[0], weight.shape[-1]
    y = x.new_empty(pairs.outputs, inputs if backward else outputs)
    library().haskd_convolve(
        x.data_ptr(),
        weight.data_ptr(),
        outputs,
        len(pairs.sizes),
        inputs,
        backward,
        mirrored,
        *_pairs(pairs),
        y.data_ptr(),
        len(y),
        torch.get_num_threads(),
    )
    return y


def weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor, pairs: KernelMap) -> Tensor:
    """Gradient of a convolution's weight [O, k, k, k, I] from its contiguous x [U, I] and the
    contiguous gradient [V, O] of its result."""
    result = torch.empty_like(weight)
    library().haskd_weight_gradient(
        x.data_ptr(),
        x.shape[1],
        gradient.data_ptr(),
        gradient.shape[1],
        len(pairs.sizes),
        *_pairs(pairs),
        pairs.outputs,
        result.data_ptr(),
        torch.get_num_threads(),
    )
    return result


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (the mean square, not the unbiased one) [C] over rows of contiguous x
    [R, C], R > 0."""
    mean, variance = x.new_empty(2, x.shape[1]).unbind(0)
    library().haskd_moments(
        x.data_ptr(),
        *x.shape,
        mean.data_ptr(),
        variance.data_ptr(),
        torch.get_num_threads(),
    )
    return mean, variance


def affine(
    x: Tensor, scale: Tensor, shift: Tensor, added: Tensor | None = None, relu: bool = False
) -> Tensor:
    """x * scale + shift (+ added), cut off at 0 for a ReLU: contiguous [R, C], [C], [C], [R, C]."""
    y = torch.empty_like(x)
    library().haskd_affine(
        x.data_ptr(),
        *x.shape,
        scale.data_ptr(),
        shift.data_ptr(),
        _address(added),
        relu,
        y.data_ptr(),
        torch.get_num_threads(),
    )
    return y


def norm_backward(
    gradient: Tensor,
    x: Tensor,
    y: Tensor | None,
    mean: Tensor,
    inverse_std: Tensor,
    weight: Tensor,
    added: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of x [R, C], weight [C], bias [C] and what was added [R, C] (None unless `added`)
    of y = relu((x - mean) * inverse_std * weight + bias + added) from that of y.

    Args:
        y: the result; None where there was no ReLU.
    """
    x_gradient = torch.empty_like(x)
    added_gradient = torch.empty_like(x) if added else None
    of_weight, of_bias = x.new_empty(2, x.shape[1]).unbind(0)
    library().haskd_norm_backward(
        gradient.data_ptr(),
        x.data_ptr(),
        _address(y),
        *x.shape,
        mean.data_ptr(),
        inverse_std.data_ptr(),
        weight.data_ptr(),
        x_gradient.data_ptr(),
        of_weight.data_ptr(),
        of_bias.data_ptr(),
        _address(added_gradient),
        torch.get_num_threads(),
    )
    return x_gradient, of_weight, of_bias, added_gradient


def group(keys: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unique keys [G] int64, where in `order` each begins [G] int32, each row's group [N] int64,
    and the order in 32 bits; from contiguous keys [N] and their ascending order [N], both int64."""
    keys = keys.contiguous()
    unique, of_row = torch.empty_like(keys), torch.empty_like(keys)
    starts, order_32 = torch.empty(2, len(keys), dtype=torch.int32).unbind(0)
    groups = library().haskd_group(
        keys.data_ptr(),
        order.data_ptr(),
        len(keys),
        unique.data_ptr(),
        starts.data_ptr(),
        of_row.data_ptr(),
        order_32.data_ptr(),
    )
    return unique[:groups], starts[:groups], of_row, order_32


def neighbours(keys: Tensor, columns: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(sources, targets) int32 of the 13 offsets behind the centre's, from sorted keys [V]: z + 1,
    then z - 1, z, z + 1 of each of four columns, whose keys are higher by `columns` [4] int64."""
    keys = keys.contiguous()
    sources, targets = torch.empty(2, 13, len(keys), dtype=torch.int32).unbind(0)
    counts = torch.empty(13, dtype=torch.int64)
    library().haskd_neighbours(
        keys.data_ptr(),
        len(keys),
        columns.data_ptr(),
        sources.data_ptr(),
        targets.data_ptr(),
        counts.data_ptr(),
        torch.get_num_threads(),
    )
    return [(s[:n], t[:n]) for s, t, n in zip(sources, targets, counts.tolist())]


def by_octant(keys: Tensor, field_bits: int) -> tuple[Tensor, Tensor]:
    """Rows octant after octant [V] int64, and how many each of the 8 has, from keys [V] whose
    fields x, y and z have `field_bits` bits."""
    keys = keys.contiguous()
    order, sizes = torch.empty_like(keys), torch.empty(8, dtype=torch.int64)
    library().haskd_by_octant(
        keys.data_ptr(), len(keys), field_bits, order.data_ptr(), sizes.data_ptr()
    )
    return order, sizes


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
