"""Sparse convolutions as modules. Features are [V, C] tensors; their voxels are the geometry's."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from haskd_ros.sparse.convolution import Features, multiply
from haskd_ros.sparse.epilogue import NO_EPILOGUE, Epilogue
from haskd_ros.sparse.geometry import Geometry


class SparseConvolution(nn.Module):
    """Weight [O, k, k, k, I] (spconv's layout, taps in x y z order) and an optional bias [O]."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, kernel, kernel, kernel, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        # He et al. 2015 for ReLU. Only some of a kernel's taps meet a voxel: outdoors about 9 of
        # 3 x 3 x 3 and 2 of 2 x 2 x 2.
        fan_in = inputs * (9 if kernel == 3 else 2)
        # For a draw that leaves nothing on the meta device, torch would import 800 modules (2 s).
        if not self.weight.is_meta:
            nn.init.normal_(self.weight, std=math.sqrt(2 / fan_in))

    def extra_repr(self) -> str:
        outputs, kernel, *_, inputs = self.weight.shape
        return f"{inputs}, {outputs}, kernel={kernel}, bias={self.bias is not None}"


class SubmanifoldConv(SparseConvolution):
    """3 x 3 x 3 convolution onto the very voxels it reads (Graham et al., CVPR 2018)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, bias)

    def forward(
        self, x: Features, geometry: Geometry, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        """[V, I] at `level` -> [V, O] at `level`."""
        return geometry.submanifold(x, self, level, epilogue.with_bias(self.bias))


class StridedConv(SparseConvolution):
    """2 x 2 x 2 convolution with stride 2: onto every coarser voxel that holds a finer one."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 2, bias)

    def forward(
        self, x: Tensor, geometry: Geometry, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        """[V, I] at `level` -> [W, O] at `level + 1`."""
        return geometry.down(x, self, level, epilogue.with_bias(self.bias))


class InverseConv(SparseConvolution):
    """The inverse of `StridedConv`: onto the finer voxels that it read."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 2, bias)

    def forward(
        self, x: Tensor, geometry: Geometry, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        """[W, I] at `level + 1` -> [V, O] at `level`."""
        return geometry.up(x, self, level, epilogue.with_bias(self.bias))


class Linear(nn.Linear):
    """A linear layer with an epilogue, by compiled kernels on a CPU where they are loaded."""

    def forward(self, x: Features, epilogue: Epilogue = NO_EPILOGUE) -> Tensor:
        """[R, I] -> [R, O]."""
        return multiply(x, self.weight, epilogue.with_bias(self.bias))
