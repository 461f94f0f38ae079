"""What earlier clouds said of a place: class scores of voxels in a fixed frame, which fade."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from haskd_ros.native import dispatch
from haskd_ros.native.place_table import PlaceTable
from haskd_ros.sparse import group_by_key, pool, unpool, voxel_keys
from haskd_ros.sparse.keys import X_STEP, Y_STEP
from haskd_ros.taxonomy import Taxonomy

VOXEL_SIZE = 0.2
"""Edge in m."""

WEIGHT = 0.5
"""Of an earlier cloud beside the newest one."""

HALF_LIFE_S = 0.66
"""After which what a cloud said counts half, where nobody says otherwise."""

FORGOTTEN = 0.02
"""Share of a voxel's scores from which on they count no more."""

_ANCHOR_REACH = 1000.0
"""m; float32 places a point this far from the anchor to 0.1 mm."""

_JUMP = 10_000.0
"""m from there, at once: another map. Keys reach 26 km."""

_OUT_OF_ORDER_S = 0.5


class Places(Protocol):
    """Class scores of voxels by key, which fade."""

    def __len__(self) -> int: ...

    def remember(
        self,
        keys: Tensor,
        probabilities: Tensor,
        *,
        time_s: float,
        half_life: float,
        weight: float,
    ) -> Tensor:
        """Add what was said before to what a cloud says, and keep that.

        Args:
            keys: [N] int64, of the points' voxels.
            probabilities: [N, C]; rows may be NaN, and then count for nothing.
            time_s: not before that of the cloud before.
            half_life: s.
            weight: of what was said before.

        Returns:
            [N, C].
        """

    def forget(self, since_s: float) -> None:
        """Forget what was not seen since then, part by part: called after each cloud."""

    def shift(self, steps: int) -> None:
        """Make keys higher."""


class ScoreMemory:
    """Adds to the class probabilities of a cloud's points what earlier clouds said of their voxels.

    p + WEIGHT * sum over earlier clouds c of 2^(-age_c / half_life) * mean of p_c over the voxel,
    made a distribution again. A point that is of a movable class by itself stays as it is: where it
    is now something else was before.

    Args:
        taxonomy: of the model whose scores these are.
        half_life: s after which what a cloud said counts half.
    """

    def __init__(self, taxonomy: Taxonomy, half_life: float) -> None:
        self._half_life = half_life
        self._movable = torch.tensor([info.movable for info in taxonomy.classes])
        self._time_s = -math.inf
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._anchor: np.ndarray | None = None
        compiled = dispatch.usable()
        self._places: Places = (PlaceTable if compiled else PlainPlaces)(self._movable)

    def __len__(self) -> int:
        """Voxels that something is known of."""
        return len(self._places)

    def refine(
        self, points: Tensor, probabilities: Tensor, *, pose: np.ndarray, time_s: float
    ) -> Tensor:
        """Probabilities with what is remembered, and remember these.

        Args:
            points: [N, 4] float32, finite, x y z in m in the sensor's frame first.
            probabilities: [N, C] of the classes; rows may be NaN.
            pose: T_fixed_sensor [4, 4] float64 at that time.
            time_s: of the cloud. Clouds of several sensors may come a little out of order; where
                time has gone back by more, as when a recording begins again, all before is
                forgotten.

        Returns:
            [N, C], rows that need not sum to one.
        """
        if time_s < self._time_s - _OUT_OF_ORDER_S:
            self.forget()
            self._time_s = time_s
        self._time_s = time_s = max(time_s, self._time_s)
        keys, _ = voxel_keys(self._placed(points, pose), None, VOXEL_SIZE)
        refined = self._places.remember(
            keys, probabilities, time_s=time_s, half_life=self._half_life, weight=WEIGHT
        )
        self._places.forget(time_s - self._half_life * math.log2(1 / FORGOTTEN))
        return refined

    def _placed(self, points: Tensor, pose: np.ndarray) -> Tensor:
        """[N, 4] float32, x y z in m from the anchor."""
        anchor = self._anchor_near(pose[:3, 3])
        rotation = torch.from_numpy(pose[:3, :3].astype(np.float32))
        shift = torch.from_numpy((pose[:3, 3] - anchor).astype(np.float32))
        placed = points.clone()
        placed[:, :3] = torch.addmm(shift, points[:, :3], rotation.T)
        return placed

    def _anchor_near(self, position: np.ndarray) -> np.ndarray:
        """The corner of a voxel [3] from which voxels are counted, another one where a position [3]
        is far from it. Keys are sums of steps, so that all of them move by the same number."""
        if self._anchor is not None:
            distance = float(np.abs(position - self._anchor).max())
            if distance <= _ANCHOR_REACH:
                return self._anchor
            if distance > _JUMP:
                self.forget()
        anchor: np.ndarray = np.round(position / VOXEL_SIZE) * VOXEL_SIZE
        if self._anchor is not None:
            x, y, z = np.round((self._anchor - anchor) / VOXEL_SIZE).astype(np.int64).tolist()
            self._places.shift(x * X_STEP + y * Y_STEP + z)
        self._anchor = anchor
        return anchor


class PlainPlaces:
    """`Places` by plain torch, where there are no compiled kernels.

    Args:
        movable: [C] bool, classes whose points have no past.
    """

    def __init__(self, movable: Tensor) -> None:
        self._movable = movable
        # Rows of `_scores` and `_seen_s` by ascending key.
        self._keys = torch.empty(0, dtype=torch.int64)
        self._scores = torch.empty(0, len(movable))
        self._seen_s = torch.empty(0, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self._keys)

    def remember(
        self,
        keys: Tensor,
        probabilities: Tensor,
        *,
        time_s: float,
        half_life: float,
        weight: float,
    ) -> Tensor:
        voxels, grouping = group_by_key(keys)
        numbers = ~probabilities[:, :1].isnan()
        share = pool(numbers.float(), grouping).clamp_min(torch.finfo(torch.float32).tiny)
        new = pool(probabilities.nan_to_num(0.0), grouping) / share
        at = torch.searchsorted(self._keys, voxels).clamp_(max=max(len(self) - 1, 0))
        known = (
            self._keys[at] == voxels if len(self) else torch.zeros_like(voxels, dtype=torch.bool)
        )
        left = torch.exp2((self._seen_s[at[known]] - time_s) / half_life).float()[:, None]
        earlier = torch.zeros_like(new)
        earlier[known] = left * self._scores[at[known]]
        scores = new + earlier
        self._scores[at[known]] = scores[known]
        self._seen_s[at[known]] = time_s
        fresh = ~known
        merged = torch.cat([self._keys, voxels[fresh]])
        seen_s = torch.cat(
            [self._seen_s, torch.full((int(fresh.sum()),), time_s, dtype=torch.float64)]
        )
        order = merged.argsort()
        self._keys, self._seen_s = merged[order], seen_s[order]
        self._scores = torch.cat([self._scores, scores[fresh]])[order]
        moves = self._movable[probabilities.argmax(1)]
        refined = unpool(earlier, grouping).mul_(weight).add_(probabilities)
        refined[moves] = probabilities[moves]
        return refined

    def forget(self, since_s: float) -> None:
        kept = self._seen_s > since_s
        if not kept.all():
            self._keys, self._seen_s = self._keys[kept], self._seen_s[kept]
            self._scores = self._scores[kept]

    def shift(self, steps: int) -> None:
        self._keys = self._keys + steps
