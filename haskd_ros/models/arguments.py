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

VOXEL_SIZE_M = 0.01, 10.0
PIXELS = 1 << 20
"""Most pixels of a range image."""

Channels = Annotated[
    tuple[Annotated[int, Field(strict=True, ge=1, le=CHANNELS)], ...],
    Field(min_length=1, max_length=LEVELS),
]
ExtraInputs = Annotated[int, Field(strict=True, ge=0, le=EXTRA_INPUTS)]
Pixels = Annotated[int, Field(strict=True, ge=1, le=PIXELS)]
Angle = Annotated[float, Field(strict=True, ge=-90, le=90)]


@dataclass(frozen=True, config=STRICT)
class SparseUNetArguments:
    """Of `SparseUNet`, all but its classes.

    Attributes:
        voxel_size: edge of a voxel in m.
        channels: width of each level, finest first.
        extra_inputs: values of a point beside place and intensity.
    """

    voxel_size: Annotated[float, Field(strict=True, ge=VOXEL_SIZE_M[0], le=VOXEL_SIZE_M[1])]
    channels: Channels
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
