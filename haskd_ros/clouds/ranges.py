"""How far points are from the sensor: the one arithmetic by which both halves choose points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def squared_range(points: np.ndarray) -> NDArray[np.float64]:
    """[N] squared distances in m2 of points [N, >= 3] from the sensor; not finite where x, y or z
    is not.

    The compiled kernels add up in this order too. The squares of float32 are exact in float64, so
    that both come to the same number, fused operations or not.
    """
    squared: NDArray[np.float64] = points[:, 0].astype(np.float64)
    squared *= squared
    # One column after the other, which takes half as long as all three at once.
    for column in (1, 2):
        of_axis = points[:, column].astype(np.float64)
        of_axis *= of_axis
        squared += of_axis
    return squared
