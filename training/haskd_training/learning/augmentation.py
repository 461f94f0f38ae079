"""Random augmentation of a sweep that keeps its labels valid."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class AugmentationConfig(BaseModel):
    """Ranges of the random changes; 0 switches one off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotation_deg: float = Field(180.0, ge=0, le=180, description="about the vertical, either way")
    flip: bool = Field(True, description="mirror left and right in half of the sweeps")
    scale: float = Field(0.05, ge=0, lt=1, description="relative size, either way")
    shift_m: float = Field(0.1, ge=0, description="standard deviation of a shift of the sweep")
    drop: float = Field(
        0.5, ge=0, lt=1, description="largest share of the points that is dropped at random"
    )
    intensity: float = Field(0.1, ge=0, lt=1, description="relative change of all intensities")


def augment(
    points: np.ndarray, config: AugmentationConfig, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A changed copy of a sweep.

    Args:
        points: [N, 4] float32 x y z in m in the sensor frame, intensity 0..1.

    Returns:
        points [M, 4] float32 of those that were not dropped, in their order, and which they are,
        kept [N] bool. The shift moves the ground relative to the voxel grid; dropping points varies
        the density, which of one sensor is always the same.
    """
    kept = generator.random(len(points)) >= generator.uniform(0, config.drop)
    points = points[kept]
    angle = np.radians(generator.uniform(-config.rotation_deg, config.rotation_deg))
    size = generator.uniform(1 - config.scale, 1 + config.scale)
    mirrored = -1.0 if config.flip and generator.random() < 0.5 else 1.0
    shift = generator.normal(0.0, 1.0, 3) * config.shift_m
    brightness = generator.uniform(1 - config.intensity, 1 + config.intensity)
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    transform = size * rotation @ np.diag([1.0, mirrored, 1.0])
    result = np.empty_like(points)
    result[:, :3] = points[:, :3] @ transform.T.astype(np.float32) + shift.astype(np.float32)
    # The network cuts off what a sensor can't have meant, infinity among it.
    with np.errstate(over="ignore"):
        result[:, 3] = points[:, 3] * np.float32(brightness)
    return result, kept
