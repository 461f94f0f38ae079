"""Parts of a sweep that are worth a human's time: clusters of open voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from haskd_training.suggestions.open_voxels import OpenVoxels

OPEN = 0.3
"""Entropy, as a share of log C, from which a voxel belongs to a region: of 11 classes, two that are
in question alike have 0.29."""
CELL_M = 1.0
"""m on the ground; open voxels in cells that touch are of one cluster."""
LIKELY = 3
"""Classes that are told of a region."""


@dataclass(frozen=True)
class Region:
    """A box of open voxels.

    Attributes:
        low, high: [3] m in the sensor frame, opposite corners.
        voxels: open ones in it.
        entropy: their mean, as a share of log C.
        worth: share of what the sweep adds that lies in the region.
        classes: [C] their mean probabilities.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    voxels: int
    entropy: float
    worth: float
    classes: NDArray[np.float32]

    @property
    def centre(self) -> np.ndarray:
        """[3] m in the sensor frame."""
        middle: np.ndarray = (self.low + self.high) / 2
        return middle

    def likely(self, names: tuple[str, ...]) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities, likeliest first."""
        order = np.argsort(-self.classes)[:LIKELY]
        return [(names[k], float(self.classes[k])) for k in order]


def find_regions(
    voxels: OpenVoxels, worth: np.ndarray, *, count: int, max_size: float
) -> list[Region]:
    """The regions that are worth most, best first.

    Args:
        voxels: of a sweep.
        worth: [V] what each of them adds, see `Choice.fresh`.
        count: of regions at most.
        max_size: m; a larger cluster, such as a long wall, is cut into squares of that size.
    """
    is_open = (voxels.entropy >= OPEN) & (worth > 0)
    if not is_open.any():
        return []
    xyz, total = voxels.centroids[is_open], float(worth.sum())
    cells = np.floor(xyz[:, :2] / CELL_M).astype(np.int64)
    cells -= cells.min(0)
    image = np.zeros(cells.max(0) + 1, bool)
    image[cells[:, 0], cells[:, 1]] = True
    clusters, _ = ndimage.label(image, structure=np.ones((3, 3)))
    squares = np.floor(xyz[:, :2] / max_size).astype(np.int64)
    keys = np.column_stack([clusters[cells[:, 0], cells[:, 1]], squares])
    _, index = np.unique(keys, axis=0, return_inverse=True)
    index = index.reshape(-1)
    of_region = np.bincount(index, weights=worth[is_open])
    regions = []
    for number in np.argsort(-of_region, kind="stable")[:count]:
        own = index == number
        regions.append(
            Region(
                low=xyz[own].min(0),
                high=xyz[own].max(0),
                voxels=int(own.sum()),
                entropy=float(voxels.entropy[is_open][own].mean()),
                worth=float(of_region[number]) / total,
                classes=voxels.probability[is_open][own].mean(0),
            )
        )
    return regions
