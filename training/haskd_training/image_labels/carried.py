"""Labels by hand hold for their place: sweeps of it that nobody labelled take them over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.caches.cache import Cache, Sweep
from haskd_training.data.projection import transform_points
from haskd_training.image_labels.voxels import cells

AGREED = 0.75
"""Least share of the labels by hand in a voxel that its label has; with less it is an edge."""

NEAR_M = 100.0
"""From where the sensor was in a labelled sweep; further away it says little of a place."""

MOVABLE_S = 10.0
"""So long a thing that can move is taken to stand where it was labelled."""


@dataclass(frozen=True)
class Told:
    """What people said of the voxels of N points.

    Attributes:
        label: [N] uint8 class ids, `UNLABELLED` where nobody labelled a point of the voxel, or
            where less than `AGREED` of its labels are the same.
        share: [N] float32, of the labels in the voxel that are its commonest; 0 where there is
            none.
    """

    label: np.ndarray
    share: np.ndarray


@dataclass(frozen=True)
class LabelledPlaces:
    """Labels by hand in V voxels of a map.

    Attributes:
        low, size: [3] int64, the first voxel of the box that holds them all, and the box's size.
        keys: [V] int64, the voxels' places in the box, ascending.
        counts: [V, C] labelled points of each class.
    """

    low: np.ndarray
    size: np.ndarray
    keys: np.ndarray
    counts: np.ndarray

    @property
    def classes(self) -> int:
        """C."""
        return int(self.counts.shape[1])

    @classmethod
    def collect(cls, points: np.ndarray, labels: np.ndarray, classes: int) -> LabelledPlaces:
        """
        Args:
            points: [N, 3] float64 m in the map frame.
            labels: [N] uint8 class ids, `UNLABELLED` where there is none.
            classes: C.
        """
        known = labels != UNLABELLED
        cell = cells(points[known])
        low, size = np.zeros((2, 3), np.int64)
        if len(cell):
            low, size = cell.min(0), np.ptp(cell, 0) + 1
        keys, voxel = np.unique(_keys(cell - low, size), return_inverse=True)
        flat = voxel.reshape(-1) * classes + labels[known]
        counts = np.bincount(flat, minlength=len(keys) * classes).reshape(-1, classes)
        return cls(low, size, keys, counts)

    def without(self, points: np.ndarray, labels: np.ndarray) -> LabelledPlaces:
        """The same without some of the points [n, 3] and labels [n] that it was collected from."""
        known = labels != UNLABELLED
        counts = self.counts.copy()
        np.subtract.at(counts, (self._voxels(points[known]), labels[known]), 1)
        return replace(self, counts=counts)

    def of(self, points: np.ndarray) -> Told:
        """What people said of the voxels of points [N, 3], float64 m in the map frame."""
        voxel = self._voxels(points)
        counts = np.concatenate((self.counts, np.zeros_like(self.counts, shape=(1, self.classes))))
        counts = counts[voxel]
        commonest = counts.argmax(1)
        share = counts[np.arange(len(points)), commonest] / counts.sum(1).clip(1)
        label = np.where(share >= AGREED, commonest, UNLABELLED)
        return Told(label.astype(np.uint8), share.astype(np.float32))

    def _voxels(self, points: np.ndarray) -> np.ndarray:
        """[N] the voxel of each point, V where it is in none."""
        cell = cells(points) - self.low
        inside = ((cell >= 0) & (cell < self.size)).all(1)
        key = np.where(inside, _keys(cell, self.size), -1)
        found = np.searchsorted(self.keys, key)
        hit = inside & (np.append(self.keys, -1)[found] == key)
        return np.where(hit, found, len(self.keys))


def carried(
    cache: Cache, block: Sequence[int], sweeps: Sequence[Sweep], points: np.ndarray, most: int
) -> Told:
    """What labels by hand of other sweeps say of the points of some: of none its own ones.

    Args:
        block: indices of the sweeps, all of one recording and with poses.
        sweeps: they themselves.
        points: [N, 3] float64 m, theirs one after the other in the map frame.
        most: labelled sweeps to read.
    """
    places = places_near(cache, block, most)
    ends = np.cumsum([len(sweep.points) for sweep in sweeps])[:-1]
    told = []
    for i, sweep, own in zip(block, sweeps, np.split(points, ends), strict=True):
        by_hand = any(cache.sweeps[i].class_counts)
        others = places.without(own, sweep.label) if by_hand else places
        told.append(others.of(own))
    return Told(
        np.concatenate([one.label for one in told]), np.concatenate([one.share for one in told])
    )


def places_near(cache: Cache, block: Sequence[int], most: int) -> LabelledPlaces:
    """The labels by hand that tell what is around some sweeps of one recording, in its map frame.

    Args:
        block: the sweeps; all of them have poses.
        most: labelled sweeps that are read, first those of the block, then the nearest in place.
    """
    rows = [cache.sweeps[i] for i in block]
    where = np.array([np.array(row.T_world_lidar)[:3, 3] for row in rows])
    times = np.array([row.stamp_ns for row in rows])
    near = []
    for i, row in enumerate(cache.sweeps):
        if row.recording != rows[0].recording or row.T_world_lidar is None:
            continue
        if not any(row.class_counts):
            continue
        apart = np.linalg.norm(where - np.array(row.T_world_lidar)[:3, 3], axis=1).min()
        if apart <= NEAR_M:
            near.append((i not in block, float(apart), i))
    movable = np.zeros(UNLABELLED + 1, bool)
    movable[: len(cache.taxonomy)] = [one.movable for one in cache.taxonomy.classes]
    points, labels = [np.zeros((0, 3))], [np.zeros(0, np.uint8)]
    for *_, i in sorted(near)[:most]:
        sweep = cache.sweep(i)
        late = np.abs(times - sweep.stamp_ns).min() > MOVABLE_S * 1e9
        points.append(transform_points(np.array(cache.sweeps[i].T_world_lidar), sweep.points))
        labels.append(np.where(movable[sweep.label] & late, UNLABELLED, sweep.label))
    return LabelledPlaces.collect(
        np.concatenate(points), np.concatenate(labels), len(cache.taxonomy)
    )


def _keys(cell: np.ndarray, size: np.ndarray) -> np.ndarray:
    keys: np.ndarray = (cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2]
    return keys
