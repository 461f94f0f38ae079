"""Information-oriented filtering, of sweeps instead of images: the few that together show most of
what a model leaves open.

A human who labels a sweep settles what it shows, here and in every other sweep that sees the same
place or something of the same look. So the elements to be covered are looks and places. A sweep
covers each of them to the share q that it shows of it, compared with the sweep that shows most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haskd_training.images.facility_location import greedy
from haskd_training.suggestions.sketches import LookTotals, Sketch

MAX_PLACES = 2**14
"""Places that are compared at once, of all sweeps together; where there are more, the cubes of the
map are doubled in size."""


@dataclass(frozen=True)
class Grid:
    """Cubes of the recordings' maps as whole numbers, one a cube.

    Attributes:
        lowest: [3] int64, corner of all cubes, in their first size.
        extent: numbers of cubes along each axis.
        halvings: how often the cubes were doubled in size.
    """

    lowest: NDArray[np.int64]
    extent: tuple[int, ...]
    halvings: int

    def keys(self, recording: int, cubes: np.ndarray) -> NDArray[np.int64]:
        """[S] of cubes [S, 3] of a recording's map, in their first size."""
        found = np.full(len(cubes), recording, np.int64)
        for axis, size in enumerate(self.extent):
            coordinate = cubes[:, axis].astype(np.int64) - self.lowest[axis]
            found = found * size + (coordinate >> self.halvings)
        return found


@dataclass(frozen=True)
class Objective:
    """What is to be covered: K looks, then P places.

    Attributes:
        weights: [K + P], adding up to 1, see `make_objective`.
        quality: [F, K + P] float32, 0..1, of each sweep.
        looks: K.
        grid: of the places.
        places: [P] int64, their keys in the grid, ascending.
    """

    weights: NDArray[np.float64]
    quality: NDArray[np.float32]
    looks: int
    grid: Grid
    places: NDArray[np.int64]

    def covered_by(self, sweeps: Sequence[int]) -> NDArray[np.float32]:
        """[K + P] 0..1, what some of the sweeps cover together."""
        covered: NDArray[np.float32] = self.quality[list(sweeps)].max(0, initial=0.0)
        return covered

    def columns_of(self, recording: int, cubes: np.ndarray) -> NDArray[np.int64]:
        """[S] columns of `quality` of cubes [S, 3] of a recording's map, in their first size."""
        found: NDArray[np.int64] = np.searchsorted(self.places, self.grid.keys(recording, cubes))
        return self.looks + found


@dataclass(frozen=True)
class Choice:
    """A chosen sweep.

    Attributes:
        sweep: its index among the sketches.
        gain: what it adds, as a share of all that is open.
        covered: share that is covered by it, those before it, and the labelled ones.
        classes: [C] share of each class in the looks that it adds.
        fresh: [K + P] float32, 0..1: of what it shows of each look and place, the share that none
            before it covers.
    """

    sweep: int
    gain: float
    covered: float
    classes: NDArray[np.float64]
    fresh: NDArray[np.float32]


def make_objective(
    sketches: Sequence[Sketch], recordings: Sequence[int], totals: LookTotals | None = None
) -> Objective:
    """Looks and places with their weights.

    A look weighs as much as all sweeps leave open of it, divided by the root of what they leave
    open of its class, as the training's loss weighs classes; a place as much as the sweep that
    shows most leaves open of it. All looks weigh as much as all places.

    Args:
        recordings: number of each sweep's recording: each has a map of its own.
        totals: of all sweeps, where these are some of them; None: these are all.
    """
    if totals is None:
        totals = LookTotals.of(sketches)
    total = totals.by_class
    looks, own_class = len(total), total.argmax(1)
    class_mass = np.bincount(own_class, weights=total.sum(1), minlength=total.shape[1])
    look_weights = total.sum(1) / np.sqrt(np.maximum(class_mass, 1e-9))[own_class]
    grid = _grid(sketches, recordings)
    keys = [grid.keys(number, each.places) for number, each in zip(recordings, sketches)]
    places = np.unique(np.concatenate([np.unique(own) for own in keys]))
    mass = np.zeros((len(sketches), looks + len(places)), np.float32)
    for row, own, each in zip(mass, keys, sketches, strict=True):
        row[:looks] = each.look_mass.sum(1)
        np.add.at(row, looks + np.searchsorted(places, own), each.place_mass)
    most = mass.max(0, initial=0.0)
    most[:looks] = totals.most
    weights = np.concatenate([_shares(look_weights), _shares(most[looks:])])
    mass /= np.where(most > 0, most, 1)
    return Objective(weights / (weights.sum() or 1.0), mass, looks, grid, places)


def choose(
    objective: Objective,
    sketches: Sequence[Sketch],
    *,
    labelled: Sequence[int],
    max_count: int,
) -> list[Choice]:
    """At most `max_count` sweeps, best first; fewer where the others would add nothing.

    Args:
        objective: of the sketches.
        labelled: indices of sweeps that have labels already: what they show is covered.
    """
    weights, quality = objective.weights, objective.quality
    covered = objective.covered_by(labelled)
    # max(0, q - covered) in place of q: then the gain over an empty choice is that over `covered`.
    left = quality - covered
    picks = greedy(weights, np.maximum(left, 0, out=left), max_count=max_count)
    return as_choices(objective, sketches, picks.chosen, labelled=labelled)


def as_choices(
    objective: Objective, sketches: Sequence[Sketch], chosen: Sequence[int], labelled: Sequence[int]
) -> list[Choice]:
    """What each of some sweeps adds to the labelled ones and those before it; arguments as of
    `choose`."""
    weights, quality = objective.weights, objective.quality
    covered = objective.covered_by(labelled)
    choices = []
    for sweep in chosen:
        added = np.maximum(quality[sweep] - covered, 0)
        gain = float(weights @ added)
        fresh = np.divide(added, quality[sweep], out=np.zeros_like(added), where=quality[sweep] > 0)
        covered = np.maximum(covered, quality[sweep])
        look_mass = sketches[sweep].look_mass
        of_looks = weights[: objective.looks] * added[: objective.looks]
        shares = look_mass / np.maximum(look_mass.sum(1, keepdims=True), 1e-9)
        classes = _shares(of_looks @ shares)
        choices.append(Choice(sweep, gain, float(weights @ covered), classes, fresh))
    return choices


def _grid(sketches: Sequence[Sketch], recordings: Sequence[int]) -> Grid:
    """The finest grid in which at most `MAX_PLACES` cubes hold a place."""
    cubes = [each.places for each in sketches]
    ends = [end for own in cubes if len(own) for end in (own.min(0), own.max(0))]
    corners = np.array(ends or [(0, 0, 0)], np.int64)
    lowest, span = corners.min(0), np.ptp(corners, axis=0)
    halvings = 0
    while True:
        grid = Grid(lowest, tuple(int(size) + 1 for size in span >> halvings), halvings)
        if math.prod(grid.extent) * (max(recordings) + 1) < 2**63:
            keys = []
            for number, recording in enumerate(recordings):
                # One cube of each key is enough for the coarser grids, too.
                own, first = np.unique(grid.keys(recording, cubes[number]), return_index=True)
                cubes[number] = cubes[number][first]
                keys.append(own)
            if len(np.unique(np.concatenate(keys))) <= MAX_PLACES:
                return grid
        halvings += 1


def _shares(values: np.ndarray) -> NDArray[np.float64]:
    """Values as shares of their sum; zeros stay zeros."""
    shares: NDArray[np.float64] = values.astype(np.float64) / (float(values.sum()) or 1.0)
    return shares
