"""What the networks are made with, as a model file has it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from haskd_ros.errors import InputError
from haskd_ros.validation import STRICT

LEVELS = 8
CHANNELS = 4096
"""Most channels of a level."""

EXTRA_INPUTS = 64
"""Most values of a point beside place and intensity."""

BLOCKS = 32
"""Most residual blocks of a level."""

PATCH = 1024
"""Most voxels of a patch: attention takes memory by it."""

VOXEL_SIZE_M = 0.01, 10.0
PIXELS = 1 << 20
"""Most pixels of a range image."""

Channels = Annotated[
    tuple[Annotated[int, Field(strict=True, ge=1, le=CHANNELS)], ...],
    Field(min_length=1, max_length=LEVELS),
]
ExtraInputs = Annotated[int, Field(strict=True, ge=0, le=EXTRA_INPUTS)]
Blocks = Annotated[int, Field(strict=True, le=BLOCKS)]
Pixels = Annotated[int, Field(strict=True, ge=1, le=PIXELS)]
Angle = Annotated[float, Field(strict=True, ge=-90, le=90)]


VoxelSize = Annotated[float, Field(strict=True, ge=VOXEL_SIZE_M[0], le=VOXEL_SIZE_M[1])]


@dataclass(frozen=True, config=STRICT)
class SparseUNetArguments:
    """Of `SparseUNet`, all but its classes.

    Attributes:
        voxel_size: edge of a voxel in m.
        channels: width of each level, finest first.
        blocks: residual blocks of each level of the encoder; None: one each.
        decoder_blocks: residual blocks of each level of the decoder, which has one level less,
            finest first; None: none.
        extra_inputs: values of a point beside place and intensity.
    """

    voxel_size: VoxelSize
    channels: Channels
    blocks: tuple[Annotated[Blocks, Field(ge=1)], ...] | None = None
    decoder_blocks: tuple[Annotated[Blocks, Field(ge=0)], ...] | None = None
    extra_inputs: ExtraInputs = 0

    def __post_init__(self) -> None:
        levels = len(self.channels)
        for name, blocks, wanted in (
            ("blocks", self.blocks, levels),
            ("decoder_blocks", self.decoder_blocks, levels - 1),
        ):
            if blocks is not None and len(blocks) != wanted:
                raise InputError(f"{name} has {len(blocks)} numbers, {levels} levels want {wanted}")


@dataclass(frozen=True, config=STRICT)
class PointTransformerArguments:
    """Of `PointTransformer`, all but its classes.

    Attributes:
        voxel_size: edge of a voxel in m.
        channels: width of each level, finest first.
        patch: most voxels that attend to each other.
        extra_inputs: values of a point beside place and intensity.
    """

    voxel_size: VoxelSize
    channels: Channels
    patch: Annotated[int, Field(strict=True, ge=2, le=PATCH)] = 128
    extra_inputs: ExtraInputs = 0


@dataclass(frozen=True, config=STRICT)
class RangeViewArguments:
    """Of `RangeViewUNet`, all but its classes.

    Attributes:
        channels: width of each level, finest first.
        rows, columns: size of the range image.
        elevation: lowest and highest angle in degrees above the horizontal.
        extra_inputs: values of a point beside place and intensity.
    """

    channels: Channels
    rows: Pixels = 64
    columns: Pixels = 1024
    elevation: tuple[Angle, Angle] = (-25.0, 15.0)
    extra_inputs: ExtraInputs = 0

    def __post_init__(self) -> None:
        if self.rows * self.columns > PIXELS:
            raise InputError(
                f"a range image of {self.rows} x {self.columns}; allowed are {PIXELS:,} pixels"
            )
