"""Segmentation networks by name: points [N, 4] in, class scores [N, C] out.

What training needs of each of them beside that is in `network.SegmentationNetwork`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from haskd_ros.errors import InputError
from haskd_ros.models.blocks import fold_batch_norm
from haskd_ros.models.network import SegmentationNetwork
from haskd_ros.models.range_view import RangeViewUNet
from haskd_ros.models.sparse_unet import SparseUNet

ARCHITECTURES: dict[str, Callable[..., SegmentationNetwork]] = {
    "sparse_unet": SparseUNet,
    "range_view": RangeViewUNet,
}

SIZES: dict[str, dict[str, Any]] = {
    "S": {"architecture": "sparse_unet", "channels": (16, 32, 48, 64)},
    "M": {"architecture": "sparse_unet", "channels": (32, 64, 128, 256)},
    "R": {"architecture": "range_view", "channels": (32, 48, 64, 96)},
}


def of_size(
    size: str, voxel_size: float, elevation: Sequence[float] | None = None
) -> tuple[str, dict[str, Any]]:
    """Architecture and arguments (all but `classes`) of one of `SIZES`.

    Args:
        voxel_size: m; for networks that have voxels.
        elevation: lowest and highest angle in degrees, for networks that have a panorama; None:
            as the network has it.
    """
    arguments = dict(SIZES[size])
    architecture = arguments.pop("architecture")
    if architecture == "sparse_unet":
        arguments["voxel_size"] = voxel_size
    elif elevation is not None:
        arguments["elevation"] = tuple(elevation)
    return architecture, arguments


def build(architecture: str, **arguments: Any) -> SegmentationNetwork:
    """A network with fresh weights.

    Args:
        architecture: a key of `ARCHITECTURES`.
        arguments: of its class; every one takes `classes`.

    Raises:
        InputError: no such architecture, or arguments it does not take.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"unknown architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}"
        )
    try:
        return ARCHITECTURES[architecture](**arguments)
    except TypeError as error:
        raise InputError(f"architecture {architecture}: {error}") from error


__all__ = [
    "ARCHITECTURES",
    "SIZES",
    "RangeViewUNet",
    "SegmentationNetwork",
    "SparseUNet",
    "build",
    "fold_batch_norm",
    "of_size",
]
