"""Which student a run hands out: the distilled one, or the one trained on labels alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from haskd_ros import model_file
from haskd_ros.model_header import ModelMetadata, ShippedStudent
from haskd_ros.models.network import SegmentationNetwork
from haskd_training.learning.baseline import TrainingResult

DISTILLED = "distilled"
LABELS_ALONE = "labels alone"


@dataclass(frozen=True)
class StudentChoice:
    """The student that ships.

    Attributes:
        ships: `DISTILLED` or `LABELS_ALONE`.
        model: its model file, not yet calibrated.
        validation_miou: by the students' names, 0..1; empty where there was nothing to compare on.
        sweeps: validation sweeps that they were compared on.
    """

    ships: str
    model: Path
    validation_miou: dict[str, float]
    sweeps: int

    @property
    def reason(self) -> str:
        """One sentence: which one ships, and by how much it is the better one."""
        if not self.validation_miou:
            return (
                "The distilled student ships, without a comparison: there are no validation sweeps."
            )
        of = {name: 100 * miou for name, miou in self.validation_miou.items()}
        on = f"on {self.sweeps} validation sweeps"
        lead = of[DISTILLED] - of[LABELS_ALONE]
        if lead == 0:
            return (
                f"The distilled student ships: {of[DISTILLED]:.1f} % mIoU {on}, as much as the one "
                "trained on labels alone, and of equals it is the distilled one."
            )
        if lead > 0:
            return (
                f"The distilled student ships: {of[DISTILLED]:.1f} % mIoU {on}, {lead:.1f} more "
                "than the one trained on labels alone."
            )
        return (
            f"The student trained on labels alone ships: {of[LABELS_ALONE]:.1f} % mIoU {on}, "
            f"{-lead:.1f} more than the distilled one."
        )

    def to_json(self) -> dict[str, Any]:
        """For the model file and for reports."""
        return {
            "student": self.ships,
            "validation_miou": self.validation_miou,
            "validation_sweeps": self.sweeps,
        }


def choose_student(
    baseline: TrainingResult, distilled: TrainingResult, sweeps: int
) -> StudentChoice:
    """The student of the higher mIoU on the validation sweeps. Of equals, and where there is
    nothing to compare on, the distilled one: it has learned from more.

    Args:
        baseline: trained on labels alone.
        sweeps: validation sweeps that both were scored on.
    """
    found = {DISTILLED: distilled.validation_miou, LABELS_ALONE: baseline.validation_miou}
    scores = {
        name: miou for name, miou in found.items() if miou is not None and not math.isnan(miou)
    }
    if not sweeps or len(scores) < len(found):
        return StudentChoice(DISTILLED, distilled.model, {}, 0)
    if scores[LABELS_ALONE] > scores[DISTILLED]:
        return StudentChoice(LABELS_ALONE, baseline.model, scores, sweeps)
    return StudentChoice(DISTILLED, distilled.model, scores, sweeps)


def shipped_student(choice: StudentChoice) -> tuple[SegmentationNetwork, ModelMetadata]:
    """The student that ships, not yet calibrated, with the reason in its provenance.

    Raises:
        ModelFileError: its file can't be read.
    """
    network, metadata = model_file.load(choice.model)
    provenance = replace(metadata.provenance, shipped=ShippedStudent(**choice.to_json()))
    return network, replace(metadata, provenance=provenance)
