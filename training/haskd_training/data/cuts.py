"""Where recordings are cut: into blocks of time by role, into parts to be trained out of fold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import pairwise

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.rows import SweepRow
from haskd_training.data.sweep_ref import SweepRef, all_sweeps

LARGEST_PART = 1.5
"""Times its share of the sweeps: what has not learned from a larger part has learned too little."""


def split_by_time(
    caches: Sequence[Cache], fractions: dict[str, float]
) -> dict[str, list[SweepRef]]:
    """Cut the labelled sweeps of every recording into one contiguous block per role.

    Neighbouring sweeps show nearly the same scene, so a random split would test on what was
    trained on. The blocks follow each other in time in the order of `fractions`.

    Args:
        fractions: share of the labelled sweeps by role, that of training first; they add up to 1.

    Returns:
        Sweeps by role, in time order within a recording; under "unlabelled" those without labels
        that lie before or after the held-out blocks. Within these they are left out: they show
        nearly what the held-out sweeps show.

    Raises:
        InputError: fractions that are negative or don't add up to 1.
    """
    if any(share < 0 for share in fractions.values()) or not math.isclose(
        sum(fractions.values()), 1.0, abs_tol=1e-6
    ):
        raise InputError(f"fractions of a split must be positive and add up to 1: {fractions}")
    in_time = _by_recording(caches, all_sweeps(caches))
    labelled = [[ref for ref in refs if any(_row(caches, ref).class_counts)] for refs in in_time]
    roles: dict[str, list[SweepRef]] = {role: [] for role in (*fractions, "unlabelled")}
    training = next(iter(fractions))
    sizes_of_all = block_sizes([len(refs) for refs in labelled], list(fractions.values()))
    for refs, own, sizes in zip(in_time, labelled, sizes_of_all, strict=True):
        role_of = dict(zip(own, np.repeat(list(fractions), sizes).tolist(), strict=True))
        for ref, role in role_of.items():
            roles[role].append(ref)
        # A sweep lies in the block of the labelled one that follows; behind the last one nothing is
        # held out.
        block, without_labels = training, []
        for ref in reversed(refs):
            block = role_of.get(ref, block)
            if ref not in role_of and block == training:
                without_labels.append(ref)
        roles["unlabelled"] += reversed(without_labels)
    return roles


def cut_in_parts(
    caches: Sequence[Cache], sweeps: Sequence[SweepRef], count: int
) -> tuple[tuple[SweepRef, ...], ...]:
    """Cut sweeps into parts of different places: of whole recordings, in their order, where none
    of the parts is empty then, or larger than `LARGEST_PART`; otherwise wherever as many sweeps
    follow each other in time.

    Raises:
        InputError: fewer sweeps than parts.
    """
    if len(sweeps) < count:
        raise InputError(
            f"{len(sweeps)} labelled sweeps to learn from are fewer than split.folds={count} parts"
        )
    in_time = _by_recording(caches, sweeps)
    lengths = np.array([len(refs) for refs in in_time])
    middles = np.cumsum(lengths) - lengths / 2
    part_of = (middles * count / len(sweeps)).astype(int)
    sizes = np.bincount(part_of, lengths, minlength=count)
    if sizes.min() > 0 and sizes.max() <= LARGEST_PART * len(sweeps) / count:
        blocks = [(int(part), refs) for part, refs in zip(part_of, in_time, strict=True)]
    else:
        every = [ref for refs in in_time for ref in refs]
        blocks = list(enumerate(_blocks(every, count)))
    return tuple(
        tuple(ref for part, refs in blocks if part == number for ref in refs)
        for number in range(count)
    )


def _by_recording(caches: Sequence[Cache], sweeps: Sequence[SweepRef]) -> list[list[SweepRef]]:
    """The sweeps of each recording in time order."""
    recordings: dict[tuple[int, str], list[SweepRef]] = {}
    for ref in sweeps:
        recordings.setdefault((ref.cache, _row(caches, ref).recording), []).append(ref)
    return [
        sorted(refs, key=lambda ref: _row(caches, ref).stamp_ns) for refs in recordings.values()
    ]


def _row(caches: Sequence[Cache], ref: SweepRef) -> SweepRow:
    return caches[ref.cache].sweeps[ref.sweep]


def _blocks(refs: Sequence[SweepRef], count: int) -> list[list[SweepRef]]:
    edges = np.linspace(0, len(refs), count + 1).round().astype(int)
    return [list(refs[start:end]) for start, end in pairwise(edges)]


def block_sizes(counts: Sequence[int], shares: Sequence[float]) -> list[list[int]]:
    """How many sweeps of each recording a role gets.

    Every recording is cut at the shares, rounded. Of short ones nothing may be left for a role
    then: where all recordings together give it less than its share, or none, it takes single sweeps
    from the first role, of recordings that have most left. Where that has but one, a role without
    any takes one from whoever has most.

    Args:
        counts: sweeps of each recording.
        shares: of each role; they add up to 1.

    Returns:
        [recordings][roles]; as many as there are where they are enough to give every role one.
    """
    if not counts:
        return []
    edges = np.cumsum(shares)
    sizes = [np.diff([round(edge * count) for edge in edges], prepend=0) for count in counts]
    totals = np.sum(sizes, axis=0)
    # Those that have most left come first; of equal ones, the first.
    donors = [(-int(own[0]), number) for number, own in enumerate(sizes)]
    heapify(donors)
    for role, share in enumerate(shares[1:], 1):
        least = max(1, math.floor(share * sum(counts))) if share else 0
        while totals[role] < least and totals[0] > 1:
            left, number = donors[0]
            heapreplace(donors, (left + 1, number))
            for own in (sizes[number], totals):
                own[0] -= 1
                own[role] += 1
    for role, share in enumerate(shares):
        giver = int(totals.argmax())
        if share and not totals[role] and totals[giver] > 1:
            number = max(range(len(sizes)), key=lambda number: sizes[number][giver])
            for own in (sizes[number], totals):
                own[giver] -= 1
                own[role] += 1
    return [[int(size) for size in own] for own in sizes]
