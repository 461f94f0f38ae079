"""Sparse 3D convolution: one small interface, a plain torch backend and spconv behind it."""

from haskd_ros.sparse.geometry import BACKENDS, Geometry, TorchGeometry, make_geometry
from haskd_ros.sparse.layers import InverseConv, Linear, StridedConv, SubmanifoldConv
from haskd_ros.sparse.norm import norm_rows
from haskd_ros.sparse.voxels import Grouping, group_by_key, pack, pool, spread

__all__ = [
    "BACKENDS",
    "Geometry",
    "Grouping",
    "InverseConv",
    "Linear",
    "StridedConv",
    "SubmanifoldConv",
    "TorchGeometry",
    "group_by_key",
    "make_geometry",
    "norm_rows",
    "pack",
    "pool",
    "spread",
]
