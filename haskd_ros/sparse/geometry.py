"""The voxels of a batch at every resolution, and the convolutions between them: the engine's one
interface. `TorchGeometry` in `torch_backend.py`, `SpconvGeometry` in `spconv_backend.py` and
`TritonGeometry` in `triton_backend.py` offer it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from haskd_ros.sparse.convolution import Features
from haskd_ros.sparse.epilogue import NO_EPILOGUE, Epilogue


class ConvolutionLayer(Protocol):
    """What a backend needs of a layer: `weight` [O, k, k, k, I] in spconv's layout, and whether it
    is in training."""

    @property
    def weight(self) -> Tensor: ...

    @property
    def training(self) -> bool: ...


class Geometry(Protocol):
    """What a layer needs of a backend. Level 0 is the finest; a level has half the resolution of
    the one before.

    Rows at level 0 are in the order of the keys; the order at coarser levels is the backend's.
    """

    def submanifold(
        self, x: Features, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        """3 x 3 x 3 convolution within a level: [V, I] -> [V, O]."""

    def down(
        self, x: Tensor, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        """2 x 2 x 2 convolution with stride 2 from `level` to `level + 1`: [V, I] -> [W, O]."""

    def up(
        self, x: Tensor, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        """The inverse, from `level + 1` back onto the voxels of `level`: [W, I] -> [V, O]."""
