"""A table of places and what was said of them, in compiled code; see `kernels`, of which the same
holds."""

from __future__ import annotations

import torch
from torch import Tensor

from haskd_ros.native.dispatch import thread_count
from haskd_ros.native.library import library

_LEAST_SLOTS = 1 << 12
_MOST_FULL = 0.7

_PARTS = 10
"""Clouds after which all of a table was looked through once for what is forgotten: at once it would
hold one cloud up."""


class PlaceTable:
    """Class scores of voxels by key, which fade.

    Args:
        movable: [C] bool, classes whose points have no past.
    """

    def __init__(self, movable: Tensor) -> None:
        self._movable = movable.to(torch.uint8)
        self._cloud = 0
        self._resize(_LEAST_SLOTS)
        self._taken = self._next = 0
        self._make_scratch(0)

    def __len__(self) -> int:
        return self._taken

    def remember(
        self,
        keys: Tensor,
        probabilities: Tensor,
        *,
        time_s: float,
        half_life: float,
        weight: float,
    ) -> Tensor:
        """As of `score_memory.Places`."""
        rows, classes = probabilities.shape
        slots = len(self._slots)
        while self._taken + rows > _MOST_FULL * slots:
            slots *= 2
        if slots > len(self._slots):
            self._move(slots)
        self._cloud += 1
        keys, probabilities = keys.contiguous(), probabilities.contiguous()
        if rows > self._most_rows:
            self._make_scratch(rows)
        refined = torch.empty(rows, classes)
        self._taken += library().haskd_remember(
            keys.data_ptr(),
            probabilities.data_ptr(),
            rows,
            classes,
            self._movable.data_ptr(),
            time_s,
            half_life,
            weight,
            self._slots.data_ptr(),
            len(self._slots),
            self._cloud,
            *(scratch.data_ptr() for scratch in self._scratch),
            refined.data_ptr(),
            thread_count(),
        )
        return refined

    def forget(self, since_s: float) -> None:
        """Forget some of what was not seen since then; within `_PARTS` calls, all of it."""
        part = -(-len(self._slots) // _PARTS)
        first = self._next if self._next < len(self._slots) else 0
        self._next = min(first + part, len(self._slots))
        self._taken -= library().haskd_forget_places(
            self._slots.data_ptr(),
            len(self._slots),
            len(self._movable),
            since_s,
            first,
            self._next,
        )

    def shift(self, steps: int) -> None:
        """Make keys higher."""
        self._move(len(self._slots), steps)

    def _move(self, slots: int, steps: int = 0) -> None:
        """To a table of so many slots."""
        before = self._slots
        self._resize(slots)
        library().haskd_move_places(
            before.data_ptr(),
            len(before),
            len(self._movable),
            steps,
            self._slots.data_ptr(),
            slots,
        )

    def _make_scratch(self, rows: int) -> None:
        """Kept from cloud to cloud: the system clears fresh memory page by page."""
        places, sizes = torch.empty(2, rows, dtype=torch.int32), torch.empty(rows)
        sums, earlier = torch.empty(2, rows, len(self._movable)).unbind(0)
        # Together and last: where there was no memory for them, the old ones are still in use.
        self._scratch, self._most_rows = (places, sizes, sums, earlier), rows

    def _resize(self, slots: int) -> None:
        classes = len(self._movable)
        self._slots = torch.empty(slots, library().haskd_slot_bytes(classes), dtype=torch.uint8)
        library().haskd_free_places(self._slots.data_ptr(), slots, classes)
