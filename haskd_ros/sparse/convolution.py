"""Sparse 3D convolution: gather rows, one matrix product an offset, sum per output.

Here in plain torch, on any device and in any floating dtype, forward and backward; float32 on a CPU
goes through compiled kernels where there are any (`native`). What made plain torch fast is measured
in `benchmarks/speed.py`: kernel maps shared by all layers of a resolution, buffers that are kept
(a fresh one costs more in page faults than the gather itself), and sums by `bag_sum`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from haskd_ros.native import dispatch, kernels
from haskd_ros.sparse.finish import NOTHING, Finish
from haskd_ros.sparse.kernel_map import CENTRE, KernelMap, identity_map
from haskd_ros.sparse.voxels import bag_sum

Features = Tensor | tuple[Tensor, Tensor]
"""[U, I] features, or two tensors of U rows that make them up side by side, in this order."""

_local = threading.local()


def _scratch(name: str, rows: int, columns: int, like: Tensor) -> Tensor:
    """[rows, columns] of uninitialised memory, valid until this thread asks for `name` again; it
    goes when the thread ends."""
    buffers = _local.__dict__.setdefault("buffers", {})
    slot = (name, like.dtype, like.device)
    buffer = buffers.get(slot)
    if buffer is None or buffer.numel() < rows * columns:
        # A buffer born in inference mode could not serve a training step later.
        with torch.inference_mode(False):
            size = rows * columns * 5 // 4
            buffer = torch.empty(size, dtype=like.dtype, device=like.device)
        buffers[slot] = buffer
    return buffer[: rows * columns].view(rows, columns)


def _gather(x: Tensor, rows: Tensor, name: str) -> Tensor:
    return torch.index_select(x, 0, rows, out=_scratch(name, len(rows), x.shape[1], x))


def _apply(x: Tensor, kernel: Tensor, pairs: KernelMap) -> Tensor:
    """x [U, I], kernel [K, I, O] -> [V, O] with V = pairs.outputs."""
    gathered = _gather(x, pairs.sources, "gathered")
    products = _scratch("products", len(gathered), kernel.shape[2], x)
    for rows, result, weight in zip(
        gathered.split(pairs.sizes), products.split(pairs.sizes), kernel
    ):
        if len(rows):
            torch.mm(rows, weight, out=result)
    summed = bag_sum(products, *pairs.bags)
    if pairs.identity_centre:
        summed.addmm_(x, kernel[CENTRE])
    return summed


def _kernel_gradient(x: Tensor, gradient: Tensor, pairs: KernelMap) -> Tensor:
    """Gradient of `_apply` for its kernel: [K, I, O]."""
    result = x.new_zeros(len(pairs.sizes), x.shape[1], gradient.shape[1])
    sources = _gather(x, pairs.sources, "gathered").split(pairs.sizes)
    targets = _gather(gradient, pairs.targets, "products").split(pairs.sizes)
    for offset, (source, target) in enumerate(zip(sources, targets)):
        if len(source):
            torch.mm(source.t(), target, out=result[offset])
    if pairs.identity_centre:
        torch.mm(x.t(), gradient, out=result[CENTRE])
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, pairs: KernelMap, adjoint: KernelMap) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.pairs, ctx.adjoint = pairs, adjoint
        return _apply(x, kernel, pairs)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, kernel = ctx.saved_tensors
        gradient = gradient.contiguous()
        x_gradient = kernel_gradient = None
        if ctx.needs_input_grad[0]:
            transposed = kernel.transpose(1, 2)
            if ctx.pairs.identity_centre:
                # The adjoint of a submanifold convolution is one over the same pairs, mirrored.
                transposed = transposed.flip(0)
            x_gradient = _apply(gradient, transposed, ctx.adjoint)
        if ctx.needs_input_grad[1]:
            kernel_gradient = _kernel_gradient(x, gradient, ctx.pairs)
        return x_gradient, kernel_gradient, None, None


def _convolve(
    x: Tensor,
    weight: Tensor,
    pairs: KernelMap,
    finish: Finish = NOTHING,
    *,
    x_tail: Tensor | None = None,
    keep_packed: bool = False,
    backward: bool = False,
    mirrored: bool = False,
) -> Tensor:
    """`kernels.convolve` over a kernel map."""
    return kernels.convolve(
        x,
        weight,
        sources=pairs.sources,
        targets=pairs.targets,
        tap_offsets=pairs.tap_offsets,
        identity_tap=pairs.identity_tap,
        output_rows=pairs.outputs,
        x_tail=x_tail,
        bias=finish.bias,
        addend=finish.added,
        addend_rows=None if finish.grouping is None else finish.grouping.group,
        relu=finish.relu,
        keep_packed=keep_packed,
        backward=backward,
        mirrored=mirrored,
    )


class _CompiledConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, pairs: KernelMap, adjoint: KernelMap) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pairs, ctx.adjoint = pairs, adjoint
        return _convolve(x, weight, pairs)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        x_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            mirrored = ctx.pairs.identity_centre
            x_gradient = _convolve(gradient, weight, ctx.adjoint, backward=True, mirrored=mirrored)
        if ctx.needs_input_grad[1]:
            weight_gradient = kernels.weight_gradient(
                x,
                gradient,
                weight,
                sources=ctx.pairs.sources,
                targets=ctx.pairs.targets,
                tap_offsets=ctx.pairs.tap_offsets,
                identity_tap=ctx.pairs.identity_tap,
            )
        return x_gradient, weight_gradient, None, None


def _check(x: Sequence[Tensor], rows: int, weight: Tensor) -> None:
    # Compiled kernels check no shapes: they would read beyond the memory.
    width = sum(part.shape[1] for part in x)
    if width != weight.shape[-1] or any(len(part) != rows for part in x):
        shapes = " and ".join(str(tuple(part.shape)) for part in x)
        raise ValueError(f"features are {shapes}, not ({rows}, {weight.shape[-1]})")


def _compiled(
    x: Sequence[Tensor], weight: Tensor, pairs: KernelMap, adjoint: KernelMap, finish: Finish
) -> Tensor:
    weight = weight.contiguous()
    if torch.is_grad_enabled() and any(t.requires_grad for t in (*x, weight, *finish.tensors)):
        return finish(_CompiledConvolution.apply(_side_by_side(x), weight, pairs, adjoint))
    first, *others = (part if part.stride(1) == 1 else part.contiguous() for part in x)
    # A linear layer's weight comes as a new view each time, and is small; it stays float32.
    keep = len(pairs.sizes) > 1
    return _convolve(
        first, weight, pairs, finish, x_tail=next(iter(others), None), keep_packed=keep
    )


def _side_by_side(x: Sequence[Tensor]) -> Tensor:
    return x[0].contiguous() if len(x) == 1 else torch.cat(tuple(x), 1)


def convolve(
    x: Features, weight: Tensor, pairs: KernelMap, adjoint: KernelMap, finish: Finish = NOTHING
) -> Tensor:
    """Sparse convolution over given pairs, and what follows it; differentiable in all tensors.

    Args:
        x: [U, I] features of the input voxels.
        weight: [O, k, k, k, I], spconv's layout; taps in (x, y, z) order.
        pairs: which input row meets which output row under each of the k^3 taps.
        adjoint: the same pairs from output to input; the map itself where it is submanifold.
        finish: done to the result; in the same pass where nothing has to be differentiated.

    Returns:
        [V, O] features of the output voxels, in x's dtype.

    Raises:
        ValueError: x, or what is added, is of another shape than map and weight say.
    """
    x = x if isinstance(x, tuple) else (x,)
    _check(x, adjoint.outputs, weight)
    finish.check(pairs.outputs, weight.shape[0])
    if dispatch.usable(*x, weight, *finish.tensors):
        return _compiled(x, weight, pairs, adjoint, finish)
    x = _side_by_side(x)
    outputs, inputs = weight.shape[0], weight.shape[-1]
    kernel = weight.reshape(outputs, -1, inputs).permute(1, 2, 0).to(x.dtype)
    return finish(_Convolution.apply(x, kernel, pairs, adjoint))


def multiply(x: Features, weight: Tensor, finish: Finish = NOTHING) -> Tensor:
    """x [R, I] times the transpose of weight [O, I] -> [R, O], and what follows; differentiable.

    Raises:
        ValueError: x, or what is added, is of another shape than the weight says.
    """
    x = x if isinstance(x, tuple) else (x,)
    _check(x, len(x[0]), weight)
    finish.check(len(x[0]), weight.shape[0])
    if not dispatch.usable(*x, weight, *finish.tensors):
        return finish(F.linear(_side_by_side(x), weight))
    # A convolution with a kernel of one tap.
    pairs = identity_map(len(x[0]))
    return _compiled(x, weight[:, None], pairs, pairs, finish)
