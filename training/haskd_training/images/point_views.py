"""Which pixels of its chosen images show each point of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.images.selection import Selection
from haskd_training.images.visibility import image_qualities, views


@dataclass(frozen=True)
class PointView:
    """What one image shows of a sweep.

    Attributes:
        image: its index in `cache.images`.
        rows: [n] int32, which of the sweep's points it shows, ascending.
        pixels: [n, 2] float32 u v of these points.
        share: [n] float32, the view's quality relative to the sum over all images that show the
            point: the weight of what is read there in the point's mean.
    """

    image: int
    rows: np.ndarray
    pixels: np.ndarray
    share: np.ndarray


class ViewFinder:
    """Views of sweeps' points in the images that were selected for them.

    Args:
        split: that the sweeps belong to.
        selection: the images, and the baseline's classes, which say which points may move.
    """

    def __init__(self, split: Split, selection: Selection) -> None:
        self.split, self.selection = split, selection
        self._config = selection.config.visibility
        self._qualities = [image_qualities(cache) for cache in split.caches]
        # Ids without a class, such as 255, count as static.
        self._movable = np.zeros(256, bool)
        self._movable[: len(split.taxonomy)] = [kind.movable for kind in split.taxonomy.classes]

    def __call__(self, ref: SweepRef) -> list[PointView]:
        """One view per image that shows any point, best image first.

        Raises:
            InputError: no images were selected for this sweep.
        """
        sweep = self.split.sweep(ref)
        of_images = views(
            self.split.caches[ref.cache],
            ref.sweep,
            points=sweep.points,
            images=self.selection.chosen(ref),
            movable=self._movable[self.selection.predicted(ref)],
            config=self._config,
            image_quality=self._qualities[ref.cache],
            times=sweep.time,
        )
        total = np.sum([view.quality for view in of_images], axis=0)
        result = []
        for view in of_images:
            rows = np.flatnonzero(view.quality)
            if len(rows):
                share = view.quality[rows] / total[rows]
                result.append(
                    PointView(view.image, rows.astype(np.int32), view.pixels[rows], share)
                )
        return result


def views_to_arrays(point_views: Sequence[PointView]) -> dict[str, np.ndarray]:
    """Views one after another, as they are stored."""
    return {
        "images": np.array([view.image for view in point_views], np.int32),
        "counts": np.array([len(view.rows) for view in point_views], np.int32),
        "rows": np.concatenate([view.rows for view in point_views] or [np.zeros(0, np.int32)]),
        "pixels": np.concatenate(
            [view.pixels for view in point_views] or [np.zeros((0, 2), np.float32)]
        ),
        "shares": np.concatenate([view.share for view in point_views] or [np.zeros(0, np.float32)]),
    }


def views_from_arrays(arrays: Mapping[str, np.ndarray]) -> list[PointView]:
    """The inverse of `views_to_arrays`."""
    ends = np.cumsum(arrays["counts"])
    return [
        PointView(
            int(image), *(arrays[name][end - n : end] for name in ("rows", "pixels", "shares"))
        )
        for image, end, n in zip(arrays["images"], ends, arrays["counts"])
    ]
