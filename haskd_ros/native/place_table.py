"""A table of places and what was said of them, in compiled code; see `kernels`, of which the same
holds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from haskd_ros.native.dispatch import thread_count
from haskd_ros.native.library import library

_LEAST_SLOTS = 1 << 12
_MOST_FULL = 0.7


class PlaceTable:
    """Class scores of voxels by key, which fade.

    Args:
        movable: [C] bool, classes whose points have no past.
    """

    def __init__(self, movable: Tensor) -> None:
        self._movable = movable.to(torch.uint8)
        self._cloud = 0
        self._resize(_LEAST_SLOTS)
        self._taken = 0

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
        if (self._taken + rows) > _MOST_FULL * len(self._slots):
            self.keep(-np.inf, room_for=rows)
        self._cloud += 1
        keys, probabilities = keys.contiguous(), probabilities.contiguous()
        places = torch.empty(2, rows, dtype=torch.int32)
        sizes = torch.empty(rows)
        sums, earlier, refined = torch.empty(3, rows, classes).unbind(0)
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
            places.data_ptr(),
            sizes.data_ptr(),
            sums.data_ptr(),
            earlier.data_ptr(),
            refined.data_ptr(),
            thread_count(),
        )
        return refined

    def keep(self, since_s: float, *, shift: int = 0, room_for: int = 0) -> None:
        """Forget what was not seen since then, and make keys higher.

        Args:
            room_for: rows of the next cloud.
        """
        before, slots = self._slots, _LEAST_SLOTS
        while (self._taken + room_for) > _MOST_FULL * slots:
            slots *= 2
        self._resize(slots)
        self._taken = library().haskd_move_places(
            before.data_ptr(),
            len(before),
            len(self._movable),
            since_s,
            shift,
            self._slots.data_ptr(),
            slots,
        )

    def _resize(self, slots: int) -> None:
        classes = len(self._movable)
        self._slots = torch.empty(slots, library().haskd_slot_bytes(classes), dtype=torch.uint8)
        library().haskd_free_places(self._slots.data_ptr(), slots, classes)
