"""Which points of a sweep an image shows, on which pixels, and how well."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from haskd_training.data.caches.cache import Cache
from haskd_training.data.projection import MIN_DEPTH, Projection, project
from haskd_training.recordings.camera_model import CameraModel


class VisibilityConfig(BaseModel):
    """When a point counts as visible, and the quality of its view."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    border_px: float = Field(5.0, ge=0, description="pixels nearer to the image's edge don't count")
    min_tolerance_m: float = Field(
        0.2, ge=0, description="a point this far behind the nearest surface is still on it"
    )
    tolerance: float = Field(0.05, ge=0, lt=1, description="the same as a share of the depth")
    cell_deg: float = Field(
        0.12, gt=0, le=5, description="edge of a cell of the z-buffer; at least one pixel"
    )
    gap_deg: tuple[float, float] = Field(
        (0.6, 1.5),
        description="width and height of the holes between returns that nothing is seen through",
    )
    near_m: float = Field(20.0, gt=0, description="from here on a view loses with distance")
    static_s: float = Field(1.0, gt=0, description="a view fades with exp(-|dt| / static_s)")
    movable_s: float = Field(0.1, gt=0, description="the same for points on movable classes")
    movable_dt_s: float = Field(
        0.05, ge=0, description="movable points are not seen at all at a larger |dt|"
    )


@dataclass(frozen=True)
class View:
    """What one image shows of P points.

    Attributes:
        image: its index in `cache.images`.
        pixels: [P, 2] float32, u to the right and v down; NaN outside the field of view.
        quality: [P] float32, 0..1, of the view of the point; 0 where it is not visible.
    """

    image: int
    pixels: np.ndarray
    quality: np.ndarray


def views(
    cache: Cache,
    sweep: int,
    *,
    points: np.ndarray,
    images: Sequence[int],
    movable: np.ndarray,
    config: VisibilityConfig,
    image_quality: Callable[[int], float],
    times: np.ndarray | None = None,
    occluders: np.ndarray | None = None,
) -> list[View]:
    """The views that images have of points.

    `q_f(v) = visible * image quality * min(1, near_m / distance) * exp(-|dt| / scale)`, this
    project's own reading of the abstract of arXiv 2606.25278. Only what the sweep itself measured
    can hide a point: an object that entered the image at another time is unknown, which is one
    reason for the quality to fall with |dt|.

    Args:
        cache, sweep: the sweep whose frame and stamp the points have.
        points: [P, >= 3], x y z in m in the sensor frame first.
        images: indices in `cache.images`.
        movable: [P] bool, whether a point lies on a thing that may move.
        image_quality: of an image by its index, 0..1; see `image_qualities`.
        times: [P] s relative to the sweep's stamp, when each point was measured (`Sweep.time`): a
            spinning sensor passes a camera's field of view up to a turn before the stamp, and the
            image of that moment is the one that shows moving things where they were measured.
            None: all at the stamp.
        occluders: [M, >= 3], points that may hide others from a camera: the full cloud, where
            `points` are only a part of it. None: `points`.

    Returns:
        One view an image, in the order of `images`.
    """
    count = len(points)
    # One projection of both: its fixed cost exceeds that of the points.
    columns = _columns(
        points if occluders is None else np.vstack([points[:, :3], occluders[:, :3]])
    )
    measured = np.zeros(count) if times is None else times
    result = []
    for image in images:
        row = cache.images[image]
        camera, t_camera_lidar = row.camera_model, cache.t_camera_lidar(image, sweep)
        projected, indices = _project_within(
            _field_of_view(camera), columns, t_camera_lidar, camera
        )
        own = np.searchsorted(indices, count)
        seen, indices = _part(projected, slice(own)), indices[:own]
        surface = seen if occluders is None else _part(projected, slice(own, None))
        visible = _within_border(seen, camera, config.border_px)
        visible &= ~_hidden(seen, surface, camera, config)
        pixels = np.full((count, 2), np.nan, np.float32)
        pixels[indices] = seen.pixels

        shown = indices[visible]
        camera_centre = -t_camera_lidar[:3, :3].T @ t_camera_lidar[:3, 3]
        distance = np.linalg.norm(columns[:, shown].T - camera_centre, axis=1)
        dt = (row.stamp_ns - cache.sweeps[sweep].stamp_ns) / 1e9 - measured[shown]
        quality = np.zeros(count, np.float32)
        quality[shown] = (
            image_quality(image)
            * np.minimum(1.0, config.near_m / np.maximum(distance, MIN_DEPTH))
            * _time_factor(dt, movable[shown], config)
        )
        result.append(View(image, pixels, quality))
    return result


