"""The engine's interface on a Triton kernel, for NVIDIA GPUs without spconv.

triton is imported at first use: torch's CUDA builds for Linux bring it, NVIDIA's for Jetson too.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from haskd_ros.sparse.autograd import Context, apply
from haskd_ros.sparse.convolution import Features
from haskd_ros.sparse.epilogue import NO_EPILOGUE, Epilogue
from haskd_ros.sparse.geometry import ConvolutionLayer
from haskd_ros.sparse.neighbours import (
    Neighbours,
    downsampling_neighbours,
    submanifold_neighbours,
)


@functools.cache
def _load() -> tuple[ModuleType | None, str]:
    try:
        from haskd_ros.sparse import triton_kernel as module
    # A triton of another version than torch's raises what it likes.
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    return module, ""


def import_error() -> str:
    """Why triton could not be imported; empty where it could."""
    return _load()[1]


def _kernel() -> ModuleType:
    module, reason = _load()
    if module is None:
        raise ImportError(reason)
    return module


class _TableContext(Context, Protocol):
    neighbours: Neighbours
    adjoint: Neighbours


class _Convolution(torch.autograd.Function):
    """The adjoint of a submanifold convolution is one over the same table, mirrored."""

    @staticmethod
    def forward(
        ctx: _TableContext, x: Tensor, weight: Tensor, neighbours: Neighbours, adjoint: Neighbours
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.neighbours, ctx.adjoint = neighbours, adjoint
        result: Tensor = _kernel().convolve(x, weight, neighbours)
        return result

    @staticmethod
    @once_differentiable
    def backward(
        ctx: _TableContext, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        x_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            mirrored = ctx.adjoint is ctx.neighbours
            x_gradient = _kernel().convolve(
                gradient, weight, ctx.adjoint, backward=True, mirrored=mirrored
            )
        if ctx.needs_input_grad[1]:
            weight_gradient = _weight_gradient(x, gradient, ctx.neighbours).to(weight.dtype)
        return x_gradient, weight_gradient, None, None


def _weight_gradient(x: Tensor, gradient: Tensor, neighbours: Neighbours) -> Tensor:
    """[O, K, I], in plain torch: x [U, I], gradient [V, O]."""
    # Its last row, which -1 means, is 0.
    padded = torch.cat([x, x.new_zeros(1, x.shape[1])])
    sources = neighbours.sources.remainder(len(padded))
    transposed = gradient.t()
    return torch.stack([transposed @ padded.index_select(0, rows) for rows in sources], 1)


class TritonGeometry:
    """Tables of neighbours are built at first use and shared by all layers. One number is asked of
    the GPU for each level below the first: that of its voxels.

    Args:
        keys: [V] int64 sorted unique voxel keys of level 0.
    """

    def __init__(self, keys: Tensor) -> None:
        _kernel()
        self._keys = [keys]
        self._within: dict[int, Neighbours] = {}
        self._steps: list[tuple[Neighbours, Neighbours]] = []

    def _reach(self, level: int) -> None:
        while len(self._keys) <= level:
            parents, down, up = downsampling_neighbours(self._keys[-1])
            self._keys.append(parents)
            self._steps.append((down, up))

    def submanifold(
        self, x: Features, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        self._reach(level)
        if level not in self._within:
            self._within[level] = submanifold_neighbours(self._keys[level])
        neighbours = self._within[level]
        return _convolve(x, layer.weight, neighbours, neighbours, epilogue)

    def down(
        self, x: Tensor, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        self._reach(level + 1)
        down, up = self._steps[level]
        return _convolve(x, layer.weight, down, up, epilogue)

    def up(
        self, x: Tensor, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        self._reach(level + 1)
        down, up = self._steps[level]
        return _convolve(x, layer.weight, up, down, epilogue)


def _convolve(
    x: Features, weight: Tensor, neighbours: Neighbours, adjoint: Neighbours, epilogue: Epilogue
) -> Tensor:
    """As `convolution.convolve`, whose errors it raises; differentiable in all tensors."""
    if isinstance(x, tuple):
        x = torch.cat(x, 1)
    rows, width = len(adjoint.order), weight.shape[-1]
    # The kernel checks no shapes: it would read beyond the memory.
    if x.shape != (rows, width):
        raise ValueError(f"features are {tuple(x.shape)}, not ({rows}, {width})")
    if x.dtype not in (dtypes := _kernel().DTYPES):
        raise ValueError(f"features are {x.dtype}; the Triton kernel takes {dtypes}")
    epilogue.check(len(neighbours.order), weight.shape[0])
    x, weight = x.contiguous(), weight.flatten(1, 3).contiguous()
    learns = any(t.requires_grad for t in (x, weight, *epilogue.tensors))
    if epilogue.grouping is not None or (torch.is_grad_enabled() and learns):
        return epilogue(apply(_Convolution, x, weight, neighbours, adjoint))
    addend = None if epilogue.addend is None else epilogue.addend.contiguous()
    fused = Epilogue(bias=epilogue.bias, addend=addend, relu=epilogue.relu)
    result: Tensor = _kernel().convolve(x, weight, neighbours, fused)
    return result
