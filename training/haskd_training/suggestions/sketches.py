"""What a sweep leaves open, in little: entropy by look and by place.

Thousands of sweeps are compared by it, so it must be small, and about the same things in each of
them: a look is a cell of the network's features, a place a cube of the map.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haskd_ros.taxonomy import Taxonomy
from haskd_training.data.caches.rows import SweepRow
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


@dataclass
class LookTotals:
    """What all sweeps leave open by look, added up one by one.

    Attributes:
        by_class: [K, C] float64, their sum.
        most: [K] float32, of the sweep that leaves most open of it.
        labelled: [K, C] float32, of the labelled sweep that leaves most open of it.
    """

    by_class: NDArray[np.float64]
    most: NDArray[np.float32]
    labelled: NDArray[np.float32]

    @classmethod
    def none(cls, looks: int, classes: int) -> LookTotals:
        """Of no sweep."""
        return cls(
            np.zeros((looks, classes)),
            np.zeros(looks, np.float32),
            np.zeros((looks, classes), np.float32),
        )

    @classmethod
    def of(cls, sketches: Sequence[Sketch]) -> LookTotals:
        """Of some sweeps, of none of which the labels count."""
        totals = cls.none(*sketches[0].look_mass.shape)
        for each in sketches:
            totals.add(each)
        return totals

    def add(self, one: Sketch, *, labelled: bool = False) -> None:
        """Count one more sweep."""
        self.by_class += one.look_mass
        np.maximum(self.most, one.look_mass.sum(1), out=self.most)
        if labelled:
            self.labelled = _larger_rows(self.labelled, one.look_mass)


def merged(sketches: Iterable[Sketch]) -> Sketch:
    """What the best of some sweeps of one recording shows of each look and place."""
    first, *others = sketches
    look_mass = first.look_mass
    for each in others:
        look_mass = _larger_rows(look_mass, each.look_mass)
    cubes = np.concatenate([first.places, *(each.places for each in others)])
    places, index = np.unique(cubes, axis=0, return_inverse=True)
    most = np.zeros(len(places), np.float32)
    mass = np.concatenate([first.place_mass, *(each.place_mass for each in others)])
    np.maximum.at(most, index.reshape(-1), mass)
    return Sketch(look_mass, places, most)


def _larger_rows(one: np.ndarray, other: np.ndarray) -> NDArray[np.float32]:
    """Of each row the one with the larger sum."""
    larger: NDArray[np.float32] = np.where((one.sum(1) >= other.sum(1))[:, None], one, other)
    return larger


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
