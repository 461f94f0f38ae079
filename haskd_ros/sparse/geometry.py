"""The voxels of a batch at every resolution, and the convolutions between them: the engine's one
interface. `TorchGeometry` here and `SpconvGeometry` in `spconv_backend.py` both offer it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from haskd_ros.errors import InputError
from haskd_ros.sparse.convolution import Features, convolve
from haskd_ros.sparse.finish import NOTHING, Finish
from haskd_ros.sparse.kernel_map import Halving, KernelMap, halve, submanifold_map

BACKENDS = ("auto", "torch", "spconv")


class Geometry(Protocol):
    """What a layer needs of a backend. Level 0 is the finest; a level halves the one before.

    `layer` carries `weight` [O, k, k, k, I] in spconv's layout; `finish` is done to the result.
    Rows at level 0 are in the order of the keys; the order at coarser levels is the backend's.
    """

    def submanifold(
        self, x: Features, layer: nn.Module, level: int, finish: Finish = NOTHING
    ) -> Tensor:
        """3 x 3 x 3 convolution within a level: [V, I] -> [V, O]."""

    def down(self, x: Tensor, layer: nn.Module, level: int, finish: Finish = NOTHING) -> Tensor:
        """2 x 2 x 2 convolution with stride 2 from `level` to `level + 1`: [V, I] -> [W, O]."""

    def up(self, x: Tensor, layer: nn.Module, level: int, finish: Finish = NOTHING) -> Tensor:
        """The inverse, from `level + 1` back onto the voxels of `level`: [W, I] -> [V, O]."""


class TorchGeometry:
    """torch on any device, with compiled kernels for float32 on a CPU where there are any. Kernel
    maps are built at first use and shared by all layers.

    Args:
        keys: [V] int64 sorted unique voxel keys of level 0 (`voxels.group_by_key`).
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
            step: Halving = halve(self._keys[-1])
            self._keys.append(step.parents)
            self._steps.append((step.down(), step.up()))

    def _map(self, level: int) -> KernelMap:
        if level not in self._within:
            self._within[level] = submanifold_map(self.keys(level))
        return self._within[level]

    def submanifold(
        self, x: Features, layer: nn.Module, level: int, finish: Finish = NOTHING
    ) -> Tensor:
        pairs = self._map(level)
        return convolve(x, layer.weight, pairs, pairs, finish)

    def down(self, x: Tensor, layer: nn.Module, level: int, finish: Finish = NOTHING) -> Tensor:
        self._reach(level + 1)
        down, up = self._steps[level]
        return convolve(x, layer.weight, down, up, finish)

    def up(self, x: Tensor, layer: nn.Module, level: int, finish: Finish = NOTHING) -> Tensor:
        self._reach(level + 1)
        down, up = self._steps[level]
        return convolve(x, layer.weight, up, down, finish)


def make_geometry(keys: Tensor, backend: str = "auto") -> Geometry:
    """The geometry of a batch of voxels on a backend.

    Args:
        keys: [V] int64 sorted unique voxel keys.
        backend: `torch`, `spconv`, or `auto`: spconv on a CUDA device where it can be imported,
            else torch.

    Raises:
        InputError: an unknown backend, or spconv asked for where it can't be imported.
    """
    if backend not in BACKENDS:
        raise InputError(f"unknown sparse backend {backend!r}; allowed are {', '.join(BACKENDS)}")
    if backend == "torch" or (backend == "auto" and keys.device.type != "cuda"):
        return TorchGeometry(keys)
    # Imported here: a robot without an NVIDIA GPU has no spconv.
    from haskd_ros.sparse import spconv_backend

    if spconv_backend.available():
        return spconv_backend.SpconvGeometry(keys)
    if backend == "spconv":
        raise InputError(
            "backend spconv was asked for but can't be imported: "
            f"{spconv_backend.import_error()}; install spconv-cu120 (Python up to 3.11) or "
            "spconv-cu126, or use backend torch"
        )
    return TorchGeometry(keys)
