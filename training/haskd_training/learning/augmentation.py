"""Random augmentation of a sweep that keeps its labels valid: other streets, other mounts, other
sensors, as far as one sweep can show them. What two sweeps show together is in `mixing`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from haskd_ros.channels import SWEEP_AGE
from haskd_ros.model_header import ChannelInput, channel_columns
from haskd_training.data.corruptions import elevation_deg
from haskd_training.learning.mixing import MixingConfig, in_sector


class AugmentationConfig(BaseModel):
    """Ranges of the random changes; 0 switches one off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotation_deg: float = Field(180.0, ge=0, le=180, description="about the vertical, either way")
    flip: bool = Field(True, description="mirror left and right in half of the sweeps")
    scale: float = Field(0.05, ge=0, lt=1, description="relative size, either way")
    shift_m: float = Field(0.1, ge=0, description="standard deviation of a shift of the sweep")
    height_m: float = Field(0.0, ge=0, description="the sensor higher or lower by up to that")
    tilt_deg: float = Field(0.0, ge=0, le=45, description="the sensor tilted by up to that")
    drop: float = Field(
        0.5, ge=0, lt=1, description="largest share of the points that is dropped at random"
    )
    beams: float = Field(
        0.0, ge=0, le=1, description="share of the sweeps seen as by a sensor of fewer beams"
    )
    intensity: float = Field(0.1, ge=0, lt=1, description="relative change of all intensities")
    gain: float = Field(
        1.0,
        ge=1,
        le=100,
        description="largest factor that all intensities are multiplied or divided by, cut off at "
        "1: what a full return is differs tenfold between sensors",
    )
    contrast: float = Field(
        0.0, ge=0, lt=1, description="relative change of the exponent of all intensities"
    )
    no_intensity: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the sweeps with a sector without intensity: the mean stands in",
    )
    colour: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="relative change of all colours, and of red, green and blue",
    )
    no_channels: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the sweeps with a sector without channels: their means stand in",
    )
    mixing: MixingConfig = MixingConfig()


def augment(
    points: np.ndarray,
    config: AugmentationConfig,
    generator: np.random.Generator,
    mean_intensity: float = 0.0,
    channels: Sequence[ChannelInput] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """A changed copy of a sweep.

    Args:
        points: [N, 4 + E] float32 x y z in m in the sensor frame, intensity 0..1, channels.
        channels: which they are.
        mean_intensity: what stands in for intensities that were not measured.

    Returns:
        points [M, 4 + E] float32 of those that were not dropped, in their order, and which they
        are, kept [N] bool. The shift moves the ground relative to the voxel grid; dropping points
        varies the density, which of one sensor is always the same.
    """
    kept = generator.random(len(points)) >= generator.uniform(0, config.drop)
    angle = np.radians(generator.uniform(-config.rotation_deg, config.rotation_deg))
    size = generator.uniform(1 - config.scale, 1 + config.scale)
    mirrored = -1.0 if config.flip and generator.random() < 0.5 else 1.0
    shift = generator.normal(0.0, 1.0, 3) * config.shift_m
    brightness = generator.uniform(1 - config.intensity, 1 + config.intensity)
    if generator.random() < config.beams:
        seen = fewer_beams(points, generator)
        # A sensor of few beams has none to spare.
        if seen.sum() >= LEAST_OF_BEAMS * len(points):
            kept &= seen
    points = points[kept]
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    tilted = _tilt(np.radians(generator.uniform(-config.tilt_deg, config.tilt_deg, 2)))
    shift[2] += generator.uniform(-config.height_m, config.height_m)
    transform = size * tilted @ rotation @ np.diag([1.0, mirrored, 1.0])
    result = np.empty_like(points)
    result[:, :3] = points[:, :3] @ transform.T.astype(np.float32) + shift.astype(np.float32)
    exponent = (1 + config.contrast) ** generator.uniform(-1, 1)
    gain = config.gain ** generator.uniform(-1, 1)
    # What stands in for an intensity does so on a robot too, whatever the sensor's gain.
    measured = points[:, 3] != np.float32(mean_intensity)
    # The network cuts off what a sensor can't have meant, infinity among it.
    with np.errstate(over="ignore"):
        result[:, 3] = points[:, 3] * np.float32(brightness)
        if config.contrast:
            result[:, 3] = np.maximum(result[:, 3], 0) ** np.float32(exponent)
        if config.gain > 1:
            result[:, 3] = np.minimum(result[:, 3] * np.float32(gain), 1)
    result[~measured, 3] = mean_intensity
    if generator.random() < config.no_intensity:
        result[_some_sector(result, generator), 3] = mean_intensity
    _augment_channels(result, points, rotation @ np.diag([1.0, mirrored, 1.0]), config, generator,
                      channels)  # fmt: skip
    return result, kept


def _augment_channels(
    result: np.ndarray,
    points: np.ndarray,
    turn: np.ndarray,
    config: AugmentationConfig,
    generator: np.random.Generator,
    channels: Sequence[ChannelInput],
) -> None:
    """Change the columns of `result` that hold channels; `turn` [3, 3] turns directions as the
    points were turned."""
    for channel, columns in channel_columns(channels):
        values = points[:, columns]
        if channel.name == "normal":
            result[:, columns] = values @ turn.T.astype(np.float32)
        elif channel.name == "rgb":
            each = generator.uniform(1 - config.colour, 1 + config.colour, channel.width)
            all_of_them = generator.uniform(1 - config.colour, 1 + config.colour)
            result[:, columns] = np.clip(values * (each * all_of_them).astype(np.float32), 0, 1)
        else:
            result[:, columns] = values
        # Without their ages the points of several sweeps would be one smeared cloud.
        if channel.name != SWEEP_AGE and generator.random() < config.no_channels:
            result[_some_sector(result, generator), columns] = channel.mean


FEWEST_BEAMS_DEG = (0.6, 3.0)
"""Least and largest distance between the beams of a sensor that a sweep is thinned to."""

BEAM_DEG = 0.2
"""Wide enough for one beam of a dense sensor."""

LEAST_OF_BEAMS = 0.15
"""Share of the points that fewer beams must leave; otherwise a sweep stays as it is."""


def fewer_beams(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """[N] bool: which points a sensor with fewer beams would have seen too.

    Beams lie at equal distances, drawn from `FEWEST_BEAMS_DEG`, by elevation alone: no recording
    says which beam a point is of, and a simulated or another one has no beams to be found.
    """
    elevation = elevation_deg(points)
    apart = np.exp(generator.uniform(*np.log(FEWEST_BEAMS_DEG)))
    seen: np.ndarray = (elevation - generator.uniform(0, apart)) % apart < BEAM_DEG
    return seen


def _some_sector(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """[N] bool: the points of a sector of any width.

    Not always the whole turn: of sweeps wholly with intensity and wholly without, batch norm would
    average two kinds of statistics into those of neither (measured: 26.6 instead of 33.2 % mIoU).
    """
    start, width = generator.uniform(0, 2 * np.pi, 2)
    return in_sector(points, start, width)


def _tilt(angles: np.ndarray) -> np.ndarray:
    """[3, 3]: rotation by a roll and a pitch in radians."""
    (roll_cos, pitch_cos), (roll_sin, pitch_sin) = np.cos(angles), np.sin(angles)
    roll = np.array([[1, 0, 0], [0, roll_cos, -roll_sin], [0, roll_sin, roll_cos]])
    pitch = np.array([[pitch_cos, 0, pitch_sin], [0, 1, 0], [-pitch_sin, 0, pitch_cos]])
    tilt: np.ndarray = pitch @ roll
    return tilt
