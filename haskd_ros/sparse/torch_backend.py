"""The engine's interface on torch and the compiled kernels."""

from __future__ import annotations

from torch import Tensor

from haskd_ros.sparse.convolution import Features, convolve
from haskd_ros.sparse.epilogue import NO_EPILOGUE, Epilogue
from haskd_ros.sparse.geometry import ConvolutionLayer
from haskd_ros.sparse.kernel_map import KernelMap, downsampling_map, submanifold_map


class TorchGeometry:
    """torch on any device, with compiled kernels for float32 on a CPU where they are loaded. Kernel
    maps are built at first use and shared by all layers.

    Args:
        keys: [V] int64 sorted unique voxel keys of level 0 (`group_by_key`).
    """

    def __init__(self, keys: Tensor) -> None:
        self._keys = [keys]
        self._within: dict[int, KernelMap] = {}
        self._steps: list[tuple[KernelMap, KernelMap]] = []

    def keys(self, level: int) -> Tensor:
        """[V] sorted keys of the voxels of a level."""
        self._reach(level)
        return self._keys[level]

    def _reach(self, level: int) -> None:
        while len(self._keys) <= level:
            step = downsampling_map(self._keys[-1])
            self._keys.append(step.parents)
            self._steps.append((step.down(), step.up()))

    def _map(self, level: int) -> KernelMap:
        if level not in self._within:
            self._within[level] = submanifold_map(self.keys(level))
        return self._within[level]

    def submanifold(
        self, x: Features, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        kernel_map = self._map(level)
        return convolve(x, layer.weight, kernel_map, kernel_map, epilogue)

    def down(
        self, x: Tensor, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        self._reach(level + 1)
        down, up = self._steps[level]
        return convolve(x, layer.weight, down, up, epilogue)

    def up(
        self, x: Tensor, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        self._reach(level + 1)
        down, up = self._steps[level]
        return convolve(x, layer.weight, up, down, epilogue)
