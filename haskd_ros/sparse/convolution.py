"""Sparse 3D convolution: gather rows, one matrix product a tap, sum per output.

Here in plain torch, on any device and in any floating dtype, forward and backward; float32 on a CPU
goes through compiled kernels where they are loaded (`native`). What made plain torch fast is
measured in `benchmarks/speed.py`: kernel maps shared by all layers of a resolution, buffers that
are kept (a fresh one costs more in page faults than the gather itself), and sums by `segment_sum`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from haskd_ros.native import dispatch, kernels
from haskd_ros.sparse.autograd import Context, apply
from haskd_ros.sparse.epilogue import NO_EPILOGUE, Epilogue
from haskd_ros.sparse.grouping import segment_sum
from haskd_ros.sparse.kernel_map import CENTRE, KernelMap, identity_map

Features = Tensor | tuple[Tensor, Tensor]
"""[U, I] features, or two tensors of U rows whose channels are concatenated, in this order."""

Gradients = tuple[Tensor | None, Tensor | None, None, None]
"""Of features, weight, kernel map and adjoint."""


class _Scratch(threading.local):
    """Memory that each thread keeps between calls; it goes when the thread ends."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def rows(self, name: str, rows: int, columns: int, like: Tensor) -> Tensor:
        """[rows, columns] of uninitialised memory, valid until the thread's next for `name`."""
        slot = (name, like.dtype, like.device)
        buffer = self._buffers.get(slot)
        if buffer is None or buffer.numel() < rows * columns:
            # A buffer born in inference mode could not serve a training step later.
            with torch.inference_mode(False):
                size = rows * columns * 5 // 4
                buffer = torch.empty(size, dtype=like.dtype, device=like.device)
            self._buffers[slot] = buffer
        return buffer[: rows * columns].view(rows, columns)


_scratch = _Scratch()


def _gather(x: Tensor, rows: Tensor, name: str) -> Tensor:
    return torch.index_select(x, 0, rows, out=_scratch.rows(name, len(rows), x.shape[1], x))


def _gather_multiply_sum(x: Tensor, kernel: Tensor, kernel_map: KernelMap) -> Tensor:
    """x [U, I], kernel [K, I, O] -> [V, O] with V = kernel_map.output_rows."""
    sizes = list(kernel_map.sizes)
    gathered = _gather(x, kernel_map.sources, "gathered")
    products = _scratch.rows("products", len(gathered), kernel.shape[2], x)
    for rows, result, weight in zip(
        torch.split(gathered, sizes), torch.split(products, sizes), kernel
    ):
        if len(rows):
            torch.mm(rows, weight, out=result)
    summed = segment_sum(products, *kernel_map.segments)
    if kernel_map.identity_centre:
        summed.addmm_(x, kernel[CENTRE])
    return summed


def _kernel_gradient(x: Tensor, gradient: Tensor, kernel_map: KernelMap) -> Tensor:
    """Gradient of `_gather_multiply_sum` for its kernel: [K, I, O]."""
    sizes = list(kernel_map.sizes)
    result = x.new_zeros(len(sizes), x.shape[1], gradient.shape[1])
    sources = torch.split(_gather(x, kernel_map.sources, "gathered"), sizes)
    targets = torch.split(_gather(gradient, kernel_map.targets, "products"), sizes)
    for tap, (source, target) in enumerate(zip(sources, targets)):
        if len(source):
            torch.mm(source.t(), target, out=result[tap])
    if kernel_map.identity_centre:
        torch.mm(x.t(), gradient, out=result[CENTRE])
    return result


class _MapContext(Context, Protocol):
    kernel_map: KernelMap
    adjoint: KernelMap


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _MapContext, x: Tensor, kernel: Tensor, kernel_map: KernelMap, adjoint: KernelMap
    ) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.kernel_map, ctx.adjoint = kernel_map, adjoint
        return _gather_multiply_sum(x, kernel, kernel_map)

    @staticmethod
    def backward(ctx: _MapContext, gradient: Tensor) -> Gradients:
        x, kernel = ctx.saved_tensors
        gradient = gradient.contiguous()
        x_gradient = kernel_gradient = None
        if ctx.needs_input_grad[0]:
            transposed = kernel.transpose(1, 2)
            if ctx.kernel_map.identity_centre:
                # The adjoint of a submanifold convolution is one over the same pairs, mirrored.
                transposed = transposed.flip(0)
            x_gradient = _gather_multiply_sum(gradient, transposed, ctx.adjoint)
        if ctx.needs_input_grad[1]:
            kernel_gradient = _kernel_gradient(x, gradient, ctx.kernel_map)
        return x_gradient, kernel_gradient, None, None


