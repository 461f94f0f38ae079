"""Which snapshot of a run on labels is adept at which class.

Snapshots as experts, each in the classes where it is adept, are the idea of Wu, Hou et al.
(arXiv 2606.25278), whose abstract alone was at hand. The rule by which an expert is chosen is this
project's own: the best lower bound of the lead in IoU over the last snapshot, under resampling of
whole calibration scans; where no snapshot's lead is sure, the mean of all is the expert.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from haskd_ros.errors import InputError
from haskd_training.metrics.confusion import iou

_LEAST_SCANS, _ENOUGH_SCANS = 2, 20


class ExpertiseConfig(BaseModel):
    """Where the experts come from, and how sure the choice of one must be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pool: Literal["baseline", "cyclic"] = Field(
        "baseline",
        description="the run on labels that leaves the snapshots behind; cyclic: a second one, of "
        "student.loop.cycles falling learning rates, whose snapshots differ more",
    )
    resamples: int = Field(1000, ge=200, description="bootstrap resamples of whole scans")
    min_scans: int | None = Field(
        None,
        ge=1,
        description="calibration scans in which a class must be seen to get an expert of its own; "
        "none: half of them, but 2 to 20",
    )
    seed: int = Field(0, ge=0, description="of the resampling")

    def scans_to_be_seen_in(self, scans: int) -> int:
        """`min_scans`, of so many calibration scans where it is to follow their number.

        The interval of the lead is what keeps a lucky snapshot from being an expert; of few scans
        it is wide by itself. It needs two scans to have a width at all, and a class that most
        scans don't show has its interval from the few that do.
        """
        if self.min_scans is not None:
            return self.min_scans
        return min(max(_LEAST_SCANS, math.ceil(scans / 2)), _ENOUGH_SCANS)


@dataclass(frozen=True)
class ClassExpertise:
    """How good the snapshots are at one class; IoU 0..1, NaN where no calibration scan shows it.

    Attributes:
        name: of the class.
        scans: calibration scans that show it.
        iou: of each snapshot over all calibration scans.
        mean, deviation: of that IoU over the resamples.
        iou_of_mean: of the snapshots' mean prediction.
        expert: number of the snapshot that is the class's expert; None: the mean of all is.
        reason: why.
    """

    name: str
    scans: int
    iou: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    iou_of_mean: float
    expert: int | None
    reason: str

    @property
    def expert_iou(self) -> float:
        """IoU of the class's expert."""
        return self.iou_of_mean if self.expert is None else self.iou[self.expert]


@dataclass(frozen=True)
class ExpertiseTable:
    """The expert of each class.

    Attributes:
        snapshots: K names, oldest first.
        classes: C rows, in the taxonomy's order.
    """

    snapshots: tuple[str, ...]
    classes: tuple[ClassExpertise, ...]

    @property
    def experts(self) -> tuple[int | None, ...]:
        """[C] each class's expert; None for the mean of all."""
        return tuple(row.expert for row in self.classes)

    def expert_iou(self) -> Tensor:
        """[C] float32, what `expert_weights` compares the student with."""
        return torch.tensor([row.expert_iou for row in self.classes])

    def owners(self, unlabelled: bool = False) -> list[int]:
        """The snapshots that must be loaded: those that own a class, or all of them where the mean
        is needed: for a class without an expert, or for unlabelled points."""
        if unlabelled or None in self.experts:
            return list(range(len(self.snapshots)))
        return sorted({expert for expert in self.experts if expert is not None})

    def with_random_experts(self, seed: int) -> ExpertiseTable:
        """The same with experts drawn at random, to measure what the choice itself is worth."""
        drawn = np.random.default_rng(seed).integers(len(self.snapshots), size=len(self.classes))
        rows = (
            replace(row, expert=int(expert), reason=f"drawn at random, seed {seed}")
            for row, expert in zip(self.classes, drawn)
        )
        return replace(self, classes=tuple(rows))

    def to_json(self) -> dict[str, Any]:
        """Plain values; null for a score that is not a number."""

        def plain(value: Any) -> Any:
            if isinstance(value, tuple):
                return [plain(item) for item in value]
            return None if isinstance(value, float) and math.isnan(value) else value

        rows = [{key: plain(value) for key, value in asdict(row).items()} for row in self.classes]
        return {"snapshots": list(self.snapshots), "classes": rows}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ExpertiseTable:
        """The inverse of `to_json`."""

        def number(value: float | None) -> float:
            return math.nan if value is None else value

        def row(entry: dict[str, Any]) -> ClassExpertise:
            per_snapshot = {
                key: tuple(map(number, entry[key])) for key in ("iou", "mean", "deviation")
            }
            entry = entry | per_snapshot | {"iou_of_mean": number(entry["iou_of_mean"])}
            return ClassExpertise(**entry)

        return cls(tuple(document["snapshots"]), tuple(map(row, document["classes"])))

    def score_rows(self) -> list[list[str]]:
        """By class: its name, the scans that show it, the IoU of each snapshot in percent with its
        deviation, and that of their mean."""
        return [
            [
                row.name,
                str(row.scans),
                *(_percent(*pair) for pair in zip(row.iou, row.deviation)),
                _percent(row.iou_of_mean),
            ]
            for row in self.classes
        ]

    def choice_rows(self) -> list[list[str]]:
        """By class: its name, its expert, and why."""
        return [
            [
                row.name,
                "mean of all" if row.expert is None else self.snapshots[row.expert],
                row.reason,
            ]
            for row in self.classes
        ]


