"""What can be chosen about a simulated walk through a flat."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FlatConfig(BaseModel):
    """A walk with an RGB-D camera through a procedural flat; the seed decides everything that is
    random."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(
        0, ge=0,
        description="decides the flat, its furniture, the walk and all noise; of several flats the "
        "first one's, each next one has the next",
    )  # fmt: skip
    frames: int = Field(300, ge=2, le=100_000, description="pairs of a colour and a depth image")
    rate_hz: float = Field(
        3.0, ge=0.5, le=60.0,
        description="of them per second; whatever their number, the walk leads through all rooms",
    )  # fmt: skip
    carrier: Literal["hand", "robot"] = Field(
        "hand",
        description="hand: at about 1.5 m, looks up and down; robot: fixed at 1.1 m, level",
    )
    pose_noise_m: float = Field(
        0.0, ge=0.0, le=1.0,
        description="standard deviation of the recorded positions about the true ones, m; it "
        "changes slowly, as a drift",
    )  # fmt: skip
    pose_noise_deg: float = Field(
        0.0, ge=0.0, le=10.0, description="the same of the recorded directions, degrees"
    )

    image_width: int = Field(640, ge=32, le=4096, description="px, of both images")
    image_height: int = Field(480, ge=32, le=4096, description="px")
    field_of_view_deg: float = Field(
        65.0, ge=20.0, le=120.0, description="horizontal, degrees, of both images"
    )
    min_range_m: float = Field(0.3, ge=0.0, le=5.0, description="nearest depth, m")
    max_range_m: float = Field(6.0, ge=0.5, le=20.0, description="farthest depth, m")
    depth_noise_m: float = Field(
        0.0015, ge=0.0, le=0.1,
        description="standard deviation of a depth of 1 m, m; it grows with the depth's square",
    )  # fmt: skip
    depth_drop_rate: float = Field(
        0.6, ge=0.0, le=1.0, description="share of the depths at edges that are missing"
    )
    image_noise: float = Field(
        2.5, ge=0.0, le=50.0, description="standard deviation of a colour's noise, grey levels"
    )

    storage: Literal["mcap", "sqlite3"] = Field("mcap", description="the bag's storage format")

    @model_validator(mode="after")
    def _range_is_one(self) -> FlatConfig:
        if self.min_range_m >= self.max_range_m:
            raise ValueError(
                f"min_range_m is {self.min_range_m:g}, max_range_m {self.max_range_m:g}: depths "
                "have to lie between them"
            )
        return self
