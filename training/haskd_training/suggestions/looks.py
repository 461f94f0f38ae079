"""Cells of look: what a network can tell apart, grouped by k-means of its features."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ROUNDS = 15


def find_looks(
    features: np.ndarray, count: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """k-means (Lloyd, 1982) from rows drawn at random.

    Args:
        features: [N, D] float32.
        count: of cells; there are fewer where there are fewer rows.

    Returns:
        centres: [K, D] float32.
    """
    rows = torch.from_numpy(features)
    drawn = generator.choice(len(features), min(count, len(features)), replace=False)
    centres = rows[torch.from_numpy(drawn)].clone()
    for _ in range(_ROUNDS):
        nearest = _nearest(rows, centres)
        sizes = torch.bincount(nearest, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, nearest, rows)
        filled = sizes > 0  # an empty cell stays where it is
        centres[filled] = sums[filled] / sizes[filled, None]
    found: NDArray[np.float32] = centres.numpy()
    return found


def look_of(features: np.ndarray, centres: np.ndarray) -> NDArray[np.int64]:
    """[N] cell of features [N, D]: the nearest of the centres [K, D]."""
    found: NDArray[np.int64] = _nearest(
        torch.from_numpy(features), torch.from_numpy(centres)
    ).numpy()
    return found


def _nearest(rows: Tensor, centres: Tensor) -> Tensor:
    # |r - c|^2 less |r|^2, which is the same for all centres.
    return torch.addmm((centres**2).sum(1), rows, centres.T, alpha=-2).argmin(1)
