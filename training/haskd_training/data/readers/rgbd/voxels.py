"""Coloured points with class ids, averaged in the voxels of a world, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from haskd_training.data.readers.interface import NO_LABEL
from haskd_training.recordings.readers.bag import Unusable

_BITS = 21
"""Of a voxel's place along an axis: 2^20 of them to either side."""

_IDS = 1 << 16
"""Class ids are below."""


@dataclass(frozen=True)
class Voxels:
    """n voxels that hold points.

    Attributes:
        keys: [n] int64, ascending.
        points: [n] float64, how many each holds.
        sums: [n, 6] float64, of x y z in m and of red green blue over its points.
        votes: [m, 3] int64: number of a voxel, class id, and how many points have it.
    """

    keys: np.ndarray
    points: np.ndarray
    sums: np.ndarray
    votes: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, xyz: np.ndarray, rgb: np.ndarray, ids: np.ndarray | None, size: float) -> Voxels:
        """
        Args:
            xyz: [p, 3] in m, in the world. rgb: [p, 3]. ids: [p] class ids from 0 to 65535.
            size: of a voxel, m.

        Raises:
            Unusable: points further from the origin than voxels are counted.
        """
        place = np.floor(xyz / size).astype(np.int64)
        if len(place) and np.abs(place).max() >= 1 << (_BITS - 1):
            raise Unusable("points too far from the world's origin for voxels of this size")
        place += 1 << (_BITS - 1)
        key = (place[:, 0] << 2 * _BITS) | (place[:, 1] << _BITS) | place[:, 2]
        sums = np.hstack([xyz, rgb]).astype(np.float64)
        votes = np.zeros((0, 3), np.int64)
        if ids is not None:
            votes = np.column_stack([np.arange(len(xyz)), ids, np.ones(len(xyz), np.int64)])
        return _gathered(key, np.ones(len(xyz)), sums, votes)

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """[n, 3] float64 x y z in m, and [n, 3] uint8 colour."""
        means = self.sums / self.points[:, None]
        return means[:, :3], np.rint(means[:, 3:]).astype(np.uint8)

    def majority(self) -> np.ndarray:
        """[n] int64 class id that most points of a voxel have, the lowest of several; `NO_LABEL`
        where no point has one."""
        voxel, class_id, count = self.votes.T
        best = np.lexsort((class_id, -count, voxel))
        first = best[np.unique(voxel[best], return_index=True)[1]]
        ids = np.full(len(self), NO_LABEL, np.int64)
        ids[voxel[first]] = class_id[first]
        return ids


def merged(tables: Sequence[Voxels]) -> Voxels:
    """All points of several tables of the same world and voxel size, at least one."""
    starts = np.cumsum([0, *map(len, tables)])[:-1]
    votes = [
        table.votes + np.array([start, 0, 0]) for table, start in zip(tables, starts, strict=True)
    ]
    return _gathered(
        np.concatenate([table.keys for table in tables]),
        np.concatenate([table.points for table in tables]),
        np.concatenate([table.sums for table in tables]),
        np.concatenate(votes),
    )


class Growing:
    """A table that grows by small ones, in time n log n: tables of alike size are merged."""

    def __init__(self) -> None:
        self._tables: list[Voxels] = []

    def add(self, table: Voxels) -> None:
        self._tables.append(table)
        while len(self._tables) > 1 and 2 * len(self._tables[-1]) > len(self._tables[-2]):
            last = self._tables.pop()
            self._tables[-1] = merged([self._tables[-1], last])

    @property
    def size(self) -> int:
        """Voxels, those that are in several of its tables counted several times."""
        return sum(map(len, self._tables))

    def whole(self) -> Voxels | None:
        """All of it; None where nothing was added."""
        if not self._tables:
            return None
        self._tables = [reduce(lambda one, other: merged([one, other]), self._tables[::-1])]
        return self._tables[0]


def _gathered(keys: np.ndarray, points: np.ndarray, sums: np.ndarray, votes: np.ndarray) -> Voxels:
    """A table of rows whose keys repeat; votes have the numbers of those rows."""
    unique, voxel = np.unique(keys, return_inverse=True)
    count = len(unique)
    added = [np.bincount(voxel, column, count) for column in sums.T]
    if len(votes):
        pair, which = np.unique(voxel[votes[:, 0]] * _IDS + votes[:, 1], return_inverse=True)
        number = np.bincount(which, votes[:, 2], len(pair)).astype(np.int64)
        votes = np.column_stack([pair // _IDS, pair % _IDS, number])
    return Voxels(
        unique, np.bincount(voxel, points, count), np.column_stack(added).reshape(count, 6), votes
    )
