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
        image: its place in `cache.images`.
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
    """Looks at sweeps through the images that were selected for them.

    Args:
        split: of the sweeps.
        selection: chose the images, and tells by the baseline's eye which points may move.
    """

    def __init__(self, split: Split, selection: Selection) -> None:
        self.split, self.selection = split, selection
        self._config = selection.config.visibility
        self._qualities = [image_qualities(cache) for cache in split.caches]
        # Ids without a class, 255 among them, are of nothing known to move.
        self._movable = np.zeros(256, bool)
        self._movable[: len(split.taxonomy)] = [kind.movable for kind in split.taxonomy.classes]

    def __call__(self, ref: SweepRef) -> list[PointView]:
        """One view an image that shows any point, best image first.

        Raises:
            InputError: no images were selected for this sweep.
        """
        sweep = self.split.sweep(ref)
        found = views(
            self.split.caches[ref.cache],
            ref.sweep,
            sweep.points,
            self.selection.chosen(ref),
            self._movable[self.selection.predicted(ref)],
            self._config,
            self._qualities[ref.cache],
            sweep.time,
        )
        total = np.sum([view.quality for view in found], axis=0)
        result = []
        for view in found:
            rows = np.flatnonzero(view.quality)
            if len(rows):
                share = view.quality[rows] / total[rows]
                result.append(
                    PointView(view.image, rows.astype(np.int32), view.pixels[rows], share)
                )
        return result


def to_arrays(found: Sequence[PointView]) -> dict[str, np.ndarray]:
    """Views one after another, as they are stored."""
    return {
        "images": np.array([view.image for view in found], np.int32),
        "counts": np.array([len(view.rows) for view in found], np.int32),
        "rows": np.concatenate([view.rows for view in found] or [np.zeros(0, np.int32)]),
        "pixels": np.concatenate([view.pixels for view in found] or [np.zeros((0, 2), np.float32)]),
        "shares": np.concatenate([view.share for view in found] or [np.zeros(0, np.float32)]),
    }


def from_arrays(arrays: Mapping[str, np.ndarray]) -> list[PointView]:
    """The inverse of `to_arrays`."""
    ends = np.cumsum(arrays["counts"])
    return [
        PointView(
            int(image), *(arrays[name][end - n : end] for name in ("rows", "pixels", "shares"))
        )
        for image, end, n in zip(arrays["images"], ends, arrays["counts"])
    ]
