"""A wall with posters on it: one camera, one LiDAR at the same place, nothing but colour tells the
posters from the wall.

The wall stands 8 m ahead, 12 m wide and 6 m high; a point (8, y, z) lies at pixel
u = 47.5 - 6 y, v = 31.5 - 6 z of a 96 x 64 px image.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.data.caches.writer import CacheWriter
from haskd_training.data.sensor_statistics import sensor_statistics

WALL, POSTER = 0, 1
TAXONOMY = Taxonomy((ClassInfo("wall", (90, 90, 90)), ClassInfo("poster", (220, 0, 0))))
WIDTH, HEIGHT = 96, 64
K = [[48.0, 0.0, 47.5], [0.0, 48.0, 31.5], [0.0, 0.0, 1.0]]
# Lidar x ahead, y left, z up; camera z ahead, x right, y down. Neither moves.
T_CAMERA_LIDAR = [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
T_WORLD_LIDAR = np.eye(4).tolist()
T_WORLD_CAMERA = np.transpose(T_CAMERA_LIDAR).tolist()
STAMP_NS = 1_000_000_000_000
PERIOD_NS = 100_000_000


def wall_cache(
    folder: Path, sweeps: int = 10, points: int = 600, *, bright_posters: bool = False
) -> Cache:
    """A cache of `sweeps` sweeps, 0.1 s apart, and one image at the stamp of each.

    Args:
        bright_posters: whether the intensity tells them too, and not the images alone.
    """
    writer = CacheWriter(folder, "painted wall")
    for number in range(sweeps):
        generator = np.random.default_rng(number)
        posters = generator.random((4, 8)) < 0.5  # of 1.5 m
        cloud = np.zeros((points, 4), np.float32)
        cloud[:, 0] = 8
        cloud[:, 1:3] = generator.uniform((-6, -3), (6, 3), (points, 2))
        cloud[:, 3] = generator.random(points)
        u, v = pixel_of(cloud).T
        # 1.5 m are 9 px; the wall begins at pixel 11.5, 13.5.
        label = posters[((v - 13.5) // 9).astype(int), ((u - 11.5) // 9).astype(int)]
        if bright_posters:
            cloud[:, 3] = label
        stamp = STAMP_NS + number * PERIOD_NS
        writer.sweeps.add(
            SweepRow(
                "drive", stamp, points, np.bincount(label, minlength=2).tolist(),
                T_WORLD_LIDAR,
            ),
            {
                "points": cloud,
                "time": np.zeros(points, np.float32),
                "label": label.astype(np.uint8),
            },
        )  # fmt: skip
        writer.images.add(
            ImageRow(
                "drive", "front", stamp, WIDTH, HEIGHT, K, "plumb_bob", [0.0] * 5,
                T_WORLD_CAMERA, T_CAMERA_LIDAR,
            ),
            {"jpeg": _jpeg(posters, generator)},
        )  # fmt: skip
    writer.close()
    cache = Cache(
        folder,
        TAXONOMY,
        intensity_scale=255.0,
        statistics={},
        sweeps=writer.sweeps.rows,
        images=writer.images.rows,
        fingerprint=json.dumps([sweeps, points]),
    )
    replace(cache, statistics=sensor_statistics(cache)).write_index(folder)
    return Cache.open(folder)


def pixel_of(points: np.ndarray) -> np.ndarray:
    """[N, 2] u v of points [N, >= 3] on the wall."""
    return np.array([47.5, 31.5]) - 6 * points[:, 1:3]


def _jpeg(posters: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Red posters on grey; grain, because a picture without any counts as blurred."""
    image = np.full((HEIGHT, WIDTH, 3), 90.0)
    squares = np.kron(posters, np.ones((9, 9), bool))
    image[14:50, 12:84][squares] = (220, 20, 20)
    image += generator.normal(0, 12, image.shape)
    bgr = np.clip(image, 0, 255).astype(np.uint8)[:, :, ::-1]
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 98])
    return data.reshape(-1)
