"""Compiled kernels over features, as functions of tensors; `voxel_kernels` has those over points
and voxels.

`dispatch.usable` says whether they can be used. Shapes and types are the caller's to check: a
kernel reads memory where it is pointed to. Each has its twin in plain torch, which says what it
computes; results agree to rounding and are the same for any number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import MutableMapping

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from haskd_ros.native import dispatch
from haskd_ros.native.arguments import (
    ConvolveArguments,
    NormBackwardArguments,
    WeightGradientArguments,
)
from haskd_ros.native.dispatch import thread_count
from haskd_ros.native.library import library

# Packed weights of networks that infer, with the state they were packed in: library, version of the
# values, whether in bfloat16.
_packed: MutableMapping[Tensor, tuple[tuple[ctypes.CDLL, int, bool], Tensor]] = (
    WeakIdKeyDictionary()
)


def convolve(
    x: Tensor,
    weight: Tensor,
    *,
    sources: Tensor,
    targets: Tensor,
    tap_offsets: Tensor,
    identity_tap: int | None,
    output_rows: int,
    x_tail: Tensor | None = None,
    bias: Tensor | None = None,
    addend: Tensor | None = None,
    addend_rows: Tensor | None = None,
    relu: bool = False,
    keep_packed: bool = False,
    backward: bool = False,
    mirrored: bool = False,
) -> Tensor:
    """Sparse convolution with an epilogue: relu(conv(x) + bias + addend) [V, O].

    Args:
        x: [U, I]; the values of a row are contiguous, the rows may lie apart.
        weight: [O, k, k, k, I], contiguous.
        sources, targets: [P] int32, contiguous: which input row meets which output row, tap after
            tap, the targets of a tap ascending.
        tap_offsets: [k^3 + 1] int64: where a tap's pairs begin, and the end of the last.
        identity_tap: the tap under which row i meets row i, without pairs; None for none.
        output_rows: V.
        x_tail: [U, J] like x, the last J of the I channels; x then has the others alone.
        bias: [O].
        addend: [V, O], or [G, O] with `addend_rows`.
        addend_rows: [V] int64, the row of the addend that each output row gets.
        relu: whether the ReLU is to be taken.
        keep_packed: keep the packed weight for the next call, of bfloat16 where
            `bf16` asks for that; not backward.
        backward: x is a gradient [U, O] of an output, the result that of an input [V, I].
        mirrored: take the taps from the last to the first.
    """
    outputs, inputs = weight.shape[0], weight.shape[-1]
    y = x.new_empty(output_rows, inputs if backward else outputs)
    bias, addend, addend_rows = (
        None if t is None else t.contiguous() for t in (bias, addend, addend_rows)
    )
    in_bf16 = keep_packed and dispatch.in_bf16()
    packed = _packed_weight(weight, in_bf16) if keep_packed else None
    arguments = ConvolveArguments(
        x=x.data_ptr(),
        x_rows=len(x),
        x_stride=x.stride(0),
        weight=weight.data_ptr(),
        packed=address(packed),
        outputs=outputs,
        inputs=inputs,
        sources=sources.data_ptr(),
        targets=targets.data_ptr(),
        tap_offsets=tap_offsets.data_ptr(),
        taps=len(tap_offsets) - 1,
        identity_tap=-1 if identity_tap is None else identity_tap,
        y=y.data_ptr(),
        y_rows=output_rows,
        bias=address(bias),
        addend=address(addend),
        addend_rows=address(addend_rows),
        relu=relu,
        backward=backward,
        mirrored=mirrored,
        bf16=in_bf16,
        threads=thread_count(),
    )
    if x_tail is not None:
        arguments.x_tail = x_tail.data_ptr()
        arguments.tail_inputs, arguments.tail_stride = x_tail.shape[1], x_tail.stride(0)
    library().haskd_convolve(ctypes.byref(arguments))
    return y


def _packed_weight(weight: Tensor, in_bf16: bool) -> Tensor | None:
    """The weight as haskd_convolve takes it, packed once for each version of its values; None for
    an inference tensor, which counts no versions."""
    if weight.is_inference():
        return None
    state = library(), weight._version, in_bf16
    kept = _packed.get(weight)
    if kept is not None and kept[0] == state:
        return kept[1]
    outputs, inputs = weight.shape[0], weight.shape[-1]
    shape = outputs, weight[0].numel() // inputs, inputs
    pack = library().haskd_pack_weight
    packed = torch.empty(pack(weight.data_ptr(), *shape, in_bf16, None, 1), dtype=torch.float32)
    pack(weight.data_ptr(), *shape, in_bf16, packed.data_ptr(), thread_count())
    _packed[weight] = state, packed
    return packed


def weight_gradient(
    x: Tensor,
    gradient: Tensor,
    weight: Tensor,
    *,
    sources: Tensor,
    targets: Tensor,
    tap_offsets: Tensor,
    identity_tap: int | None,
) -> Tensor:
    """Gradient of a convolution's weight [O, k, k, k, I] from its contiguous x [U, I] and the
    contiguous gradient [V, O] of its result; the other arguments as of `convolve`."""
    result = torch.empty_like(weight)
    arguments = WeightGradientArguments(
        x=x.data_ptr(),
        inputs=x.shape[1],
        y_gradient=gradient.data_ptr(),
        y_rows=len(gradient),
        outputs=gradient.shape[1],
        sources=sources.data_ptr(),
        targets=targets.data_ptr(),
        tap_offsets=tap_offsets.data_ptr(),
        taps=len(tap_offsets) - 1,
        identity_tap=-1 if identity_tap is None else identity_tap,
        gradient=result.data_ptr(),
        threads=thread_count(),
    )
    library().haskd_weight_gradient(ctypes.byref(arguments))
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
        thread_count(),
    )
    return mean, variance


def affine(
    x: Tensor, scale: Tensor, shift: Tensor, addend: Tensor | None = None, relu: bool = False
) -> Tensor:
    """x * scale + shift (+ addend), and a ReLU: contiguous [R, C], [C], [C], [R, C]."""
    y = torch.empty_like(x)
    library().haskd_affine(
        x.data_ptr(),
        *x.shape,
        scale.data_ptr(),
        shift.data_ptr(),
        address(addend),
        relu,
        y.data_ptr(),
        thread_count(),
    )
    return y


def norm_backward(
    gradient: Tensor,
    x: Tensor,
    y: Tensor | None,
    mean: Tensor,
    inverse_std: Tensor,
    weight: Tensor,
    *,
    with_addend: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of x [R, C], weight [C], bias [C] and addend [R, C] (None unless `with_addend`) of
    y = relu((x - mean) * inverse_std * weight + bias + addend) from that of y.

    Args:
        y: the result; None where there was no ReLU.
    """
    x_gradient = torch.empty_like(x)
    addend_gradient = torch.empty_like(x) if with_addend else None
    weight_gradient, bias_gradient = x.new_empty(2, x.shape[1]).unbind(0)
    arguments = NormBackwardArguments(
        y_gradient=gradient.data_ptr(),
        x=x.data_ptr(),
        y=address(y),
        rows=x.shape[0],
        columns=x.shape[1],
        mean=mean.data_ptr(),
        inverse_std=inverse_std.data_ptr(),
        weight=weight.data_ptr(),
        x_gradient=x_gradient.data_ptr(),
        weight_gradient=weight_gradient.data_ptr(),
        bias_gradient=bias_gradient.data_ptr(),
        addend_gradient=address(addend_gradient),
        threads=thread_count(),
    )
    library().haskd_norm_backward(ctypes.byref(arguments))
    return x_gradient, weight_gradient, bias_gradient, addend_gradient


def pool(x: Tensor, order: Tensor, starts: Tensor) -> Tensor:
    """Mean [G, C] of the rows of contiguous x [N, C] in each group, from their `order` [N] int32
    group after group and where in it each begins, `starts` [G] int32."""
    mean = x.new_empty(len(starts), x.shape[1])
    library().haskd_pool(
        x.data_ptr(),
        *x.shape,
        order.data_ptr(),
        starts.data_ptr(),
        len(starts),
        mean.data_ptr(),
        thread_count(),
    )
    return mean


def softmax_statistics(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Highest class [N] uint8, its probability and the entropy in nats [N] float32, of
    softmax(logits / temperature), from contiguous logits [N, C], 0 < C <= 256."""
    class_id = torch.empty(len(logits), dtype=torch.uint8)
    probability, entropy = logits.new_empty(2, len(logits)).unbind(0)
    library().haskd_softmax_statistics(
        logits.data_ptr(),
        *logits.shape,
        1 / temperature,
        class_id.data_ptr(),
        probability.data_ptr(),
        entropy.data_ptr(),
        thread_count(),
    )
    return class_id, probability, entropy


def address(tensor: Tensor | None) -> int | None:
    """The tensor's memory; null for None."""
    return None if tensor is None else tensor.data_ptr()
