"""What images say of the points of a sweep: pixels -> points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from haskd_training.data.caches.cache import Cache, Sweep
from haskd_training.image_labels.mask_files import Mask
from haskd_training.images.visibility import VisibilityConfig, views

MaskOf = Callable[[int], Mask | None]
"""The mask of an image of a cache by its index; None where there is none."""

IMAGES_A_CAMERA = 2
"""Images of a camera that a sweep is shown in. A turn of the sensor takes as long as the time
between two images: one is nearest to its beginning, another to its end."""


@dataclass(frozen=True)
class Observations:
    """What images say of points: K pairs of a point and an image that shows it.

    Attributes:
        point: [K] int64 index of the point.
        image: [K] int32 index of the image in its cache.
        class_id: [K] uint8, an id of the image classes.
        confidence: [K] float32, 0..1, of the mask.
    """

    point: np.ndarray
    image: np.ndarray
    class_id: np.ndarray
    confidence: np.ndarray


def observe(
    cache: Cache,
    index: int,
    sweep: Sweep,
    mask_of: MaskOf,
    *,
    window_s: float,
    visibility: VisibilityConfig,
) -> Observations:
    """Look up a sweep's points in the images of its moment.

    A point is looked up in the image of each camera that is nearest in time to the point's own
    measurement: things that move are where they were measured, and views of another moment join
    through the other sweeps of the same place.

    Args:
        index: of the sweep in the cache.
        window_s: least difference in time from which on an image is not of the moment.
    """
    images = _nearest_images(cache, index, sweep, window_s)
    found = views(
        cache,
        index,
        points=sweep.points,
        images=images,
        movable=np.zeros(len(sweep.points), bool),
        config=visibility,
        image_quality=lambda _: 1.0,
        times=sweep.time,
    )
    parts = []
    for view in found:
        mask = mask_of(view.image)
        if mask is None:
            continue
        points = np.flatnonzero(view.quality)
        column, row = np.rint(view.pixels[points]).astype(np.intp).T
        height, width = mask.classes.shape
        row, column = row.clip(0, height - 1), column.clip(0, width - 1)
        dt = (cache.images[view.image].stamp_ns - sweep.stamp_ns) / 1e9 - sweep.time[points]
        parts.append(
            (points, np.full(len(points), view.image, np.int32), np.abs(dt).astype(np.float32),
             mask.classes[row, column], mask.confidence[row, column])
        )  # fmt: skip
    if not parts:
        nothing = np.zeros(0, np.uint8)
        return Observations(nothing.astype(np.int64), nothing.astype(np.int32), nothing,
                            nothing.astype(np.float32))  # fmt: skip
    point, image, dt, class_id, confidence = (np.concatenate(part) for part in zip(*parts))
    kept = _nearest_of_each_camera(cache, point, image, dt) & (dt <= window_s)
    return Observations(
        point[kept], image[kept], class_id[kept], confidence[kept].astype(np.float32) / 255
    )


def _nearest_images(cache: Cache, index: int, sweep: Sweep, window_s: float) -> list[int]:
    """Of each camera the images nearest to the middle of a sweep."""
    middle = float(np.median(sweep.time)) if len(sweep.time) else 0.0
    reach = window_s + float(np.abs(sweep.time).max(initial=0.0))

    def apart(image: int) -> float:
        return abs((cache.images[image].stamp_ns - sweep.stamp_ns) / 1e9 - middle)

    by_camera: dict[str, list[int]] = {}
    for image in sorted(cache.images_near(index, reach), key=apart):
        of_camera = by_camera.setdefault(cache.images[image].camera, [])
        if len(of_camera) < IMAGES_A_CAMERA:
            of_camera.append(image)
    return sorted(image for images in by_camera.values() for image in images)


def _nearest_of_each_camera(
    cache: Cache, point: np.ndarray, image: np.ndarray, dt: np.ndarray
) -> np.ndarray:
    """[K] bool: of the images of one camera that show a point, the one nearest in time."""
    names = sorted({cache.images[j].camera for j in np.unique(image).tolist()})
    camera_of = np.zeros(int(image.max()) + 1, np.int64)
    for j in np.unique(image).tolist():
        camera_of[j] = names.index(cache.images[j].camera)
    key = point * len(names) + camera_of[image]
    order = np.lexsort((dt, key))
    first = np.ones(len(key), bool)
    first[1:] = key[order][1:] != key[order][:-1]
    kept = np.zeros(len(key), bool)
    kept[order[first]] = True
    return kept
