"""Greedy maximisation of weighted facility location: the few of many views that show the most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Stop = Literal["K reached", "gain too small", "enough covered"]


@dataclass(frozen=True)
class GreedyResult:
    """The choice of `greedy`, and why it ended.

    Attributes:
        chosen: candidates, best first.
        gains: of each chosen one when it was chosen, as a share of the total weight.
        remaining_gains: [F] what each candidate would still have added at the end, as a share of
            the total weight; 0 for chosen ones.
        stop: why no other candidate was chosen.
    """

    chosen: list[int]
    gains: list[float]
    remaining_gains: np.ndarray
    stop: Stop


def greedy(
    weights: np.ndarray,
    quality: np.ndarray,
    *,
    max_count: int,
    min_gain: float = 0.0,
    target_coverage: float = 1.0,
) -> GreedyResult:
    """Choose candidates f one after the other, each time the one with the largest

        gain(f | S) = sum_v w(v) * max(0, q_f(v) - max_{g in S} q_g(v)).

    The objective is monotone submodular, so that the objective of the K chosen ones is at least (1
    - 1/e) of the best one (Nemhauser, Wolsey and Fisher, 1978). Of equal gains the first candidate
    is chosen.

    Args:
        weights: [V], >= 0.
        quality: [F, V], 0..1, how well candidate f shows v; 0 for not at all.
        max_count: K, the largest number of candidates to choose.
        min_gain: share of the total weight that a candidate has to add; one that adds nothing is
            never chosen.
        target_coverage: share of what all candidates together show at which it ends.
    """
    total = _total(weights)
    reachable = float(weights @ quality.max(0, initial=0.0)) / total
    best = np.zeros(quality.shape[1], quality.dtype)
    chosen: list[int] = []
    gains: list[float] = []
    while True:
        # Row by row: a row's sum is rounded alike wherever among the candidates it stands.
        remaining = np.array([_added(weights, row, best) for row in quality]) / total
        remaining[chosen] = 0.0
        if len(chosen) == max_count:
            return GreedyResult(chosen, gains, remaining, "K reached")
        if chosen and sum(gains) >= target_coverage * reachable:
            return GreedyResult(chosen, gains, remaining, "enough covered")
        pick = int(remaining.argmax()) if len(remaining) else -1
        if pick < 0 or remaining[pick] <= 0 or remaining[pick] < min_gain:
            return GreedyResult(chosen, gains, remaining, "gain too small")
        chosen.append(pick)
        gains.append(float(remaining[pick]))
        best = np.maximum(best, quality[pick])


def gains_in_order(weights: np.ndarray, quality: np.ndarray) -> list[float]:
    """What each candidate adds to those before it, as a share of the total weight; arguments as of
    `greedy`."""
    total = _total(weights)
    best = np.zeros(quality.shape[1], quality.dtype)
    gains = []
    for row in quality:
        gains.append(_added(weights, row, best) / total)
        best = np.maximum(best, row)
    return gains


def _added(weights: np.ndarray, row: np.ndarray, best: np.ndarray) -> float:
    """What a candidate with the qualities `row` [V] adds to `best` [V], the largest so far."""
    return float(weights @ np.maximum(row - best, 0))


def _total(weights: np.ndarray) -> float:
    """The total weight; 1 without any, so that a share of it is 0."""
    return float(weights.sum()) or 1.0
