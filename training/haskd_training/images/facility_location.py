"""Which few of many views show the most: greedy maximisation of weighted facility location."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Stop = Literal["K reached", "gain too small", "enough covered"]


@dataclass(frozen=True)
class Picks:
    """What greedy chose, and why it chose no more.

    Attributes:
        chosen: candidates, best first.
        gains: of each chosen one when it was chosen, as a share of the total weight.
        left: [F] what each candidate would still have added at the end; 0 for chosen ones.
        stop: why the rest was left.
    """

    chosen: list[int]
    gains: list[float]
    left: np.ndarray
    stop: Stop


def greedy(
    weights: np.ndarray,
    quality: np.ndarray,
    most: int,
    min_gain: float = 0.0,
    enough: float = 1.0,
) -> Picks:
    """Choose candidates f one after the other, each time the one with the largest

        gain(f | S) = sum_v w(v) * max(0, q_f(v) - max_{g in S} q_g(v)).

    The objective is monotone submodular, so that the choice of K is worth at least (1 - 1/e) of the
    best one (Nemhauser, Wolsey and Fisher, 1978). Of equal gains the first candidate's wins.

    Args:
        weights: [V], >= 0.
        quality: [F, V], 0..1, how well candidate f shows v; 0 for not at all.
        most: K, the largest number of candidates to choose.
        min_gain: share of the total weight that a candidate has to add; one that adds nothing is
            never chosen.
        enough: share of what all candidates together show at which it ends.
    """
    total = _total(weights)
    reachable = float(weights @ quality.max(0, initial=0.0)) / total
    best = np.zeros(quality.shape[1], quality.dtype)
    chosen: list[int] = []
    gains: list[float] = []
    while True:
        # Row by row: a row's sum is rounded alike wherever among the candidates it stands.
        left = np.array([_added(weights, row, best) for row in quality]) / total
        left[chosen] = 0.0
        if len(chosen) == most:
            return Picks(chosen, gains, left, "K reached")
        if chosen and sum(gains) >= enough * reachable:
            return Picks(chosen, gains, left, "enough covered")
        pick = int(left.argmax()) if len(left) else -1
        if pick < 0 or left[pick] <= 0 or left[pick] < min_gain:
            return Picks(chosen, gains, left, "gain too small")
        chosen.append(pick)
        gains.append(float(left[pick]))
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
    """The total weight; nothing to show has no weight, and a share of it is 0."""
    return float(weights.sum()) or 1.0
