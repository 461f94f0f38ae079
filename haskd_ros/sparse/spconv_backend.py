"""The engine's interface on spconv (spconv-cu120, spconv-cu126), for NVIDIA GPUs.

spconv is imported at first use. On a CPU tensor it is only right with its Native algorithm, which
serves to compare the backends without a GPU. The CPU-only wheel named `spconv` is never to be used:
its scatter-add races between threads.
"""

from __future__ import annotations

import functools
import weakref
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor, nn

from haskd_ros.sparse.convolution import Features
from haskd_ros.sparse.epilogue import NO_EPILOGUE, Epilogue
from haskd_ros.sparse.geometry import ConvolutionLayer
from haskd_ros.sparse.keys import BIAS, unpack


@functools.cache
def _load() -> tuple[ModuleType | None, str]:
    try:
        import spconv.pytorch as module
    # Besides ImportError, spconv's CUDA libraries raise OSError or RuntimeError where the driver
    # does not fit: in every case torch does the work and the reason is kept for the log.
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    return module, ""


def import_error() -> str:
    """Why spconv could not be imported; empty where it could."""
    return _load()[1]


# spconv's module for each of our layers, holding the very same weight.
_modules: weakref.WeakKeyDictionary[ConvolutionLayer, nn.Module] = weakref.WeakKeyDictionary()

# A multiple of every stride of a U-Net, which has four or five levels.
_ALIGNMENT = 1 << 8


class SparseTensor(Protocol):
    """What is used of spconv's SparseConvTensor."""

    features: Tensor

    def replace_feature(self, feature: Tensor) -> SparseTensor: ...


class SpconvGeometry:
    """Voxels of a batch as spconv tensors; kernel maps are kept under one key a level.

    Args:
        keys: [V] int64 sorted unique voxel keys of level 0.
    """

    def __init__(self, keys: Tensor) -> None:
        spconv, reason = _load()
        if spconv is None:
            raise ImportError(reason)
        self._spconv = spconv
        coordinates = unpack(keys)
        origin = coordinates[:, 1:].amin(0) // _ALIGNMENT * _ALIGNMENT if len(keys) else BIAS
        coordinates[:, 1:] -= origin
        extent = (coordinates[:, 1:].amax(0) + 1).tolist() if len(keys) else [1, 1, 1]
        # Even sizes, so that halving loses no voxel at the border.
        shape = [-(-size // _ALIGNMENT) * _ALIGNMENT for size in extent]
        batch_size = int(coordinates[-1, 0]) + 1 if len(keys) else 1
        empty = torch.zeros(len(keys), 1, device=keys.device)
        self._levels: list[SparseTensor] = [
            spconv.SparseConvTensor(empty, coordinates, shape, batch_size)
        ]

    def _module(self, layer: ConvolutionLayer, kind: str, level: int) -> nn.Module:
        module = _modules.get(layer)
        if module is None:
            outputs, inputs = layer.weight.shape[0], layer.weight.shape[-1]
            on_cpu = layer.weight.device.type == "cpu"
            algo = self._spconv.ConvAlgo.Native if on_cpu else None
            if kind == "submanifold":
                module = self._spconv.SubMConv3d(
                    inputs,
                    outputs,
                    3,
                    padding=1,
                    bias=False,
                    indice_key=f"within{level}",
                    algo=algo,
                )
            elif kind == "down":
                module = self._spconv.SparseConv3d(
                    inputs, outputs, 2, stride=2, bias=False, indice_key=f"step{level}", algo=algo
                )
            else:
                module = self._spconv.SparseInverseConv3d(
                    inputs, outputs, 2, indice_key=f"step{level}", bias=False, algo=algo
                )
            module.weight = layer.weight
            _modules[layer] = module
        module.train(layer.training)
        return module

    def _run(
        self, x: Tensor, layer: ConvolutionLayer, kind: str, level: int, input_level: int
    ) -> SparseTensor:
        tensor = self._levels[input_level].replace_feature(x)
        result: SparseTensor = self._module(layer, kind, level)(tensor)
        return result

    def submanifold(
        self, x: Features, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        if isinstance(x, tuple):
            x = torch.cat(x, 1)
        return epilogue(self._run(x, layer, "submanifold", level, level).features)

    def down(
        self, x: Tensor, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        result = self._run(x, layer, "down", level, level)
        if len(self._levels) == level + 1:
            self._levels.append(result)
        return epilogue(result.features)

    def up(
        self, x: Tensor, layer: ConvolutionLayer, level: int, epilogue: Epilogue = NO_EPILOGUE
    ) -> Tensor:
        return epilogue(self._run(x, layer, "up", level, level + 1).features)
