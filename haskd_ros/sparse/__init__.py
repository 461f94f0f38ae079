"""Sparse 3D convolution: one small interface; plain torch, spconv or a Triton kernel behind it."""

from haskd_ros.sparse.backends import BACKENDS, chosen_backend, make_geometry
from haskd_ros.sparse.convolution import Features
from haskd_ros.sparse.epilogue import Epilogue
from haskd_ros.sparse.geometry import Geometry
from haskd_ros.sparse.grouping import Grouping, group_by_key, pool, unpool
from haskd_ros.sparse.keys import pack, voxel_keys
from haskd_ros.sparse.layers import (
    InverseConv,
    Linear,
    SparseConvolution,
    StridedConv,
    SubmanifoldConv,
)
from haskd_ros.sparse.norm import norm_rows
from haskd_ros.sparse.torch_backend import TorchGeometry

__all__ = [
    "BACKENDS",
    "Epilogue",
    "Features",
    "Geometry",
    "Grouping",
    "InverseConv",
    "Linear",
    "SparseConvolution",
    "StridedConv",
    "SubmanifoldConv",
    "TorchGeometry",
    "chosen_backend",
    "group_by_key",
    "make_geometry",
    "norm_rows",
    "pack",
    "pool",
    "unpool",
    "voxel_keys",
]
