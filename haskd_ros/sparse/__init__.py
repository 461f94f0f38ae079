"""Sparse 3D convolution: one small interface, a plain torch backend and spconv behind it."""

from haskd_ros.sparse.geometry import BACKENDS, Geometry, TorchGeometry, make_geometry
from haskd_ros.sparse.layers import InverseConv, StridedConv, SubmanifoldConv
from haskd_ros.sparse.voxels import Grouping, group_by_key, pack, pool, spread

__all__ = [
    "BACKENDS",
    "Geometry",
    "Grouping",
    "InverseConv",
    "StridedConv",
    "SubmanifoldConv",
    "TorchGeometry",
    "group_by_key",
    "make_geometry",
    "pack",
    "pool",
    "spread",
]