def _convolve(
    x: Tensor,
    weight: Tensor,
    kernel_map: KernelMap,
    epilogue: Epilogue = NO_EPILOGUE,
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
        sources=kernel_map.sources,
        targets=kernel_map.targets,
        tap_offsets=kernel_map.tap_offsets,
        identity_tap=kernel_map.identity_tap,
        output_rows=kernel_map.output_rows,
        x_tail=x_tail,
        bias=epilogue.bias,
        addend=epilogue.addend,
        addend_rows=None if epilogue.grouping is None else epilogue.grouping.inverse,
        relu=epilogue.relu,
        keep_packed=keep_packed,
        backward=backward,
        mirrored=mirrored,
    )


class _CompiledConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _MapContext, x: Tensor, weight: Tensor, kernel_map: KernelMap, adjoint: KernelMap
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.kernel_map, ctx.adjoint = kernel_map, adjoint
        return _convolve(x, weight, kernel_map)

    @staticmethod
    @once_differentiable
    def backward(ctx: _MapContext, gradient: Tensor) -> Gradients:
        x, weight = ctx.saved_tensors
        kernel_map = ctx.kernel_map
        gradient = gradient.contiguous()
        x_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            mirrored = kernel_map.identity_centre
            x_gradient = _convolve(gradient, weight, ctx.adjoint, backward=True, mirrored=mirrored)
        if ctx.needs_input_grad[1]:
            weight_gradient = kernels.weight_gradient(
                x,
                gradient,
                weight,
                sources=kernel_map.sources,
                targets=kernel_map.targets,
                tap_offsets=kernel_map.tap_offsets,
                identity_tap=kernel_map.identity_tap,
            )
        return x_gradient, weight_gradient, None, None


def _check(x: Sequence[Tensor], rows: int, weight: Tensor) -> None:
    # Compiled kernels check no shapes: they would read beyond the memory.
    width = sum(part.shape[1] for part in x)
    if width != weight.shape[-1] or any(len(part) != rows for part in x):
        shapes = " and ".join(str(tuple(part.shape)) for part in x)
        raise ValueError(f"features are {shapes}, not ({rows}, {weight.shape[-1]})")


def _compiled(
    x: Sequence[Tensor],
    weight: Tensor,
    kernel_map: KernelMap,
    adjoint: KernelMap,
    epilogue: Epilogue,
) -> Tensor:
    weight = weight.contiguous()
    if torch.is_grad_enabled() and any(t.requires_grad for t in (*x, weight, *epilogue.tensors)):
        return epilogue(apply(_CompiledConvolution, _concatenated(x), weight, kernel_map, adjoint))
    first, *others = (part if part.stride(1) == 1 else part.contiguous() for part in x)
    tail = next(iter(others), None)
    # A linear layer's weight comes as a new view each time, and is small; it stays float32.
    keep = len(kernel_map.sizes) > 1
    return _convolve(first, weight, kernel_map, epilogue, x_tail=tail, keep_packed=keep)


def _concatenated(x: Sequence[Tensor]) -> Tensor:
    return x[0].contiguous() if len(x) == 1 else torch.cat(tuple(x), 1)


def convolve(
    x: Features,
    weight: Tensor,
    kernel_map: KernelMap,
    adjoint: KernelMap,
    epilogue: Epilogue = NO_EPILOGUE,
) -> Tensor:
    """Sparse convolution over a kernel map, with an epilogue; differentiable in all tensors.

    Args:
        x: [U, I] features of the input voxels.
        weight: [O, k, k, k, I], spconv's layout; taps in (x, y, z) order.
        kernel_map: which input row meets which output row under each of the k^3 taps.
        adjoint: the same pairs from output to input; the map itself where it is submanifold.
        epilogue: in the same pass where nothing has to be differentiated.

    Returns:
        [V, O] features of the output voxels, in x's dtype.

    Raises:
        ValueError: shapes of x or the epilogue that don't fit map and weight.
    """
    parts = x if isinstance(x, tuple) else (x,)
    _check(parts, adjoint.output_rows, weight)
    epilogue.check(kernel_map.output_rows, weight.shape[0])
    if dispatch.usable(*parts, weight, *epilogue.tensors):
        return _compiled(parts, weight, kernel_map, adjoint, epilogue)
    features = _concatenated(parts)
    outputs, inputs = weight.shape[0], weight.shape[-1]
    kernel = weight.reshape(outputs, -1, inputs).permute(1, 2, 0).to(features.dtype)
    return epilogue(apply(_Convolution, features, kernel, kernel_map, adjoint))


def multiply(x: Features, weight: Tensor, epilogue: Epilogue = NO_EPILOGUE) -> Tensor:
    """x [R, I] times the transpose of weight [O, I] -> [R, O], with an epilogue; differentiable.

    Raises:
        ValueError: shapes of x or the epilogue that don't fit the weight.
    """
    parts = x if isinstance(x, tuple) else (x,)
    rows = len(parts[0])
    _check(parts, rows, weight)
    epilogue.check(rows, weight.shape[0])
    if not dispatch.usable(*parts, weight, *epilogue.tensors):
        return epilogue(F.linear(_concatenated(parts), weight))
    # A convolution with a kernel of one tap.
    kernel_map = identity_map(rows)
    return _compiled(parts, weight[:, None], kernel_map, kernel_map, epilogue)
