"""Information-oriented filtering, of sweeps instead of images: the few that together show most of
what a model leaves open.

A human who labels a sweep settles what it shows, here and in every other sweep that sees the same
place or something of the same look. So the elements to be covered are looks and places. A sweep
covers each of them to the share q that it shows of it, compared with the sweep that shows most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haskd_training.images.facility_location import greedy
from haskd_training.suggestions.sketches import Sketch

MAX_PLACES = 2**14
"""Cubes of the map that are compared, of all sweeps together; where there are more, cubes twice the
size are taken. 5,000 sweeps take 330 MB."""


@dataclass(frozen=True)
class Objective:
    """What is to be covered: K looks, then P places.

    Attributes:
        weights: [K + P], adding up to 1, see `make_objective`.
        quality: [F, K + P] float32, 0..1, of each sweep.
        looks: K.
        places: [P, 4] int64, number of the recording and cube of its map, sorted.
        halvings: how often the cubes were doubled in size.
    """

    weights: NDArray[np.float64]
    quality: NDArray[np.float32]
    looks: int
    places: NDArray[np.int64]
    halvings: int

    def covered_by(self, sweeps: Sequence[int]) -> NDArray[np.float32]:
        """[K + P] 0..1, what some of the sweeps cover together."""
        covered: NDArray[np.float32] = self.quality[list(sweeps)].max(0, initial=0.0)
        return covered

    def columns_of(self, recording: int, cubes: np.ndarray) -> NDArray[np.int64]:
        """[S] columns of `quality` of cubes [S, 3] of a recording's map, in their first size."""
        keys = _keys(recording, cubes, self.halvings)
        return self.looks + np.searchsorted(_as_records(self.places), _as_records(keys))


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


def make_objective(sketches: Sequence[Sketch], recordings: Sequence[int]) -> Objective:
    """Looks and places with their weights.

    A look weighs as much as all sweeps leave open of it, divided by the root of what they leave
    open of its class, as the training's loss weighs classes; a place as much as the sweep that
    shows most leaves open of it. All looks weigh as much as all places.

    Args:
        recordings: number of each sweep's recording: each has a map of its own.
    """
    by_class = np.array([each.look_mass for each in sketches], np.float32)  # [F, K, C]
    look_mass = by_class.sum(2)
    total = by_class.sum(0)
    own_class = total.argmax(1)
    class_mass = np.bincount(own_class, weights=total.sum(1), minlength=total.shape[1])
    look_weights = total.sum(1) / np.sqrt(np.maximum(class_mass, 1e-9))[own_class]
    places, place_mass, halvings = _place_mass(sketches, recordings)
    parts = [_shares(look_weights), _shares(place_mass.max(0, initial=0.0))]
    weights = np.concatenate(parts)
    return Objective(
        weights=weights / (weights.sum() or 1.0),
        quality=np.concatenate([_relative(look_mass), _relative(place_mass)], 1),
        looks=len(look_weights),
        places=places,
        halvings=halvings,
    )


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
    picks = greedy(weights, np.maximum(quality - covered, 0), max_count=max_count)
    chosen = []
    for sweep, gain in zip(picks.chosen, picks.gains, strict=True):
        added = np.maximum(quality[sweep] - covered, 0)
        fresh = np.divide(added, quality[sweep], out=np.zeros_like(added), where=quality[sweep] > 0)
        covered = np.maximum(covered, quality[sweep])
        look_mass = sketches[sweep].look_mass
        of_looks = weights[: objective.looks] * added[: objective.looks]
        shares = look_mass / np.maximum(look_mass.sum(1, keepdims=True), 1e-9)
        classes = _shares(of_looks @ shares)
        chosen.append(Choice(sweep, gain, float(weights @ covered), classes, fresh))
    return chosen


def _place_mass(
    sketches: Sequence[Sketch], recordings: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
    """Places [P, 4], at most `MAX_PLACES`, the mass [F, P] of each sweep in them, and how often the
    cubes were doubled."""
    halvings = 0
    while True:
        keys = [
            _keys(recording, each.places, halvings)
            for each, recording in zip(sketches, recordings, strict=True)
        ]
        places, index = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
        if len(places) <= MAX_PLACES:
            break
        halvings += 1
    mass = np.zeros((len(sketches), len(places)), np.float32)
    sweep = np.repeat(np.arange(len(sketches)), [len(each) for each in keys])
    np.add.at(
        mass, (sweep, index.reshape(-1)), np.concatenate([each.place_mass for each in sketches])
    )
    return places, mass, halvings


def _keys(recording: int, cubes: np.ndarray, halvings: int) -> NDArray[np.int64]:
    """[S, 4] of cubes [S, 3]."""
    coarse = cubes.astype(np.int64) >> halvings
    return np.concatenate([np.full((len(coarse), 1), recording), coarse], 1)


def _as_records(keys: np.ndarray) -> np.ndarray:
    """[S] of keys [S, 4], which compare as these do."""
    kind = [(name, np.int64) for name in ("recording", "x", "y", "z")]
    return np.ascontiguousarray(keys, np.int64).view(kind).reshape(-1)


def _relative(mass: np.ndarray) -> NDArray[np.float32]:
    """Mass [F, V] as a share of the largest of each column."""
    most = mass.max(0, initial=0.0)
    relative: NDArray[np.float32] = (mass / np.where(most > 0, most, 1)).astype(np.float32)
    return relative


def _shares(values: np.ndarray) -> NDArray[np.float64]:
    """Values as shares of their sum; zeros stay zeros."""
    shares: NDArray[np.float64] = values.astype(np.float64) / (float(values.sum()) or 1.0)
    return shares
