"""Candidate images of a sweep by time and pose, and why others are rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from haskd_training.data.caches.cache import Cache
from haskd_training.images.visibility import VisibilityConfig

Strategy = Literal["iof", "coverage_entropy", "coverage", "nearest", "stride", "random", "all"]

Reason = Literal[
    "chosen",
    "no pose",
    "dt too large",
    "near-duplicate",
    "too few points seen",
    "gain too small",
    "enough covered",
    "K reached",
]

FURTHER_WINDOWS = 4
"""For a camera without an image in the window, images up to this many windows away are reported."""


class SelectionConfig(BaseModel):
    """Which images are candidates, and how some of them are chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Strategy = Field(
        "iof",
        description="iof; coverage_entropy: as iof, but a view counts 0 or 1; coverage: each voxel "
        "counts alike as well; to compare with, unfiltered: nearest in time, stride (uniform in "
        "time), random, all in the window",
    )
    images: int = Field(
        6, ge=1, description="K, largest number of images per sweep (strategy all: no limit)"
    )
    window_s: float = Field(
        0.5, gt=0, le=60, description="largest time between a sweep and a candidate"
    )
    min_move_m: float = Field(0.3, ge=0, description="a near-duplicate moved less than this")
    min_turn_deg: float = Field(5.0, ge=0, le=180, description="and turned less than this")
    min_visible_share: float = Field(
        0.02, ge=0, le=1, description="share of the points that an image has to show"
    )
    min_gain: float = Field(
        0.01, ge=0, le=1, description="share of the total weight that an image has to add"
    )
    target_coverage: float = Field(
        0.95, gt=0, le=1, description="share of what all candidates show at which to stop"
    )
    voxel_size: float = Field(0.3, ge=0.05, le=10, description="m, of the voxels to be shown")
    seed: int = Field(0, ge=0, description="of strategy random")
    visibility: VisibilityConfig = VisibilityConfig()


@dataclass(frozen=True)
class CandidateImage:
    """A candidate image of a sweep, and whether it was chosen.

    Attributes:
        image: its index in `cache.images`.
        dt_s: from the middle of the sweep to the image.
        reason: "chosen", or why not.
        rank: of a chosen one, from 1.
        gain: what a chosen one added, or what another would still have added at the end, as a share
            of the objective's total weight.
        seen: share of the sweep's points within the model's range that it shows.
        covered: share of them that it shows together with those of better rank.
        duplicate_of: the better image that a near-duplicate resembles.
    """

    image: int
    dt_s: float
    reason: Reason
    rank: int | None = None
    gain: float | None = None
    seen: float | None = None
    covered: float | None = None
    duplicate_of: int | None = None


def time_differences(cache: Cache, sweep: int, window_s: float) -> dict[int, float]:
    """s from the middle of a sweep to the images of its recording around it, nearest first.

    The middle is the median of the times at which the points were measured: a stamp may stand for
    the end of the turn, and would make the camera that was passed last seem nearest.
    """
    times = cache.sweep(sweep).time
    middle = float(np.median(times)) if len(times) else 0.0
    stamp_ns = cache.sweeps[sweep].stamp_ns
    images = cache.images_near(sweep, window_s)
    dt = {image: (cache.images[image].stamp_ns - stamp_ns) / 1e9 - middle for image in images}
    # The result must not depend on the order of the images in the cache.
    order = sorted(
        images, key=lambda image: (abs(dt[image]), dt[image], cache.images[image].camera)
    )
    return {image: dt[image] for image in order}


def usable_images(
    cache: Cache, sweep: int, config: SelectionConfig
) -> tuple[dict[int, float], list[CandidateImage]]:
    """The images that can be used, and those that can't.

    Returns:
        usable: s from the middle of the sweep by image, nearest first.
        rejected: those without a pose, and the nearest image of each camera that has none in the
            window.
    """
    usable: dict[int, float] = {}
    rejected = []
    cameras = set()
    sweep_has_pose = cache.sweeps[sweep].T_world_lidar is not None
    for image, dt in time_differences(cache, sweep, FURTHER_WINDOWS * config.window_s).items():
        row = cache.images[image]
        if abs(dt) > config.window_s:
            if row.camera not in cameras:
                rejected.append(CandidateImage(image, dt, "dt too large"))
        # Without poses the vehicle's motion is unknown; an image of that very moment needs none.
        elif abs(dt) > config.visibility.movable_dt_s and not (
            sweep_has_pose and row.T_world_camera
        ):
            rejected.append(CandidateImage(image, dt, "no pose"))
        else:
            usable[image] = dt
        cameras.add(row.camera)
    return usable, rejected


def near_duplicates(
    cache: Cache, images: Sequence[int], min_move_m: float, min_turn_deg: float
) -> dict[int, int]:
    """By image the better image of the same camera from nearly the same pose.

    Args:
        images: better ones first; those without a pose are no duplicates.
    """
    distinct: dict[str, list[int]] = {}
    duplicates = {}
    for image in images:
        row = cache.images[image]
        if row.T_world_camera is None:
            continue
        others = distinct.setdefault(row.camera, [])
        poses = np.array([cache.images[other].T_world_camera for other in others]).reshape(-1, 4, 4)
        moved, turned = _pose_difference(np.array(row.T_world_camera), poses)
        alike = np.flatnonzero((moved < min_move_m) & (turned < min_turn_deg))
        if len(alike):
            duplicates[image] = others[alike[0]]
        else:
            others.append(image)
    return duplicates


def _pose_difference(pose: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance [n] in m and angle [n] in degrees from a pose [4, 4] to others [n, 4, 4]."""
    moved = np.linalg.norm(others[:, :3, 3] - pose[:3, 3], axis=1)
    # trace(R_a^T R_b) = 1 + 2 cos(angle)
    cosine = (np.einsum("ij,nij->n", pose[:3, :3], others[:, :3, :3]) - 1) / 2
    return moved, np.degrees(np.arccos(np.clip(cosine, -1, 1)))
