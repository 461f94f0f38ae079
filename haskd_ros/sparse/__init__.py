"""Sparse 3D convolution: one small interface, a plain torch backend and spconv behind it."""

from haskd_ros.sparse.convolution import Features
from haskd_ros.sparse.finish import Finish
from haskd_ros.sparse.geometry import BACKENDS, Geometry, TorchGeometry, make_geometry
from haskd_ros.sparse.layers import Finishing, InverseConv, Linear, StridedConv, SubmanifoldConv
from haskd_ros.sparse.norm import norm_rows
from haskd_ros.sparse.voxels import Grouping, group_by_key, locate, pack, pool, spread

__all__ = [
    "BACKENDS",
    "Features",
    "Finish",
    "Finishing",
    "Geometry",
    "Grouping",
    "InverseConv",
    "Linear",
    "StridedConv",
    "SubmanifoldConv",
    "TorchGeometry",
    "group_by_key",
    "locate",
    "make_geometry",
    "norm_rows",
    "pack",
    "pool",
    "spread",
]
