"""The ground under a recording, from the lowest points of the places that hang together with what
the vehicle stands on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components

CELL_M = 0.5
"""Edge of a cell of the ground."""
LOWEST = 0.03
"""The share of a cell's points that may be lower: single returns from below, as of a mirror."""
REACH = 3
"""Cells that the ground may bridge, where a sparse cloud leaves holes."""
STEP_M, SLOPE = 0.12, 0.18
"""Of two cells of one ground the heights differ by no more than STEP_M + SLOPE * distance."""
NEAR_M = (2.5, 10.0)
"""The ring around the sensor in which the ground is looked for: not the vehicle, and not far."""
KNOWN_WITHIN_M = 5.0
"""How far from a cell of the ground its height is taken to hold."""


@dataclass(frozen=True)
class Ground:
    """Heights of the ground on a grid of the map.

    Attributes:
        origin: [2] m, the grid's corner of least x and y.
        height: [X, Y] float32 m, NaN where it is not known.
    """

    origin: np.ndarray
    height: np.ndarray

    @cached_property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.height.shape
        return rows, columns

    def cells(self, points: np.ndarray) -> np.ndarray:
        """[N] int64, the flat index of the cell that each point [N, >= 2] lies in or next to."""
        row, column = np.floor((points[:, :2] - self.origin) / CELL_M).astype(np.int64).T
        rows, columns = self.shape
        flat: np.ndarray = row.clip(0, rows - 1) * columns + column.clip(0, columns - 1)
        return flat

    def above(self, points: np.ndarray) -> np.ndarray:
        """[N] float32, m of points [N, >= 3] of the map above the ground; NaN where it is not
        known."""
        heights: np.ndarray = points[:, 2] - self.height.reshape(-1)[self.cells(points)]
        return heights.astype(np.float32)


def find_ground(points: np.ndarray, origins: np.ndarray) -> Ground:
    """The ground below points of a map.

    The lowest point of each cell is ground if a chain of cells without a step leads from there to
    the level around the sensor: a roof, a wall or a car's bonnet has no such chain.

    Args:
        points: [N, >= 3] m in the map frame, z up.
        origins: [S, 3] m, where the sensor was.
    """
    origin = points[:, :2].min(0) - CELL_M
    shape = np.floor((points[:, :2].max(0) - origin) / CELL_M).astype(np.int64) + 2
    grid = Ground(origin, np.full(shape, np.nan, np.float32))
    lowest = _lowest(points, grid)
    row, column = np.nonzero(np.isfinite(lowest))
    z = lowest[row, column]
    number = np.full(lowest.shape, -1)
    number[row, column] = np.arange(len(z))
    piece = _connected(row, column, z, number)
    # The pieces that the ring around the sensor belongs to.
    level = _around(row, column, z, grid, origins)
    share = np.bincount(piece, weights=level) / max(level.sum(), 1)
    ground = np.full(lowest.shape, np.nan, np.float32)
    on_ground = share[piece] > 0.05
    ground[row[on_ground], column[on_ground]] = z[on_ground]
    return Ground(origin, _filled(ground))


def _lowest(points: np.ndarray, grid: Ground) -> np.ndarray:
    """[X, Y] height of the lowest points in each cell, NaN where there is none."""
    cell, z = grid.cells(points), points[:, 2]
    order = np.lexsort((z, cell))
    cell, z = cell[order], z[order]
    first = np.flatnonzero(np.diff(cell, prepend=-1))
    count = np.diff(first, append=len(cell))
    lowest = np.full(grid.height.size, np.nan)
    lowest[cell[first]] = z[first + (LOWEST * count).astype(np.int64)]
    return lowest.reshape(grid.shape)


def _connected(
    row: np.ndarray, column: np.ndarray, z: np.ndarray, number: np.ndarray
) -> np.ndarray:
    """[n] the piece of ground that each of n cells belongs to."""
    rows, columns = number.shape
    pairs = []
    for across in range(REACH + 1):
        for along in range(-REACH, REACH + 1):
            if (across, along) <= (0, 0):
                continue
            other_row, other_column = row + across, column + along
            inside = (other_row < rows) & (other_column >= 0) & (other_column < columns)
            other = np.full(len(row), -1)
            other[inside] = number[other_row[inside], other_column[inside]]
            step = np.abs(z - z[other])
            near = STEP_M + SLOPE * CELL_M * np.hypot(across, along)
            joined = np.flatnonzero((other >= 0) & (step <= near))
            pairs.append(np.stack((joined, other[joined])))
    first, second = np.concatenate(pairs, 1)
    graph = sparse.csr_matrix((np.ones(len(first), bool), (first, second)), (len(z), len(z)))
    piece: np.ndarray = connected_components(graph, directed=False)[1]
    return piece


def _around(
    row: np.ndarray, column: np.ndarray, z: np.ndarray, grid: Ground, origins: np.ndarray
) -> np.ndarray:
    """[n] bool: the cells at the level that most of the ring around the sensor has."""
    level = np.zeros(len(z), bool)
    centres = grid.origin + CELL_M * (np.stack((row, column), 1) + 0.5)
    for x, y, height in origins[:: max(1, len(origins) // 20)]:
        distance = np.hypot(centres[:, 0] - x, centres[:, 1] - y)
        ring = np.flatnonzero((distance > NEAR_M[0]) & (distance < NEAR_M[1]) & (z < height))
        if not len(ring):
            continue
        bins = np.round(z[ring] / 0.15).astype(np.int64)
        values, counts = np.unique(bins, return_counts=True)
        level[ring[np.abs(bins - values[counts.argmax()]) <= 1]] = True
    return level


def _filled(ground: np.ndarray) -> np.ndarray:
    """The ground with its holes filled by the nearest height, as far as that holds."""
    unknown = np.isnan(ground)
    if unknown.all():
        return ground
    distance, nearest = ndimage.distance_transform_edt(unknown, return_indices=True)
    filled: np.ndarray = ndimage.uniform_filter(ground[tuple(nearest)], 3)
    filled[distance * CELL_M > KNOWN_WITHIN_M] = np.nan
    return filled