def expertise(
    counts: np.ndarray,
    counts_of_mean: np.ndarray,
    snapshots: Sequence[str],
    classes: Sequence[str],
    config: ExpertiseConfig,
) -> ExpertiseTable:
    """Choose each class's expert: the snapshot whose lead over the last one has the best lower
    bound, mean less one standard deviation over resamples of whole scans, if that is above 0.

    The lead, because a scan that is hard for one snapshot is hard for all: what they differ in is
    known better than how good each of them is.

    Args:
        counts: [K, S, C, C + 1] of K snapshots on S calibration scans, see `confusion`.
        counts_of_mean: [S, C, C + 1] of the snapshots' mean prediction.
        snapshots: K names, oldest first.
        classes: C names.

    Raises:
        InputError: there is no calibration scan.
    """
    scans = counts.shape[1]
    if scans == 0:
        raise InputError(
            "no labelled sweep to calibrate on: the snapshots can't be compared "
            "(raise split.calibration or give a calibration cache)"
        )
    generator = np.random.default_rng(config.seed)
    # How often each scan is drawn; the same draws for every snapshot, so that luck is shared.
    draws = generator.multinomial(scans, np.full(scans, 1 / scans), size=config.resamples)
    whole = np.stack([iou(each) for each in counts.sum(1)])
    of_mean = iou(counts_of_mean.sum(0))
    # Masked, not NaN: a class that no scan shows has neither mean nor deviation.
    resampled = np.ma.masked_invalid([_resampled_iou(each, draws) for each in counts])
    mean, deviation, lead, doubt = (
        x.filled(np.nan)
        for each in (resampled, resampled - resampled[-1])
        for x in (each.mean(1), each.std(1))
    )
    seen = (counts[0].sum(2) > 0).sum(0)
    least = config.scans_to_be_seen_in(scans)
    rows = []
    for c, name in enumerate(classes):
        expert, reason = _choose(int(seen[c]), lead[:, c], doubt[:, c], least, snapshots)
        rows.append(
            ClassExpertise(
                name=name,
                scans=int(seen[c]),
                iou=_floats(whole[:, c]),
                mean=_floats(mean[:, c]),
                deviation=_floats(deviation[:, c]),
                iou_of_mean=float(of_mean[c]),
                expert=expert,
                reason=reason,
            )
        )
    return ExpertiseTable(tuple(snapshots), tuple(rows))


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, values))


def _resampled_iou(counts: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """[B, C] IoU of B resamples from [S, C, C + 1] counts and [B, S] draws of each scan; NaN where
    a resample does not show the class."""
    classes = counts.shape[1]
    hits = draws @ np.diagonal(counts, axis1=1, axis2=2)
    true = draws @ counts.sum(2)
    union = true + draws @ counts.sum(1)[:, :classes] - hits
    resampled = np.full(hits.shape, np.nan)
    np.divide(hits, union, out=resampled, where=true > 0)
    return resampled


def _choose(
    seen: int,
    lead: np.ndarray,
    doubt: np.ndarray,
    least: int,
    snapshots: Sequence[str],
) -> tuple[int | None, str]:
    """The expert of one class, and why; mean and deviation [K] of each snapshot's lead in IoU over
    the last. `least`: scans in which it must be seen."""
    if seen < least:
        return None, f"seen in {seen} scans, fewer than {least}"
    if len(snapshots) == 1:
        return None, "there is one snapshot only"
    best = int((lead - doubt)[:-1].argmax())
    if lead[best] < 0:
        trails = _percent(-lead[best], doubt[best])
        return None, f"{snapshots[best]}, the surest, trails the last one by {trails}"
    found = f"{snapshots[best]} leads the last one by {_percent(lead[best], doubt[best])}"
    return (best, found) if lead[best] > doubt[best] else (None, f"{found}, which is not sure")


def _percent(value: float, deviation: float | None = None) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")
