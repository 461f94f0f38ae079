"""Segmentation networks by name: points [N, 4] in, class scores [N, C] out.

What training needs of each of them beside that is in `network.SegmentationNetwork`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from pydantic import ValidationError

from haskd_ros.errors import InputError
from haskd_ros.models.arguments import (
    PointTransformerArguments,
    RangeViewArguments,
    SparseUNetArguments,
)
from haskd_ros.models.blocks import fold_batch_norm
from haskd_ros.models.network import SegmentationNetwork
from haskd_ros.models.point_transformer import PointTransformer
from haskd_ros.models.range_view import RangeViewUNet
from haskd_ros.models.sparse_unet import SparseUNet
from haskd_ros.text import quoted
from haskd_ros.validation import first_problem


class Architecture(NamedTuple):
    """A network's class, and what its instances are made with beside `classes`."""

    network: Callable[..., SegmentationNetwork]
    arguments: type[SparseUNetArguments | RangeViewArguments | PointTransformerArguments]


ARCHITECTURES = {
    "sparse_unet": Architecture(SparseUNet, SparseUNetArguments),
    "point_transformer": Architecture(PointTransformer, PointTransformerArguments),
    "range_view": Architecture(RangeViewUNet, RangeViewArguments),
}

SIZES: dict[str, dict[str, Any]] = {
    "S": {"architecture": "sparse_unet", "channels": (16, 32, 48, 64)},
    "M": {"architecture": "sparse_unet", "channels": (32, 64, 128, 256)},
    # Widths and blocks of the encoder of MinkUNet34 (Choy et al., CVPR 2019); the decoder, most of
    # whose voxels are small, is narrower.
    "L": {
        "architecture": "sparse_unet",
        "channels": (32, 32, 64, 128, 256),
        "blocks": (1, 2, 3, 4, 6),
        "decoder_blocks": (1, 1, 1, 1),
    },
    "P": {"architecture": "point_transformer", "channels": (16, 32, 64, 128)},
    "R": {"architecture": "range_view", "channels": (32, 48, 64, 96)},
}


def of_size(
    size: str,
    voxel_size: float,
    elevation: Sequence[float] | None = None,
    extra_inputs: int = 0,
) -> tuple[str, dict[str, Any]]:
    """Architecture and arguments (all but `classes`) of one of `SIZES`.

    Args:
        voxel_size: m; for networks that have voxels.
        elevation: lowest and highest angle in degrees, for networks that have a panorama; None:
            as the network has it.
        extra_inputs: values of a point beside place and intensity.
    """
    arguments = {**SIZES[size], "extra_inputs": extra_inputs}
    architecture = arguments.pop("architecture")
    if architecture in ("sparse_unet", "point_transformer"):
        arguments["voxel_size"] = voxel_size
    elif elevation is not None:
        arguments["elevation"] = tuple(elevation)
    return architecture, arguments


def check_arguments(architecture: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a network but `classes`, those that were left out included.

    Raises:
        InputError: no such architecture, or arguments that it does not take.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"unknown architecture {quoted(architecture)}; there are {', '.join(ARCHITECTURES)}"
        )
    try:
        return asdict(ARCHITECTURES[architecture].arguments(**arguments))
    except ValidationError as error:
        raise InputError(f"architecture {architecture}: {first_problem(error)}") from error


def build(architecture: str, classes: int, **arguments: Any) -> SegmentationNetwork:
    """A network with fresh weights.

    Args:
        architecture: a key of `ARCHITECTURES`.
        classes: number of classes.
        arguments: see `arguments`.

    Raises:
        InputError: as of `check_arguments`, or arguments that don't fit each other.
    """
    arguments = check_arguments(architecture, arguments)
    return ARCHITECTURES[architecture].network(classes=classes, **arguments)


__all__ = [
    "ARCHITECTURES",
    "SIZES",
    "PointTransformer",
    "RangeViewUNet",
    "SegmentationNetwork",
    "SparseUNet",
    "build",
    "check_arguments",
    "fold_batch_norm",
    "of_size",
]
