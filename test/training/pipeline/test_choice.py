"""Which student ships, by scores."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from haskd_training.learning.baseline import TrainingResult
from haskd_training.pipeline.choice import StudentChoice, choose_student


def choice(labels_alone: float | None, distilled: float | None, sweeps: int = 6) -> StudentChoice:
    return choose_student(
        TrainingResult(Path("alone.safetensors"), 1, labels_alone, 1.0),
        TrainingResult(Path("distilled.safetensors"), 1, distilled, 1.0),
        sweeps,
    )


def test_the_better_one_ships_and_the_reason_says_by_how_much() -> None:
    found = choice(0.612, 0.625)
    assert (found.ships, found.model.name) == ("distilled", "distilled.safetensors")
    assert found.reason == (
        "The distilled student ships: 62.5 % mIoU on 6 validation sweeps, 1.3 more than the one "
        "trained on labels alone."
    )
    found = choice(0.625, 0.612)
    assert (found.ships, found.model.name) == ("labels alone", "alone.safetensors")
    assert found.reason == (
        "The student trained on labels alone ships: 62.5 % mIoU on 6 validation sweeps, 1.3 more "
        "than the distilled one."
    )
    assert found.to_json() == {
        "student": "labels alone",
        "validation_miou": {"distilled": 0.612, "labels alone": 0.625},
        "validation_sweeps": 6,
    }


def test_of_equals_the_distilled_one_ships() -> None:
    found = choice(0.5, 0.5)
    assert found.ships == "distilled"
    assert "as much as the one trained on labels alone" in found.reason


@pytest.mark.parametrize(
    ("labels_alone", "distilled", "sweeps"),
    [(None, None, 0), (0.9, 0.1, 0), (math.nan, math.nan, 3), (0.9, math.nan, 3)],
)
def test_without_a_comparison_the_distilled_one_ships(
    labels_alone: float | None, distilled: float | None, sweeps: int
) -> None:
    found = choice(labels_alone, distilled, sweeps)
    assert found.ships == "distilled"
    assert "without a comparison" in found.reason
    assert found.to_json()["validation_miou"] == {}
