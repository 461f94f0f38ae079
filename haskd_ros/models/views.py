"""A cloud from several sides: turned, mirrored and scaled copies, as trainings see them. The mean
of what a network says of them is better than what it says of one, at as many times the work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_SIZES = (0.96, 1.0, 1.04)
_SHIFT_M = 0.1
"""Moves the points against the voxels."""


class Views:
    """Copies of a cloud, the first of them as it is; the same ones for every cloud.

    Args:
        count: how many.
        normals: the first of the three columns of a cloud that hold normals, of each channel of
            them.
    """

    def __init__(self, count: int, normals: Sequence[int] = ()) -> None:
        self._normals = tuple(normals)
        self._motions = [(np.eye(3), np.zeros(3))]
        generator = np.random.default_rng(0)
        for number in range(1, count):
            angle = 2 * np.pi * number / count
            cosine, sine = np.cos(angle), np.sin(angle)
            turned = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
            mirrored = np.diag([1.0, -1.0 if number % 2 else 1.0, 1.0])
            size = _SIZES[number % len(_SIZES)]
            shift = generator.uniform(-_SHIFT_M, _SHIFT_M, 3)
            self._motions.append((size * turned @ mirrored, shift))

    def __len__(self) -> int:
        return len(self._motions)

    def of(self, points: Tensor) -> list[Tensor]:
        """
        Args:
            points: [N, 4 + E] float32 as a network reads them.

        Returns:
            `len(self)` such clouds, points in their order.
        """
        return [points, *(self._moved(points, *motion) for motion in self._motions[1:])]

    def _moved(self, points: Tensor, matrix: np.ndarray, shift: np.ndarray) -> Tensor:
        linear = torch.from_numpy(matrix.T).to(points)
        moved = points.clone()
        moved[:, :3] = points[:, :3] @ linear + torch.from_numpy(shift).to(points)
        size = float(np.linalg.norm(matrix[:, 2]))
        for first in self._normals:
            moved[:, first : first + 3] = points[:, first : first + 3] @ linear / size
        return moved
