"""A sweep of one of several caches, and which of its points are within a model's range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haskd_ros.clouds.ranges import squared_range


@dataclass(frozen=True)
class SweepRef:
    """A sweep by its cache's index among several caches, and its own index in that cache."""

    cache: int
    sweep: int


def within_range(points: np.ndarray, max_range: float) -> NDArray[np.bool_]:
    """[N] bool: whether points [N, >= 3] are at most `max_range` m from the sensor."""
    near: NDArray[np.bool_] = squared_range(points) <= max_range**2
    return near
