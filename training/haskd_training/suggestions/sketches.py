"""What a sweep leaves open, in little: entropy by look and by place.

Thousands of sweeps are compared by it, so it must be small, and about the same things in each of
them: a look is a cell of the network's features, a place a cube of the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haskd_ros.taxonomy import Taxonomy
from haskd_training.data.cache_rows import SweepRow
from haskd_training.data.projection import transform_points
from haskd_training.suggestions.looks import look_of
from haskd_training.suggestions.open_voxels import OpenVoxels


@dataclass(frozen=True)
class Sketch:
    """Open mass of a sweep: the sum of its voxels' entropies, 0..1 each.

    Attributes:
        look_mass: [K, C] float32, by look and, in proportion to the probabilities, by class.
        places: [P, 3] int32, cubes of the map that hold static voxels; none without a pose.
        place_mass: [P] float32.
    """

    look_mass: NDArray[np.float32]
    places: NDArray[np.int32]
    place_mass: NDArray[np.float32]


def sketch(
    voxels: OpenVoxels, looks: np.ndarray, row: SweepRow, taxonomy: Taxonomy, place_size: float
) -> Sketch:
    """Sum up what a sweep leaves open.

    Args:
        looks: [K, D] centres, see `find_looks`.
        row: of the sweep.
        taxonomy: of the model.
        place_size: m, edge of a cube of the map.
    """
    mass = voxels.entropy[:, None] * voxels.probability
    look_mass = np.zeros((len(looks), mass.shape[1]), np.float32)
    np.add.at(look_mass, look_of(voxels.features, looks), mass)
    static, cubes = places_of(voxels, row, taxonomy, place_size)
    places, index = np.unique(cubes, axis=0, return_inverse=True)
    place_mass = np.bincount(
        index.reshape(-1), weights=voxels.entropy[static], minlength=len(places)
    )
    return Sketch(look_mass, places, place_mass.astype(np.float32))


def places_of(
    voxels: OpenVoxels, row: SweepRow, taxonomy: Taxonomy, place_size: float
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Where the static voxels are.

    Returns:
        static: [V] bool, the voxels that have a place: those whose likeliest class does not move;
            none where the sweep has no pose.
        cubes: [S, 3] int32, the cube of the map of each of the S static ones.
    """
    if row.T_world_lidar is None:
        return np.zeros(len(voxels.entropy), bool), np.zeros((0, 3), np.int32)
    movable = np.array([info.movable for info in taxonomy.classes])
    static = ~movable[voxels.probability.argmax(1)]
    in_map = transform_points(np.array(row.T_world_lidar), voxels.centroids[static])
    return static, np.floor(in_map / place_size).astype(np.int32)
