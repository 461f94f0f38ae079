"""A sweep of one of several caches, and which of its points are within a model's range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from haskd_ros.clouds.ranges import squared_range


@dataclass(frozen=True, slots=True)
class SweepRef:
    """A sweep by its cache's index among several caches, and its own index in that cache."""

    cache: int
    sweep: int


def all_sweeps(caches: Sequence[Sized]) -> list[SweepRef]:
    """Every sweep of several caches, in their order."""
    return [SweepRef(number, i) for number, cache in enumerate(caches) for i in range(len(cache))]


class Run(NamedTuple):
    """Sweeps of a cache that follow each other, from `first` to the one before `end`."""

    cache: int
    first: int
    end: int


def runs(refs: Sequence[SweepRef]) -> Iterator[Run]:
    """The sweeps in their order: a few runs a recording, where there may be a million sweeps."""
    run: Run | None = None
    for ref in refs:
        if run is not None and (ref.cache, ref.sweep) == (run.cache, run.end):
            run = run._replace(end=ref.sweep + 1)
            continue
        if run is not None:
            yield run
        run = Run(ref.cache, ref.sweep, ref.sweep + 1)
    if run is not None:
        yield run


def within_range(points: np.ndarray, max_range: float) -> NDArray[np.bool_]:
    """[N] bool: whether points [N, >= 3] are at most `max_range` m from the sensor."""
    near: NDArray[np.bool_] = squared_range(points) <= max_range**2
    return near
