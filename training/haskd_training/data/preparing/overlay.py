"""Images with a sweep's points drawn over them, to check the camera calibration by eye."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from haskd_ros.files import write_atomically
from haskd_ros.text import file_name
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.legend_strip import class_entries, with_legend
from haskd_training.data.preparing.report import nearest_images
from haskd_training.data.projection import Projection, project

MAX_DEPTH_M = 60.0
"""Depth at the end of the colour scale, where points have no labels."""


def draw_overlay(cache: Cache, i: int, j: int) -> np.ndarray:
    """Points of sweep `i` over image `j`, projected at the image's own time.

    Coloured by class; by depth (near red, far blue) where the sweep has no labels. Far points are
    drawn first, so that near ones cover them.

    Returns:
        [H, W, 3] uint8, RGB.
    """
    sweep, row = cache.sweep(i), cache.images[j]
    image = cache.image(j)
    projection = project(sweep.points, cache.t_camera_lidar(j, i), row.camera_model)
    if any(cache.sweeps[i].class_counts):
        colors = cache.taxonomy.color_table()[sweep.label]
    else:
        colors = _depth_colors(projection.depth)
    draw_points(image, projection, colors)
    return image


def draw_points(image: np.ndarray, projection: Projection, colors: np.ndarray) -> None:
    """Draw points that were projected into an image [H, W, 3] over it, near ones over far ones;
    colors [N, 3]."""
    visible = np.flatnonzero(projection.inside)
    far_to_near = visible[np.argsort(-projection.depth[visible])]
    centres = np.round(projection.pixels[far_to_near]).astype(int)
    paint_discs(image, centres, colors[far_to_near], radius=max(1, image.shape[1] // 640))


def _legend(cache: Cache, i: int) -> list[tuple[str, tuple[int, ...]]]:
    """What the colours over an image mean."""
    if any(cache.sweeps[i].class_counts):
        return class_entries(cache.taxonomy, cache.sweep(i).label)
    depths = np.linspace(0, MAX_DEPTH_M, 4)
    return [
        (f"{depth:.0f} m", tuple(color))
        for depth, color in zip(depths, _depth_colors(depths).tolist())
    ]


def _depth_colors(depth: np.ndarray) -> np.ndarray:
    """[N, 3] RGB of depths [N] in m."""
    near = 255 * (1 - np.clip(depth / MAX_DEPTH_M, 0, 1))
    jet = cv2.applyColorMap(near.astype(np.uint8)[:, None], cv2.COLORMAP_JET)
    colors: np.ndarray = jet[:, 0, ::-1]
    return colors


def paint_discs(image: np.ndarray, centres: np.ndarray, colors: np.ndarray, radius: int) -> None:
    """Paint discs over a image [H, W, 3], later ones over earlier ones; centres [N, 2] u v in
    px, colors [N, 3]."""
    steps = np.arange(-radius, radius + 1)
    disc = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    disc = disc[(disc**2).sum(1) <= radius**2]
    height, width, _ = image.shape
    u, v = (centres[:, None] + disc).reshape(-1, 2).T
    within = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    # Of several colours for one pixel numpy leaves the last.
    image[v[within], u[within]] = np.repeat(colors, len(disc), axis=0)[within]


def write_overlays(cache: Cache, folder: Path, count: int) -> list[Path]:
    """Write `count` overlays as PNG, spread over time, the cameras in turn.

    The first shows the middle of the recording: at its ends a vehicle often stands still, which
    hides a wrong time offset.
    """
    cameras = sorted({row.camera for row in cache.images})
    written = []
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        # 1/2, 1/4, 3/4, 1/8 ...: the van der Corput sequence.
        fraction = sum(((k + 1) >> bit & 1) / 2 ** (bit + 1) for bit in range(16))
        i = int(fraction * len(cache))
        nearest = nearest_images(cache, i)
        camera = cameras[k % len(cameras)] if cameras else None
        if camera is None or camera not in nearest:
            continue
        j = nearest[camera]
        stamp = cache.images[j].stamp_ns
        parts = file_name(cache.sweeps[i].recording), f"{stamp}", file_name(camera)
        path = folder / f"{'_'.join(parts)}.png"
        picture = with_legend(draw_overlay(cache, i, j), _legend(cache, i))
        _, png = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        write_atomically(path, png.tobytes())
        written.append(path)
    return written
