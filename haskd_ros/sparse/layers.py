"""Sparse convolutions as modules. Features are [V, C] tensors; where they lie is the geometry's."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from haskd_ros.sparse.convolution import Features, multiply
from haskd_ros.sparse.finish import NOTHING, Finish
from haskd_ros.sparse.geometry import Geometry


class Finishing:
    """A layer whose forward takes a `Finish`, which it does in the same pass where it can."""

    bias: Tensor | None

    def _with_bias(self, finish: Finish) -> Finish:
        return finish if self.bias is None else replace(finish, bias=self.bias)


class _SparseConvolution(Finishing, nn.Module):
    """Weight [O, k, k, k, I] (spconv's layout, taps in x y z order) and an optional bias [O]."""

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, kernel, kernel, kernel, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        # He et al. 2015 for ReLU. Of a kernel's taps only some find a voxel: outdoors 3 x 3 x 3
        # about 9, 2 x 2 x 2 about 2.
        fan_in = inputs * (9 if kernel == 3 else 2)
        nn.init.normal_(self.weight, std=math.sqrt(2 / fan_in))

    def extra_repr(self) -> str:
        outputs, kernel, *_, inputs = self.weight.shape
        return f"{inputs}, {outputs}, kernel={kernel}, bias={self.bias is not None}"


class SubmanifoldConv(_SparseConvolution):
    """3 x 3 x 3 convolution onto the very voxels it reads (Graham et al., CVPR 2018)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, bias)

    def forward(
        self, x: Features, geometry: Geometry, level: int, finish: Finish = NOTHING
    ) -> Tensor:
        """[V, I] at `level` -> [V, O] at `level`."""
        return geometry.submanifold(x, self, level, self._with_bias(finish))


class StridedConv(_SparseConvolution):
    """2 x 2 x 2 convolution with stride 2: onto every coarser voxel that holds a finer one."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 2, bias)

    def forward(
        self, x: Tensor, geometry: Geometry, level: int, finish: Finish = NOTHING
    ) -> Tensor:
        """[V, I] at `level` -> [W, O] at `level + 1`."""
        return geometry.down(x, self, level, self._with_bias(finish))


class InverseConv(_SparseConvolution):
    """The way back of `StridedConv`: onto the finer voxels it came from."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 2, bias)

    def forward(
        self, x: Tensor, geometry: Geometry, level: int, finish: Finish = NOTHING
    ) -> Tensor:
        """[W, I] at `level + 1` -> [V, O] at `level`."""
        return geometry.up(x, self, level, self._with_bias(finish))


class Linear(Finishing, nn.Linear):
    """The same on every row of [R, I]: torch's own, and faster on a CPU where kernels could be
    compiled."""

    def forward(self, x: Features, finish: Finish = NOTHING) -> Tensor:
        """[R, I] -> [R, O]."""
        return multiply(x, self.weight, self._with_bias(finish))