def image_qualities(cache: Cache) -> Callable[[int], float]:
    """`image_quality` of a cache's images by index, each computed once."""
    return functools.cache(lambda image: image_quality(cache.image(image)))


BLUR_PX = 9
BLURRED, SHARP = 0.25, 0.75
"""Sharpness that counts as 0 and as 1. Street images have about 0.8, with 15 px of motion blur 0.4,
and 0.3 after a Gaussian blur of 3 px."""
MIN_VARIATION = 0.01
"""Share of the other direction's variation from which on a direction tells about sharpness."""
DARK, BRIGHT = 8, 247
"""Grey values below and above which a pixel shows only that it is too dark or too bright."""


def image_quality(image: np.ndarray) -> float:
    """Sharpness and exposure in one number, 0..1, whatever the image shows.

    Sharpness: the share of the grey values' variation that a blur takes away, after Crete et al.,
    "The blur effect" (SPIE 2007): an image that is blurred already loses little. Of the two
    directions the blurrier one counts. Exposure: the share of the pixels that are neither too dark
    nor too bright to show anything.

    Args:
        image: [H, W, 3] uint8.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    varied, lost = np.zeros(2), np.zeros(2)
    for axis, kernel in ((0, (1, BLUR_PX)), (1, (BLUR_PX, 1))):
        variation = _variation(grey, axis)
        varied[axis] = variation.sum()
        lost[axis] = np.maximum(variation - _variation(cv2.blur(grey, kernel), axis), 0).sum()
    if not varied.any():
        return 0.0
    # A direction of almost no variation says nothing about sharpness.
    informative = varied > MIN_VARIATION * varied.max()
    sharpness = (lost[informative] / varied[informative]).min()
    exposure = np.mean((grey >= DARK) & (grey <= BRIGHT))
    return float(np.clip((sharpness - BLURRED) / (SHARP - BLURRED), 0, 1) * exposure)


def _variation(grey: np.ndarray, axis: int) -> np.ndarray:
    return np.abs(np.diff(grey.astype(np.int16), axis=axis))


def _columns(points: np.ndarray) -> np.ndarray:
    """[N, >= 3] -> [3, N] float32: coordinates side by side in memory are quickest to transform."""
    return np.ascontiguousarray(points[:, :3].T, np.float32)


def _project_within(
    limits: np.ndarray, columns: np.ndarray, t_camera_lidar: np.ndarray, camera: CameraModel
) -> tuple[Projection, np.ndarray]:
    """Projection of those of the points [3, N] that lie within the limits of `_field_of_view`, and
    their indices [n]. Each image shows a small part of a cloud: the exact projection of all of it
    would take most of the time."""
    T = t_camera_lidar.astype(np.float32)
    x, y, z = T[:3, :3] @ columns + T[:3, 3:]
    left, right, top, bottom = limits
    maybe = (z > MIN_DEPTH) & (x > left * z) & (x < right * z) & (y > top * z) & (y < bottom * z)
    indices = np.flatnonzero(maybe)
    return project(columns[:, indices].T, t_camera_lidar, camera), indices


NO_LIMIT = 1e6
"""x/z of a ray at a right angle to the axis, or nearly."""


def _field_of_view(camera: CameraModel) -> np.ndarray:
    """[4] float32: least and greatest x/z, least and greatest y/z of what the image shows, and a
    little more."""
    return _limits(
        tuple(camera.K.ravel().tolist()),
        camera.distortion_model,
        tuple(camera.D.tolist()),
        (camera.width, camera.height),
    )


@functools.lru_cache(maxsize=64)
def _limits(
    K: tuple[float, ...], distortion_model: str, D: tuple[float, ...], size: tuple[int, int]
) -> np.ndarray:
    """`_field_of_view` of a `CameraModel`'s values: cached, since a few cameras take all images."""
    camera = CameraModel(np.reshape(K, (3, 3)), distortion_model, np.array(D), *size)
    step = math.radians(3.0)
    angles = step * np.arange(-29, 30)
    x, y = np.meshgrid(angles, angles)
    rays = np.stack([np.tan(x), np.tan(y), np.ones_like(x)], -1).reshape(-1, 3)
    inside = project(rays, np.eye(4), camera).inside.reshape(x.shape)
    if not inside.any():  # narrower than the grid: no limit
        return NO_LIMIT * np.array([-1, 1, -1, 1], np.float32)
    x, y = x[inside], y[inside]
    # Two steps: the corners of a distorted image reach out between the grid's rays.
    limits = np.array([x.min(), x.max(), y.min(), y.max()]) + 2 * step * np.array([-1, 1, -1, 1])
    beyond = np.abs(limits) > math.radians(89)
    return np.where(beyond, np.copysign(NO_LIMIT, limits), np.tan(limits)).astype(np.float32)


