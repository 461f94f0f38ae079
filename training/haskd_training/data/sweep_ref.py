"""How a sweep of several caches is named, and which of its points a network sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SweepRef:
    """A sweep of one of several caches."""

    cache: int
    sweep: int


def within_range(points: np.ndarray, max_range: float) -> np.ndarray:
    """[N] bool: not further from the sensor than `max_range` m."""
    return np.einsum("ij,ij->i", points[:, :3], points[:, :3]) <= max_range**2
