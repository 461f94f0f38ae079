"""How far a model's probabilities and its entropy tell where it is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from haskd_ros import model_file
from haskd_ros.segmenter import Segmenter
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.evaluation.scoring import Answers, pooled, robot_answers
from haskd_training.evaluation.temperature import Reliability, reliability

LEVELS = 200
"""Of entropy, of equal width from 0 to log C."""


@dataclass(frozen=True)
class Trust:
    """Labelled points that a model labels, by what it says of itself.

    Attributes:
        reliability: of its probabilities.
        entropy: [2, LEVELS] wrong and right points by entropy.
    """

    reliability: Reliability
    entropy: np.ndarray

    @property
    def error_auroc(self) -> float:
        """How likely a wrong point has a higher entropy than a right one, half of the ties counted;
        NaN where all are right or all wrong."""
        wrong, right = self.entropy
        if not wrong.any() or not right.any():
            return float("nan")
        lower = np.cumsum(right) - right / 2
        return float((wrong * lower).sum() / (wrong.sum() * right.sum()))


def trust_of(said: Answers, classes: int) -> Trust:
    """Of a model of that many classes."""
    level = (said.entropy / np.log(classes) * LEVELS).astype(np.int64).clip(0, LEVELS - 1)
    counts = np.bincount(said.right.astype(np.int64) * LEVELS + level, minlength=2 * LEVELS)
    return Trust(reliability(said.probability, said.right), counts.reshape(2, LEVELS))


def together(parts: Sequence[Trust]) -> Trust:
    """Of all points of the parts."""
    entropy = np.sum([part.entropy for part in parts], axis=0)
    return Trust(pooled([part.reliability for part in parts]), entropy)


def trust_in(
    model: Path,
    temperature: float,
    split: Split,
    refs: Sequence[SweepRef],
    device: torch.device,
    progress: Progress = no_progress,
) -> Trust:
    """Of a model as a robot runs it at a temperature, on the labelled points of some sweeps.

    Raises:
        ModelFileError: not a model.
    """
    network, metadata = model_file.load(model)
    segmenter = Segmenter(network, replace(metadata, temperature=temperature), str(device))
    parts = []
    for number, ref in enumerate(refs, 1):
        parts.append(trust_of(robot_answers(segmenter, split, ref), len(split.taxonomy)))
        progress(number, len(refs))
    return together(parts)
