"""What can be chosen about a simulated drive."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LidarName = Literal["beams_16", "beams_32", "beams_64", "pandar64", "beams_128"]
CameraName = Literal["front", "front_left", "front_right", "left", "right", "back"]


class SimulationConfig(BaseModel):
    """A simulated drive through a procedural town; the seed decides everything that is random."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, description="decides the town, its traffic and all noise")
    duration_s: float = Field(60.0, gt=0.0, le=900.0, description="length of the drive, s")

    lidar: LidarName = Field("beams_32", description="the LiDAR whose beams are simulated")
    lidar_height_m: float = Field(
        1.9, ge=0.3, le=4.0, description="height of the LiDAR above the ground, m"
    )
    lidar_rate_hz: float = Field(10.0, ge=1.0, le=20.0, description="turns per second")
    lidar_every: int = Field(
        1, ge=1, description="of so many turns one is recorded: more streets in fewer sweeps"
    )
    azimuth_steps: int = Field(
        1800, ge=36, le=4096, description="firings of every beam in one turn"
    )
    range_noise_m: float = Field(
        0.02, ge=0.0, le=0.5, description="standard deviation of a measured range, m"
    )
    drop_rate: float = Field(
        0.02, ge=0.0, lt=1.0,
        description="share of returns lost at random, besides those too weak to be seen",
    )  # fmt: skip

    cameras: tuple[CameraName, ...] = Field(
        ("front_left", "front_right"), min_length=1, description="the cameras, by their direction"
    )
    image_width: int = Field(640, ge=32, le=4096, description="px")
    image_height: int = Field(360, ge=32, le=4096, description="px")
    camera_rate_hz: float = Field(10.0, ge=0.5, le=60.0, description="images per second")
    camera_phase_s: float = Field(
        0.037, ge=0.0, description="time of the first image after the start of the drive, s"
    )
    image_noise: float = Field(
        2.0, ge=0.0, le=50.0, description="standard deviation of a pixel's noise, grey levels"
    )

    storage: Literal["mcap", "sqlite3"] = Field("mcap", description="the bag's storage format")
