"""What the tests of the compiled kernels share."""

from __future__ import annotations

import sysconfig
from types import SimpleNamespace

import pytest
import torch
from hypothesis import strategies as st

from haskd_ros.native import load_kernels
from haskd_ros.native.build import KERNELS, all_flags
from haskd_ros.native.prebuilt import LEVELS, cpu_features
from haskd_ros.sparse import InverseConv, StridedConv, SubmanifoldConv, TorchGeometry, pack
from haskd_ros.sparse.kernel_map import downsampling_map

needs_kernels = pytest.mark.skipif(not load_kernels(), reason="no compiled kernels on this machine")

channels = st.integers(1, 40)
voxels = st.lists(st.tuples(*[st.integers(-4, 4)] * 3), max_size=60, unique=True)


def keys_of(coordinates) -> torch.Tensor:
    return pack(torch.tensor(coordinates, dtype=torch.int64).view(-1, 3)).sort().values


def street_like_keys(points: int) -> torch.Tensor:
    """Sheets rather than a filled cube: most voxels have 5 to 12 neighbours, as outdoors."""
    generator = torch.Generator().manual_seed(points)
    xy = torch.randint(-150, 150, (points, 2), generator=generator)
    height = (xy[:, :1] // 40 + xy[:, 1:] // 60).abs() % 5
    return pack(torch.cat([xy, height], 1).unique(dim=0)).sort().values


def random_operands(kind, keys, inputs: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and weight of a convolution of this kind; the same ones for as many rows."""
    rows = len(downsampling_map(keys).parents) if kind is InverseConv else len(keys)
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, inputs, generator=generator)
    return x, torch.randn(kind(inputs, outputs).weight.shape, generator=generator)


def convolve(kind, keys, x, weight):
    """The convolution of this kind of features x, or of two tensors of channels."""
    layer, geometry = SimpleNamespace(weight=weight), TorchGeometry(keys)
    if kind is SubmanifoldConv:
        return geometry.submanifold(x, layer, 0)
    return geometry.down(x, layer, 0) if kind is StridedConv else geometry.up(x, layer, 0)


def assert_equal_to_rounding(actual, expected, terms: float = 1e-3):
    """Equal but for float32's rounding.

    Args:
        terms: magnitude of what was added up: a sum that cancels out has the rounding of its terms.
    """
    for one, other in zip(actual, expected, strict=True):
        scale = float(other.detach().abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(
            one.double(), other.double(), rtol=0, atol=3e-6 * max(scale, terms)
        )


def instruction_sets() -> dict[str, tuple[str, ...]]:
    """Compiler flags of the package's libraries that this CPU can run."""
    levels, features = LEVELS.get(sysconfig.get_platform(), ()), cpu_features()
    return {
        level.name: all_flags(KERNELS, level.flags)
        for level in levels
        if level.features <= features
    }
