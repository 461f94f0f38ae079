"""Settings of `haskd suggest`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SuggestConfig(BaseModel):
    """How what a model leaves open is compared between sweeps, and told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    voxel_size: float = Field(0.4, ge=0.05, le=10, description="m, of the voxels of a sweep")
    looks: int = Field(
        256, ge=1, le=4096, description="cells of the network's features that count as one look"
    )
    place_size: float = Field(
        1.0, ge=0.1, le=100, description="m, of the cubes of the map that count as one place"
    )
    compared: int = Field(
        2000,
        ge=2,
        description="sweeps that are compared at once, 130 KB each; of more, each so many give "
        "their best ones, which are compared then",
    )
    regions: int = Field(5, ge=0, le=100, description="boxes that are told of each sweep")
    region_size: float = Field(10.0, ge=1, le=1000, description="m on the ground, of the largest")
    seed: int = Field(0, ge=0, description="of the cells of look")
