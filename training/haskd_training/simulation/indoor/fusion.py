"""All frames of a walk as one cloud: averaged in voxels, as the scan of a building is made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from haskd_training.simulation.indoor.rgbd_camera import RgbdFrame

VOXEL_M = 0.02

REACH_M = 4.0
"""Depths beyond are too noisy to be fused."""

_FOCAL_PX = 250.0
"""Images of more pixels are thinned to about that: rays are 16 mm apart at 4 m then."""
_SEEN = 2
"""So many depths at least make a point; fewer are outliers at edges."""
_MANY = 3_000_000
_THING_BITS = 13


@dataclass(frozen=True)
class FusedCloud:
    """N points in the map frame as recorded.

    xyz: [N, 3] float32, m. color: [N, 3] uint8 RGB. thing: [N] int32, number of the thing in the
    flat that most of the point's depths are of.
    """

    xyz: np.ndarray
    color: np.ndarray
    thing: np.ndarray


class Fusion:
    """Collects frames; the sums of each voxel and thing are kept, not the depths."""

    def __init__(self, K: np.ndarray) -> None:
        self._K = K
        self._every = max(1, round(K[0, 0] / _FOCAL_PX))
        self._keys: list[np.ndarray] = []
        self._sums: list[np.ndarray] = []
        self._pending = 0

    def add(self, frame: RgbdFrame, T_map_optical: np.ndarray) -> None:
        """A frame, with the pose that was recorded for it."""
        every = self._every
        depth = frame.depth[::every, ::every] * np.float32(0.001)
        v, u = np.nonzero((depth > 0) & (depth < REACH_M) & (frame.thing[::every, ::every] >= 0))
        z = depth[v, u]
        v, u = v * every, u * every
        rays = np.stack(
            [
                (u - self._K[0, 2]) / self._K[0, 0],
                (v - self._K[1, 2]) / self._K[1, 1],
                np.ones(len(u)),
            ],
            axis=1,
        )
        points = (rays * z[:, None]) @ T_map_optical[:3, :3].T + T_map_optical[:3, 3]
        color = frame.color[v, u]
        thing = frame.thing[v, u]
        # 16 bits an axis, 1.3 km, and 13 for the thing.
        i, j, k = (np.floor(points / VOXEL_M).astype(np.int64) + (1 << 15)).T
        self._keys.append(((i << 16 | j) << 16 | k) << _THING_BITS | thing)
        row = np.column_stack([np.ones(len(z)), points, color])
        self._sums.append(row.astype(np.float32))
        self._pending += len(z)
        if self._pending > _MANY:
            self._reduce()

    def _reduce(self) -> None:
        """One row for each voxel and thing."""
        keys = np.concatenate(self._keys)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        sums = np.add.reduceat(np.concatenate(self._sums)[order], starts, axis=0)
        self._keys, self._sums, self._pending = [keys[starts]], [sums], 0

    def cloud(self) -> FusedCloud:
        """The points of all frames added."""
        if not self._keys:
            return FusedCloud(
                np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.int32)
            )
        self._reduce()
        keys, sums = self._keys[0], self._sums[0]
        voxel, thing = keys >> _THING_BITS, (keys & (1 << _THING_BITS) - 1).astype(np.int32)
        # The thing with most depths comes first in its voxel.
        order = np.lexsort((-sums[:, 0], voxel))
        voxel = voxel[order]
        starts = np.flatnonzero(np.r_[True, voxel[1:] != voxel[:-1]])
        total = np.add.reduceat(sums[order], starts, axis=0)
        seen = total[:, 0] >= _SEEN
        total = total[seen]
        mean = total[:, 1:] / total[:, :1]
        return FusedCloud(
            np.ascontiguousarray(mean[:, :3]),
            np.round(mean[:, 3:]).astype(np.uint8),
            thing[order][starts][seen],
        )
