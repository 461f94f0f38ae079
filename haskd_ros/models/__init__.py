"""Segmentation networks by name: points [N, 4] in, class scores [N, C] out.

What training needs of each of them beside that is in `network.SegmentationNetwork`. Installed
packages may add others, see `packages`. A network's own module, and with it torch, is imported only
when one is built: to read what a model file says of its network takes neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from haskd_ros.errors import InputError
from haskd_ros.models import packages
from haskd_ros.models.architecture import Architecture
from haskd_ros.models.arguments import (
    PointTransformerArguments,
    RangeViewArguments,
    SparseUNetArguments,
)
from haskd_ros.text import quoted
from haskd_ros.validation import first_problem

if TYPE_CHECKING:
    from haskd_ros.models.network import SegmentationNetwork


def _sparse_unet(**arguments: Any) -> SegmentationNetwork:
    from haskd_ros.models.sparse_unet import SparseUNet

    return SparseUNet(**arguments)


def _point_transformer(**arguments: Any) -> SegmentationNetwork:
    from haskd_ros.models.point_transformer import PointTransformer

    return PointTransformer(**arguments)


def _range_view(**arguments: Any) -> SegmentationNetwork:
    from haskd_ros.models.range_view import RangeViewUNet

    return RangeViewUNet(**arguments)


ARCHITECTURES = {
    "sparse_unet": Architecture(_sparse_unet, SparseUNetArguments),
    "point_transformer": Architecture(_point_transformer, PointTransformerArguments),
    "range_view": Architecture(_range_view, RangeViewArguments),
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


def size_names() -> tuple[str, ...]:
    """What `of_size` takes; imports all packages that add networks.

    Raises:
        InputError: as of `packages.find`.
    """
    added = (packages.find(name, ARCHITECTURES, SIZES) for name in packages.names())
    return (*SIZES, *(size for one in added if one is not None for size in one.sizes))


def of_size(
    size: str,
    voxel_size: float,
    elevation: Sequence[float] | None = None,
    extra_inputs: int = 0,
) -> tuple[str, dict[str, Any]]:
    """Architecture and arguments (all but `classes`) of one of `SIZES`, or of a size that an
    installed package adds.

    Args:
        voxel_size: m; for networks that have voxels.
        elevation: lowest and highest angle in degrees, for networks that have a panorama; None:
            as the network has it.
        extra_inputs: values of a point beside place and intensity.

    Raises:
        InputError: no such size, one that reads no extra inputs, or as of `packages.find`.
    """
    if size in SIZES:
        arguments = dict(SIZES[size])
        architecture = arguments.pop("architecture")
    elif (added := packages.by_size(size, ARCHITECTURES, SIZES)) is not None:
        architecture, arguments = added[0], dict(added[1].sizes[size])
    else:
        raise InputError(
            f"no network of size {quoted(size)}; there are {', '.join(size_names())}, and those "
            f"that installed packages add (entry points of {packages.GROUP})"
        )
    names = {field.name for field in fields(architecture_of(architecture).arguments)}
    if "voxel_size" in names:
        arguments["voxel_size"] = voxel_size
    if "elevation" in names and elevation is not None:
        arguments["elevation"] = tuple(elevation)
    if "extra_inputs" in names:
        arguments["extra_inputs"] = extra_inputs
    elif extra_inputs:
        raise InputError(
            f"a network of size {size} reads place and intensity of a point and no channels; leave "
            "channels empty, or choose another size"
        )
    return architecture, arguments


def architecture_of(name: str) -> Architecture:
    """One of `ARCHITECTURES`, or one that an installed package adds.

    Raises:
        InputError: there is none of that name, or as of `packages.find`.
    """
    added = packages.find(name, ARCHITECTURES, SIZES)
    if added is not None:
        return added
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    there = ", ".join((*ARCHITECTURES, *packages.names()))
    raise InputError(
        f"unknown architecture {quoted(name)}; there are {there}. Another one has to come from a "
        f"package that is installed here and adds it (entry point of {packages.GROUP})"
    )


def check_arguments(architecture: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a network but `classes`, those that were left out included.

    Raises:
        InputError: as of `architecture_of`, or arguments that it does not take.
    """
    known = architecture_of(architecture)
    try:
        return asdict(known.arguments(**arguments))
    except ValidationError as error:
        raise InputError(f"architecture {architecture}: {first_problem(error)}") from error


def build(architecture: str, classes: int, **arguments: Any) -> SegmentationNetwork:
    """A network with fresh weights.

    Args:
        architecture: as of `architecture_of`.
        classes: number of classes.
        arguments: see `arguments`.

    Raises:
        InputError: as of `check_arguments`, or arguments that don't fit each other.
    """
    arguments = check_arguments(architecture, arguments)
    return architecture_of(architecture).network(classes=classes, **arguments)


__all__ = [
    "ARCHITECTURES",
    "SIZES",
    "Architecture",
    "architecture_of",
    "build",
    "check_arguments",
    "of_size",
    "size_names",
]
