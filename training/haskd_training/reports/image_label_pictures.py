"""Pictures of labels from images: what the mask says, what the vote says, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from haskd_ros.files import write_atomically
from haskd_ros.taxonomy import UNLABELLED, Taxonomy
from haskd_ros.text import file_name
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.point_labels import PointLabels
from haskd_training.data.preparing.legend_strip import class_entries, with_legend
from haskd_training.data.preparing.overlay import paint_discs
from haskd_training.data.preparing.report import nearest_images
from haskd_training.image_labels.class_sets import ImageClasses
from haskd_training.image_labels.mask_files import Mask
from haskd_training.image_labels.masks import MaskFolder
from haskd_training.images.visibility import View, VisibilityConfig, views
from haskd_training.reports.html_page import Picture

PICTURES = 6
WIDTH = 640
"""Of each of the three images side by side, px."""

IMAGE_DIFFERS = (0, 255, 120)
HUMAN_DIFFERS = (255, 70, 0)
"""Colours that stand out of grey."""

_QUALITY = 88


def write_pictures(
    caches: Sequence[Cache],
    labels: PointLabels,
    masks: MaskFolder,
    classes: ImageClasses,
    visibility: VisibilityConfig,
    folder: Path,
) -> list[Picture]:
    """Write pictures of some images, spread over the recordings, the cameras in turn.

    Raises:
        InputError: a mask or a sweep's labels can't be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for cache, i, j in _chosen(caches, masks):
        row = cache.images[j]
        mask = masks.of(row)
        assert mask is not None  # as it was chosen
        picture = _picture(cache, i, j, labels, mask, classes, visibility)
        path = folder / f"{file_name(f'{row.recording}_{row.camera}_{row.stamp_ns}')}.jpg"
        _, jpeg = cv2.imencode(
            ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
        )
        write_atomically(path, jpeg.tobytes())
        written.append(Picture(path, f"{row.recording}, {row.camera}, {row.stamp_ns} ns"))
    return written


def _chosen(caches: Sequence[Cache], masks: MaskFolder) -> Iterator[tuple[Cache, int, int]]:
    """Cache, sweep and image of each picture."""
    sweeps = [(cache, i) for cache in caches for i in range(len(cache))]
    for number in range(PICTURES):
        cache, i = sweeps[int((number + 0.5) * len(sweeps) / PICTURES)]
        shown = [j for _, j in sorted(nearest_images(cache, i).items()) if _has(cache, j, masks)]
        if shown:
            yield cache, i, shown[number % len(shown)]


def _has(cache: Cache, j: int, masks: MaskFolder) -> bool:
    row = cache.images[j]
    return masks.has(row.recording, row.camera, row.stamp_ns)


def _picture(
    cache: Cache,
    i: int,
    j: int,
    labels: PointLabels,
    mask: Mask,
    classes: ImageClasses,
    visibility: VisibilityConfig,
) -> np.ndarray:
    """[H, 3 W, 3] uint8, RGB: the mask, the labels, the differences."""
    sweep, row, taxonomy = cache.sweep(i), cache.images[j], labels.taxonomy
    label = labels.of(row.recording, sweep.stamp_ns, len(sweep.points))
    (view,) = views(
        cache,
        i,
        points=sweep.points,
        images=[j],
        movable=np.zeros(len(sweep.points), bool),
        config=visibility,
        image_quality=lambda _: 1.0,
        times=sweep.time,
    )
    shown = np.flatnonzero(view.quality)
    image = _scaled(cache.image(j))
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2) // 2
    likeliest = labels.sets.likeliest(label)
    labelled = shown[label[shown] != UNLABELLED]

    by_mask = _mask_colors(mask, classes, taxonomy)
    left = (
        image // 2 + cv2.resize(by_mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST) // 2
    )
    middle = image // 2
    _paint(middle, view, labelled, taxonomy.color_table()[likeliest], row.width)
    right = grey
    pixel = np.rint(view.pixels[labelled]).astype(np.intp)
    says = mask.classes[pixel[:, 1].clip(0, row.height - 1), pixel[:, 0].clip(0, row.width - 1)]
    meant = classes.sets(taxonomy)[says]
    may_be = labels.sets.table[label[labelled]]
    other = labelled[meant.any(1) & ~(meant & may_be).any(1)]
    _paint(right, view, other, np.array([IMAGE_DIFFERS]), row.width)
    human = sweep.label[labelled]
    known = human != UNLABELLED
    wrong = labelled[known][~may_be[known, human[known]]]
    _paint(right, view, wrong, np.array([HUMAN_DIFFERS]), row.width)

    entries = class_entries(taxonomy, likeliest[labelled])
    entries.append(("the image says something else", IMAGE_DIFFERS))
    if known.any():
        entries.append(("humans say something else", HUMAN_DIFFERS))
    return with_legend(np.hstack([left, middle, right]), entries)


def _mask_colors(mask: Mask, classes: ImageClasses, taxonomy: Taxonomy) -> np.ndarray:
    """[H, W, 3] uint8: of the likeliest class that each pixel means; black where it means none."""
    colors = np.zeros((256, 3), np.uint8)
    for number, means in zip(classes.ids, classes.means, strict=True):
        if means:
            colors[number] = taxonomy.color_table()[taxonomy.id_of(means[0])]
    painted: np.ndarray = colors[mask.classes]
    return painted


def _paint(
    picture: np.ndarray, view: View, points: np.ndarray, colors: np.ndarray, width: int
) -> None:
    """Paint points of a view of an image of some width; colors of all points, or a single one."""
    scale = WIDTH / width
    centres = np.floor((view.pixels[points] + 0.5) * scale).astype(int)
    own = np.repeat(colors, len(points), 0) if len(colors) == 1 else colors[points]
    paint_discs(picture, centres, own, radius=1)


def _scaled(image: np.ndarray) -> np.ndarray:
    height = max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    return cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
