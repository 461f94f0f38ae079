"""Suggestions among more sweeps than can be compared at once: the greedy choice in rounds.

Each share of the sweeps, of whole recordings where they fit, gives its greedy choice, and of all
that were given the greedy choice is made again: GreeDi (Mirzasoleiman et al., "Distributed
Submodular Maximization", NeurIPS 2013). Of m shares the better of that and of the best share's own
choice is worth at least (1 - 1/e) / min(m, K) of the best K sweeps, and next to what one greedy
choice would be worth in practice (docs/scaling.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from haskd_training.suggestions.choice import (
    Choice,
    Objective,
    as_choices,
    choose,
    make_objective,
)
from haskd_training.suggestions.sketches import LookTotals, Sketch, merged


@dataclass(frozen=True)
class Suggested:
    """A choice among all sweeps, and what it was measured by.

    Attributes:
        objective: of the sweeps that were compared last.
        choices: best first; `sweep` is an index of all sweeps.
        covered: share that the labelled sweeps cover, 0..1.
    """

    objective: Objective
    choices: list[Choice]
    covered: float


@dataclass(frozen=True)
class Pool:
    """All sweeps.

    Attributes:
        read: the sketch of a sweep.
        recordings: number of each sweep's recording; those of one recording follow each other.
        labelled: those that have labels.
        totals: of all sweeps.
    """

    read: Callable[[int], Sketch]
    recordings: Sequence[int]
    labelled: Collection[int]
    totals: LookTotals

    def compare(
        self,
        sweeps: Sequence[int],
        known: Sequence[tuple[int, Sketch]],
        max_count: int,
        earlier: Sequence[Sequence[int]] = (),
    ) -> Suggested:
        """The greedy choice among some sweeps.

        Args:
            known: recording and sketch of what labels cover.
            earlier: choices among parts of them, the best of which is taken where it is better.
        """
        sketches = [self.read(sweep) for sweep in sweeps]
        every = [*sketches, *(one for _, one in known)]
        numbers = [self.recordings[sweep] for sweep in sweeps]
        objective = make_objective(every, [*numbers, *(number for number, _ in known)], self.totals)
        covered = [*range(len(sketches), len(every))]
        best = choose(objective, every, labelled=covered, max_count=max_count)
        place_of = {sweep: place for place, sweep in enumerate(sweeps)}
        for parts in earlier:
            places = [place_of[sweep] for sweep in parts]
            other = as_choices(objective, every, places, labelled=covered)
            best = max(best, other, key=_worth)
        return Suggested(
            objective,
            [replace(choice, sweep=sweeps[choice.sweep]) for choice in best],
            float(objective.weights @ objective.covered_by(covered)),
        )

    def choose(self, max_count: int, compared: int) -> Suggested:
        """At most `max_count` sweeps without labels, best first.

        Args:
            compared: sweeps at most that are held at once; at least twice `max_count` are.
        """
        at_once = max(compared, 2 * max_count)
        if len(self.recordings) <= at_once:
            everything = range(len(self.recordings))
            return self.compare(self._open(everything), self._known(everything), max_count)
        given = [
            self._best_of(share, [*self._known(share), self._looks_known], max_count)
            for share in shares(range(len(self.recordings)), self.recordings, at_once)
        ]
        while sum(map(len, given)) > at_once:
            left = sorted(sweep for own in given for sweep in own)
            given = [
                self._best_of(share, self._merged_known(share), max_count)
                for share in shares(left, self.recordings, at_once)
            ]
        left = sorted(sweep for own in given for sweep in own)
        return self.compare(left, self._merged_known(left), max_count, given)

    def _best_of(
        self, share: Sequence[int], known: Sequence[tuple[int, Sketch]], max_count: int
    ) -> list[int]:
        sweeps = self._open(share)
        if not sweeps:
            return []
        return [choice.sweep for choice in self.compare(sweeps, known, max_count).choices]

    def _open(self, sweeps: Sequence[int]) -> list[int]:
        return [sweep for sweep in sweeps if sweep not in self.labelled]

    def _known(self, sweeps: Sequence[int]) -> list[tuple[int, Sketch]]:
        own = [sweep for sweep in sweeps if sweep in self.labelled]
        return [(self.recordings[sweep], self.read(sweep)) for sweep in own]

    def _merged_known(self, sweeps: Sequence[int]) -> list[tuple[int, Sketch]]:
        """What labels cover in the recordings of some sweeps, and of looks anywhere."""
        wanted = {self.recordings[sweep] for sweep in sweeps}
        own = (sweep for sweep in sorted(self.labelled) if self.recordings[sweep] in wanted)
        by_recording = groupby(own, key=lambda sweep: self.recordings[sweep])
        known = [(number, merged(map(self.read, sweeps))) for number, sweeps in by_recording]
        return [*known, self._looks_known]

    @property
    def _looks_known(self) -> tuple[int, Sketch]:
        nowhere = np.zeros((0, 3), np.int32), np.zeros(0, np.float32)
        return 0, Sketch(self.totals.labelled, *nowhere)


def shares(sweeps: Sequence[int], recordings: Sequence[int], most: int) -> Iterator[list[int]]:
    """The sweeps in their order in shares of at most `most`: of whole recordings, but for those
    that are longer.

    Args:
        recordings: number of each sweep's recording, by sweep.
    """
    share: list[int] = []
    for _, group in groupby(sweeps, key=lambda sweep: recordings[sweep]):
        own = list(group)
        if share and len(share) + len(own) > most:
            yield share
            share = []
        while len(own) > most:
            yield own[:most]
            own = own[most:]
        share += own
    if share:
        yield share


def _worth(choices: Sequence[Choice]) -> float:
    return choices[-1].covered if choices else 0.0