def _part(projection: Projection, rows: slice) -> Projection:
    return Projection(projection.pixels[rows], projection.depth[rows], projection.inside[rows])


def _within_border(seen: Projection, camera: CameraModel, border_px: float) -> np.ndarray:
    """[n] bool: in the image and at least `border_px` from its edge."""
    # A pixel's square reaches half a pixel beyond its centre.
    low, high = border_px - 0.5, np.array([camera.width, camera.height]) - border_px - 0.5
    return seen.inside & ((seen.pixels >= low) & (seen.pixels < high)).all(1)


def _hidden(
    seen: Projection, surface: Projection, camera: CameraModel, config: VisibilityConfig
) -> np.ndarray:
    """[n] bool: behind what the z-buffer of the surface's points [m] holds at the point's pixel.

    The holes that a sparse cloud leaves in a z-buffer are closed as far as they are enclosed by
    nearer points (a morphological closing of inverse depth): a street seen at a grazing angle has
    nearer points below and farther ones above, and does not hide itself.
    """
    focal = np.diag(camera.K)[:2]
    cell = max(1, round(math.radians(config.cell_deg) * focal[0]))
    nearest = np.zeros((-(-camera.height // cell), -(-camera.width // cell)), np.float32)
    # Inverse depth, so that the largest is the nearest and 0 stands for nothing.
    inverse = 1 / surface.depth[surface.inside]
    np.maximum.at(nearest, _cells(surface, cell), inverse.astype(np.float32))
    # An odd size has a middle.
    width, height = 2 * np.round(np.radians(config.gap_deg) * focal / cell / 2).astype(int) + 1
    closed = cv2.morphologyEx(nearest, cv2.MORPH_CLOSE, np.ones((height, width), np.uint8))

    depth = seen.depth[seen.inside]
    tolerance = np.maximum(config.min_tolerance_m, config.tolerance * depth)
    hidden = np.zeros(len(seen.depth), bool)
    hidden[seen.inside] = (depth - tolerance) * closed[_cells(seen, cell)] > 1
    return hidden


def _cells(projection: Projection, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cells, `cell` px wide, that the points within the image fall into."""
    column, row = ((projection.pixels[projection.inside].T + 0.5) / cell).astype(np.intp)
    return row, column


def _time_factor(dt: np.ndarray, movable: np.ndarray, config: VisibilityConfig) -> np.ndarray:
    """[n] 0..1: exp(-|dt| / scale) of points that were measured `dt` s before the image."""
    apart = np.abs(dt)
    moved = np.where(apart <= config.movable_dt_s, np.exp(-apart / config.movable_s), 0.0)
    return np.where(movable, moved, np.exp(-apart / config.static_s))
