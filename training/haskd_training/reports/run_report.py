"""The page on a run: what the model is worth, how it came about, and on what evidence."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

from haskd_ros import model_file
from haskd_ros.taxonomy import Taxonomy
from haskd_ros.text import listed
from haskd_training.data.caches.cache import Sweep
from haskd_training.data.preparing.report import PrepareReport
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.evaluation.scoring import class_predictor
from haskd_training.evaluation.student_cost import same_network
from haskd_training.evaluation.temperature import Reliability, TemperatureCalibration
from haskd_training.metrics.confusion import (
    RANGES_M,
    Evaluation,
    accuracy,
    iou,
    mean_iou,
    range_name,
)
from haskd_training.pipeline.choice import DISTILLED, LABELS_ALONE, StudentChoice
from haskd_training.pipeline.method import MethodResult, lessons
from haskd_training.reports import plots
from haskd_training.reports.html_page import Cell, Picture, Report, Section, Table, write
from haskd_training.reports.image_label_section import image_label_section
from haskd_training.reports.stage_sections import (
    cost_section,
    data_section,
    findings_section,
    fold_section,
    percent,
    selection_section,
    snapshots_section,
    teacher_section,
    training_section,
)
from haskd_training.reports.sweep_view import (
    SweepView,
    class_coloring,
    disagreement_coloring,
)

PREDICTED = 2
"""Sweeps whose predictions are drawn."""


@dataclass(frozen=True)
class RunFindings:
    """What a run found.

    Attributes:
        method: what its stages made.
        prepared: a report of each bag.
        refs: the sweeps that were scored: those for tests, or for validation where none are.
        baseline, distilled: scores of the two students on them.
        folds: scores of each of `method.folds` on the part that it has not learned from.
        choice: which of them ships.
        calibration: the temperature that was fitted to it.
        uncalibrated, calibrated: its probabilities on `refs`, at temperature 1 and at the fitted
            one.
        model: its model file, for the robot.
        device: to predict on.
        processes: that trained together.
    """

    method: MethodResult
    prepared: Sequence[PrepareReport]
    refs: Sequence[SweepRef]
    baseline: Evaluation
    distilled: Evaluation
    folds: Sequence[Evaluation]
    choice: StudentChoice
    calibration: TemperatureCalibration
    uncalibrated: Reliability
    calibrated: Reliability
    model: Path
    device: torch.device
    processes: int

    @property
    def tested(self) -> bool:
        """Whether the scored sweeps had no part in training."""
        return bool(self.method.split.test)

    @property
    def shipped(self) -> Evaluation:
        """Scores of the student that ships."""
        return self.distilled if self.choice.ships == DISTILLED else self.baseline


BY_IMAGES = (
    "Labels came from images: a score on them is agreement with the images, not how right a model "
    "is. Score it on a recording that people labelled: haskd evaluate."
)


def write_report(findings: RunFindings, path: Path, pictures: Path) -> None:
    """Write the page.

    Args:
        path: HTML file; it holds its pictures.
        pictures: folder for them.

    Raises:
        InputError: it can't be written.
    """
    pictures.mkdir(parents=True, exist_ok=True)
    method = findings.method
    sections = [
        _scores(findings, pictures),
        _predictions(findings, pictures),
        _calibration(findings),
    ]
    if (by_images := image_label_section(method.split)) is not None:
        sections.append(by_images)
    if method.folds:
        sections.append(fold_section(method.folds, findings.folds))
    given = lessons(method.split, method.config)
    for number, (lesson, teacher) in enumerate(zip(given, method.distillation.teachers)):
        sections.append(teacher_section(teacher.result.comparison, lesson.of))
        chosen = pictures / f"chosen-{number}"
        sections.append(
            selection_section(method.split.caches, teacher.selection, chosen, lesson.of)
        )
    pool = method.distillation.snapshots
    if pool is not None and pool.experts is not None:
        sections.append(snapshots_section(method, pool.experts))
    sections += [
        training_section(method, pictures),
        data_section(method.split, findings.prepared),
        findings_section(findings.prepared),
        cost_section(method),
        _provenance(findings),
    ]
    write(Report(f"HAS-KD: {path.resolve().parent.name}", sections, _lead(findings)), path)


def _lead(findings: RunFindings) -> str:
    before, after = (percent(mean_iou(e.counts)) for e in (findings.baseline, findings.distilled))
    kind = (
        "test sweeps that had no part in training"
        if findings.tested
        else "validation sweeps, which also picked the epoch, since no test sweeps were held back: "
        "expect less elsewhere"
    )
    return (
        f"{after:.1f} % mIoU for the distilled student, {before:.1f} % for the same network "
        f"trained on labels alone, on {len(findings.refs)} {kind}. {findings.choice.reason} One "
        "run of each: runs that differ in nothing but their seed can differ by more than a point."
        + (f" {BY_IMAGES}" if findings.method.split.labelled_by_images(findings.refs) else "")
    )


def _scores(findings: RunFindings, pictures: Path) -> Section:
    both = findings.baseline.counts, findings.distilled.counts
    before, after = map(iou, both)
    points = findings.distilled.counts.sum(1)
    rows: list[list[Cell]] = [
        [name, int(n), *_change(a, b)]
        for name, n, a, b in zip(findings.distilled.taxonomy.names, points, before, after)
    ]
    rows.append(["mean (mIoU)", int(points.sum()), *_change(*map(mean_iou, both))])
    rows.append(["accuracy", int(points.sum()), *_change(*map(accuracy, both))])
    by_range: list[list[Cell]] = [
        [f"{range_name(span)} m", int(a.sum()), *_change(mean_iou(a), mean_iou(b))]
        for span, a, b in zip(RANGES_M, findings.baseline.by_range, findings.distilled.by_range)
    ]
    columns = ["labelled points", "labels alone", "distilled", "difference"]
    plots.confusion_matrix(findings.shipped, pictures / "confusion.png")
    plots.iou_by_range(findings.shipped, pictures / "iou_by_range.png")
    student = "the distilled student"
    if findings.choice.ships == LABELS_ALONE:
        student = "the student trained on labels alone"
    return Section(
        "Scores",
        "A class without points among the scored sweeps has no score and is left out of the mean. "
        "Points beyond the model's range count as missed.",
        [
            Table(["class", *columns], rows, "IoU in %", strong=frozenset({len(rows) - 2})),
            Table(["distance", *columns], by_range, "mIoU in % by distance from the sensor"),
        ],
        [
            Picture(pictures / "confusion.png", f"Confusions of {student}, which ships."),
            Picture(pictures / "iou_by_range.png", f"IoU by distance of {student}."),
        ],
    )


def _change(before: float, after: float) -> list[float]:
    return [percent(before), percent(after), percent(after - before)]


def _predictions(findings: RunFindings, folder: Path) -> Section:
    """The sweeps that show the most classes."""
    split = findings.method.split
    models = [
        (title, class_predictor(path, findings.device))
        for title, path in (
            (DISTILLED, findings.method.distillation.student.model),
            (LABELS_ALONE, findings.method.baseline.model),
        )
    ]
    richest = sorted(findings.refs, key=lambda ref: -np.count_nonzero(split.row(ref).class_counts))
    shown: list[Picture] = []
    views: list[SweepView] = []
    for ref in richest[:PREDICTED]:
        sweep, path = split.sweep(ref), folder / f"predicted-{ref.cache}-{ref.sweep}.png"
        labellings = [(title, predict(ref, sweep)) for title, predict in models]
        plots.segmentation(sweep.points, [*labellings, ("true", sweep.label)], split.taxonomy, path)
        caption = f"{sweep.recording}, sweep {ref.sweep}, up to 40 m from the sensor"
        shown.append(Picture(path, caption))
        if not views:
            views.append(_turnable(sweep, labellings, split.taxonomy, ref))
    return Section(
        "Predictions", "Scored sweeps that show the most classes.", pictures=shown, sweeps=views
    )


def _turnable(
    sweep: Sweep, labellings: Sequence[tuple[str, np.ndarray]], taxonomy: Taxonomy, ref: SweepRef
) -> SweepView:
    """A sweep by the classes of two models, by its labels, and where they disagree."""
    colorings = [
        class_coloring(title, labels, taxonomy)
        for title, labels in [*labellings, ("true", sweep.label)]
    ]
    colorings.append(disagreement_coloring(sweep.label, *labellings))
    return SweepView(sweep.points, colorings, f"{sweep.recording}, sweep {ref.sweep}.")


def _judged(method: MethodResult) -> str:
    """The sweeps that the temperature was fitted to."""
    if not method.folds:
        return f"{len(method.split.calibration)} calibration sweeps"
    return (
        f"{len(method.split.train)} sweeps, each by what the student on labels alone says that has "
        "not learned from its part"
    )


def _calibration(findings: RunFindings) -> Section:
    fitted, before, after = findings.calibration, findings.uncalibrated, findings.calibrated
    edges = np.linspace(0, 1, len(before.count) + 1)
    rows: list[list[Cell]] = [
        [
            f"{100 * low:.0f} to {100 * high:.0f} %",
            *(_reliability_cells(before, number) + _reliability_cells(after, number)),
        ]
        for number, (low, high) in enumerate(itertools.pairwise(edges))
        if before.count[number] or after.count[number]
    ]
    return Section(
        "Probability calibration",
        f"The temperature {fitted.temperature:.2f} was fitted to {fitted.points:,} labelled points "
        f"of {_judged(findings.method)} and is part of the model file. On the "
        f"{len(findings.refs)} scored sweeps it changes the expected calibration "
        f"error from {100 * before.error:.1f} to {100 * after.error:.1f} %.",
        [
            Table(
                [
                    "probability",
                    *("points before", "mean before", "right before"),
                    *("points after", "mean after", "right after"),
                ],
                rows,
                "Points by the probability of their class, before and after: mean probability and "
                "accuracy, in %; equal where probabilities are calibrated",
            )
        ],
    )


def _reliability_cells(reliability: Reliability, number: int) -> list[Cell]:
    return [
        int(reliability.count[number]),
        percent(reliability.probability[number]),
        percent(reliability.accuracy[number]),
    ]


def _provenance(findings: RunFindings) -> Section:
    network, metadata = model_file.load(findings.model)
    method = findings.method
    origin = metadata.provenance
    alike = same_network(method.baseline.model, findings.model)
    facts = [
        ["student", findings.choice.reason],
        ["model file", f"{findings.model.name}, {findings.model.stat().st_size:,} bytes"],
        ["network", f"{metadata.architecture}, {sum(p.numel() for p in network.parameters()):,} "
         "weights; "
         + ("the same tensors as trained on labels alone: nothing is added for the robot"
            if alike else "NOT the network that was trained on labels alone")],
        ["trained", f"{origin.trained} with haskd_ros {origin.haskd_ros}, torch "
         f"{origin.torch}, {origin.machine}, {findings.processes} process(es)"],
        ["recordings", listed(origin.recordings)],
        ["attribution", origin.attribution or "none given"],
    ]  # fmt: skip
    changed = [
        [name, str(value), str(default)]
        for (name, value), (_, default) in zip(_flat(method.config), _flat(type(method.config)()))
        if value != default
    ]
    tables = [Table(["what", "which"], facts)]
    if changed:
        tables.append(Table(["setting", "here", "by default"], changed, "Settings that differ"))
    return Section(
        "Provenance",
        "The formulas are this project's own reading of the abstract of Wu, Hou et al., "
        '"Heterogeneous and Adept Snapshot Distillation for 3D Semantic Segmentation", '
        "arXiv 2606.25278.",
        tables,
    )


def _flat(settings: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
