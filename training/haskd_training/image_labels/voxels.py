"""Voxels of a map, and how far what hangs together in them extends."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

VOXEL_M = 0.3
TOP = 0.99
"""The share of a thing's points below its top."""


def cells(points: np.ndarray) -> np.ndarray:
    """[N, D] int64 the voxels of a map that points [N, D], m in its frame, lie in."""
    found: np.ndarray = np.floor(points / VOXEL_M).astype(np.int64)
    return found


def voxels(points: np.ndarray, on_ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[N] the voxel of each point, and [V] the first point of each; the ground and what stands on
    it are different voxels."""
    cell = cells(points)
    cell -= cell.min(0)
    _, size_y, size_z = cell.max(0) + 1
    key = ((cell[:, 0] * size_y + cell[:, 1]) * size_z + cell[:, 2]) * 2 + on_ground
    _, first, voxel = np.unique(key, return_index=True, return_inverse=True)
    return voxel.reshape(-1), first


def widths(cell: np.ndarray) -> np.ndarray:
    """[n] how far the layer of connected cells extends that each of the cells [n, 3] lies in, in
    x or in y, whichever is more, in cells. A layer is of one height: what stands free there may be
    joined to other things by the ground."""
    cell = cell - cell.min(0) + 1
    _, columns, layers = cell.max(0) + 2
    step = np.array([columns * layers, layers, 1])
    keys, number = np.unique(cell @ step, return_inverse=True)
    pairs = []
    for offset in ((0, 1), (1, -1), (1, 0), (1, 1)):
        wanted = keys + np.array(offset) @ step[:2]
        found = np.searchsorted(keys, wanted).clip(0, len(keys) - 1)
        own = np.flatnonzero(keys[found] == wanted)
        pairs.append(np.stack((own, found[own])))
    one, other = np.concatenate(pairs, 1)
    graph = sparse.csr_matrix((np.ones(len(one), bool), (one, other)), (len(keys), len(keys)))
    piece = connected_components(graph, directed=False)[1][number.reshape(-1)]
    widths: np.ndarray = extents(piece, cell)[piece]
    return widths


def extents(piece: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """[P] how far each piece extends in x or in y, whichever is more, in cells.

    Args:
        piece: [n] number of the piece that each cell is of, 0 to P - 1.
        cell: [n, >= 2] int64, x and y first, none below 0.
    """
    extent = np.zeros(piece.max() + 1, np.int64)
    for axis in (0, 1):
        low, high = np.full(len(extent), np.iinfo(np.int64).max), np.zeros(len(extent), np.int64)
        np.minimum.at(low, piece, cell[:, axis])
        np.maximum.at(high, piece, cell[:, axis])
        extent = np.maximum(extent, high - low + 1)
    return extent


def tops(thing: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The top of each thing in m above the ground, and its points, from those of its points [n]."""
    order = np.lexsort((above, thing))
    first = np.flatnonzero(np.diff(thing[order], prepend=-1))
    count = np.diff(first, append=len(thing))
    return above[order][first + (TOP * (count - 1)).astype(np.int64)], count
