"""Sections of the page on a run, one for each stage that it went through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.text import listed
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.report import PrepareReport
from haskd_training.data.splits import Split
from haskd_training.distillation.expertise import ExpertiseTable
from haskd_training.distillation.teacher import TeacherResult
from haskd_training.images.selection import Selection
from haskd_training.learning.baseline import TrainingResult
from haskd_training.metrics.confusion import Evaluation, iou, mean_iou
from haskd_training.pipeline.method import FoldModel, MethodResult, lessons
from haskd_training.reports.contact_sheets import by_rank, contact_sheets, seen_share
from haskd_training.reports.html_page import Cell, Picture, Section, Table
from haskd_training.reports.training_curves import draw_curves

RECORDINGS_SHOWN, FINDINGS_SHOWN = 40, 100
"""Rows of the page's tables: a thousand recordings have reports of their own."""


def findings_section(prepared: Sequence[PrepareReport]) -> Section:
    """What the examination of the recordings found, before anything was computed; of more than
    `FINDINGS_SHOWN` the gravest, those of kinds that few others are of first."""
    found = [(report, finding) for report in prepared for finding in report.findings]
    text = (
        "What was repaired, is doubtful or was left out in the recordings."
        if found
        else "Every message of the recordings was looked at, and nothing is wrong with them."
    )
    if len(found) > FINDINGS_SHOWN:
        kinds = Counter(finding.code for _, finding in found)
        found.sort(key=lambda one: (not one[1].is_warning, kinds[one[1].code]))
        text += (
            f" {FINDINGS_SHOWN} of {len(found):,} findings are shown, warnings first and of these "
            "the rarest kinds. All of them, by kind: "
            + ", ".join(f"{count:,} {code}" for code, count in kinds.most_common())
            + ". Those of each recording are in its cache's report.json."
        )
    rows: list[list[Cell]] = [
        [listed(report.recordings), finding.outcome, str(finding)]
        for report, finding in found[:FINDINGS_SHOWN]
    ]
    tables = [Table(["recording", "outcome", "finding"], rows)] if rows else []
    return Section("Examination of the recordings", text, tables)


def data_section(split: Split, prepared: Sequence[PrepareReport]) -> Section:
    """Recordings, roles and classes; of more than `RECORDINGS_SHOWN` recordings those whose points
    the cameras see least of."""
    told = ""
    shown = prepared
    if len(prepared) > RECORDINGS_SHOWN:
        shown = sorted(prepared, key=lambda one: one.seen_share or 0.0)[:RECORDINGS_SHOWN]
        told = (
            f"{RECORDINGS_SHOWN} of {len(prepared):,} recordings, those whose points the cameras "
            f"see least of; all have {sum(one.sweeps for one in prepared):,} sweeps and "
            f"{sum(one.images for one in prepared):,} images"
        )
    bags: list[list[Cell]] = [
        [
            listed(report.recordings),
            report.sweeps,
            int(report.points_per_sweep["median"]),
            report.images,
            percent(report.seen_share),
            percent(report.ignored_share),
        ]
        for report in shown
    ]
    roles = ("train", "calibration", "validation", "test")
    counts = [split.class_counts(getattr(split, role)) for role in roles]
    rows: list[list[Cell]] = [
        ["sweeps", *(len(getattr(split, role)) for role in roles)],
        *_class_rows(split.taxonomy.names, np.transpose(counts)),
    ]
    text = [
        f"{len(split.unlabelled)} sweeps without labels, or with labels that are not read, are "
        "distilled from the teacher and the snapshots."
        if split.unlabelled
        else ""
    ]
    if set(split.unlabelled) & {*split.calibration, *split.validation}:
        text.append(
            "Calibration and validation sweeps are among them: the temperature, and any score on "
            "these sweeps, is optimistic for a street that was never driven."
        )
    for kind in ("sweeps", "images"):
        skipped: Counter[str] = Counter()
        for report in prepared:
            skipped.update(getattr(report, f"{kind}_skipped"))
        text += [f"{count} {kind} left out: {reason}" for reason, count in skipped.items()]
    return Section(
        "Data",
        "\n\n".join(text),
        [
            Table(
                [
                    "recording", "sweeps", "points a sweep", "images", "points a camera sees in %",
                    "points without label in %",
                ],
                bags,
                told,
            ),
            Table(["", *roles], rows, "Sweeps, and labelled points of each class"),
        ],
    )  # fmt: skip


def _class_rows(names: Sequence[str], counts: np.ndarray) -> list[list[Cell]]:
    return [[name, *map(int, row)] for name, row in zip(names, counts)]


def teacher_section(comparison: dict[str, Any], of: str) -> Section:
    """Whether there is anything to distil.

    Args:
        comparison: as of `TeacherResult`.
        of: ends the title.
    """
    baseline, teacher = comparison["baseline"], comparison["teacher"]
    before, after = baseline["seen_miou"], teacher["seen_miou"]
    if before is None:
        verdict = (
            "No labelled point of the calibration sweeps is seen by a chosen image, so whether the "
            "teacher knows more than the baseline is not known."
        )
    elif after <= before:
        verdict = (
            "THE TEACHER IS NOT BETTER THAN THE BASELINE on the points that an image sees: there "
            "is nothing to distil from it. Look at the calibration first (the overlays in the "
            "caches), then try more epochs."
        )
    else:
        verdict = "The teacher is better than the baseline where an image sees the points."
    rows: list[list[Cell]] = [
        [name, *map(percent, (before, after))]
        for name, before, after in zip(
            baseline["seen_iou"], baseline["seen_iou"].values(), teacher["seen_iou"].values()
        )
    ]
    rows.append(["mIoU of these points", *map(percent, (before, after))])
    rows.append(["mIoU of all points", *map(percent, (baseline["miou"], teacher["miou"]))])
    return Section(
        f"Teacher{of}",
        f"{verdict}\n\nCompared on the calibration sweeps: {comparison['seen_points']:,} of "
        f"{comparison['points']:,} labelled points are seen by a chosen image.",
        [
            Table(
                ["class", "labels alone, no images", "teacher"],
                rows,
                "IoU in % over the points that an image sees",
                strong=frozenset({len(rows) - 2}),
            )
        ],
    )


def selection_section(
    caches: Sequence[Cache], selection: Selection, folder: Path, of: str = ""
) -> Section:
    """What became of the candidate images, with contact sheets.

    Args:
        folder: for the sheets.
        of: ends the title.
    """
    total = sum(selection.reasons.values())
    rows: list[list[Cell]] = [
        [reason, images, images / len(selection.sweeps)]
        for reason, images in sorted(selection.reasons.items(), key=lambda item: -item[1])
    ]
    rows.append(["all", total, total / len(selection.sweeps)])
    ranks: list[list[Cell]] = [
        [f"no. {rank}", images, percent(gain), percent(covered)]
        for rank, images, gain, covered in by_rank(selection)
    ]
    sheets = contact_sheets(caches, selection, folder)
    return Section(
        f"Selected images{of}",
        f"Selected by {selection.config.strategy}, at most {selection.config.images} for each of "
        f"{len(selection.sweeps)} sweeps, without labels. Together they see "
        f"{percent(seen_share(selection)):.1f} % of a sweep's points. On the contact sheets the "
        "selected images are above, by rank, with the points that they see in the colours of the "
        "baseline's predictions; below are some of the rejected ones, with the reason.",
        [
            Table(
                ["candidates", "images", "a sweep"],
                rows,
                "Candidate images by outcome",
                strong=frozenset({len(rows) - 1}),
            ),
            Table(
                ["selected", "images", "gain in %", "points seen so far in %"],
                ranks,
                "Gain of each further image, on average",
            ),
        ],
        [Picture(sheet.path, sheet.caption) for sheet in sheets],
    )


def snapshots_section(method: MethodResult, table: ExpertiseTable) -> Section:
    """The expertise table that the student was distilled by."""
    unlabelled = method.config.distillation.unlabelled and method.split.unlabelled
    loaded = table.owners(unlabelled=bool(unlabelled))
    return Section(
        "Expert snapshots",
        "Scores of each snapshot of the training on labels, on the calibration sweeps. A class's "
        "expert is the snapshot with the largest IoU gain over the last one, less one standard "
        "deviation, if that is above 0; otherwise the mean of all snapshots. "
        f"{len(loaded)} of {len(table.snapshots)} snapshots are used."
        + (
            "\n\nThe experts were drawn at random instead (distillation.snapshots=random)."
            if method.config.distillation.snapshots == "random"
            else ""
        ),
        [
            Table(
                ["class", "scans", *table.snapshots, "mean of all"],
                table.score_rows(),
                "IoU in % with its standard deviation over resamples of whole scans",
            ),
            Table(["class", "expert", "why"], table.choice_rows()),
        ],
    )


def training_section(method: MethodResult, folder: Path) -> Section:
    """Curves of all that was trained, drawn into `folder`."""
    baseline, distillation = method.baseline, method.distillation
    trained: list[tuple[str, Path, TrainingResult | TeacherResult]] = [
        ("on labels alone", baseline.model, baseline)
    ]
    given = lessons(method.split, method.config)
    if distillation.snapshots is not None:
        for lesson, pool in zip(given, distillation.snapshots.runs, strict=True):
            if pool != baseline:
                kind = ", in cycles" if method.config.expertise.pool == "cyclic" else ""
                trained.append((f"the snapshots{kind}{lesson.of}", pool.model, pool))
    for lesson, taught in zip(given, distillation.teachers):
        teacher = taught.result
        trained.append((f"the teacher{lesson.of}", teacher.teacher, teacher))
    trained.append(("the distilled student", distillation.student.model, distillation.student))
    pictures = []
    for number, (title, model, _) in enumerate(trained):
        path = folder / f"curves-{number}.png"
        draw_curves(model.parent / "tensorboard", path)
        pictures.append(Picture(path, f"Training {title}."))
    rows: list[list[Cell]] = [
        [title, result.best_epoch, percent(result.validation_miou), result.seconds / 60]
        for title, _, result in trained
    ]
    columns = ["trained", "epoch kept", "validation mIoU in %", "minutes"]
    distilled = distillation.teachers or distillation.snapshots is not None
    return Section(
        "Training",
        "Distilled share: of the teacher, the share of the points that are distilled; of the "
        "snapshots, the weight of the experts, 0 to 1, on average over the classes. It is 0 where "
        "the student has caught up."
        if distilled
        else "",
        [Table(columns, rows)],
        pictures,
    )


def fold_section(folds: Sequence[FoldModel], scores: Sequence[Evaluation]) -> Section:
    """How good a student on labels alone is where it has not learned.

    Args:
        scores: of each fold's model on its part.
    """
    names = folds[0].split.taxonomy.names
    counts = [one.counts for one in scores]
    counts.append(np.sum(counts, axis=0))
    rows: list[list[Cell]] = [
        [name, *map(percent, values)]
        for name, values in zip(names, np.transpose([iou(table) for table in counts]))
    ]
    rows.append(["mIoU", *(percent(mean_iou(table)) for table in counts)])
    recordings = [
        listed(sorted({fold.split.row(ref).recording for ref in fold.split.calibration}))
        for fold in folds
    ]
    parts = [f"part {number}" for number in range(1, len(folds) + 1)]
    what = "; ".join(f"{part}: {names}" for part, names in zip(parts, recordings))
    return Section(
        "What to expect where it has not learned",
        "Students on labels alone, each trained without one part of the labelled sweeps and scored "
        f"on it ({what}). The student that ships has learned from all parts, so it should do no "
        "worse on a place like these; the temperature was fitted to these answers.",
        [
            Table(
                ["class", *parts, "all"],
                rows,
                "IoU in % on sweeps of parts that were left out",
                strong=frozenset({len(rows) - 1}),
            )
        ],
    )


def cost_section(method: MethodResult) -> Section:
    """Computing by stage."""
    total = sum(cost.seconds for cost in method.costs)
    alone = next(cost.seconds for cost in method.costs if cost.stage == "baseline")
    rows: list[list[Cell]] = [
        [cost.stage, cost.seconds / 60, cost.seconds / alone] for cost in method.costs
    ]
    rows.append(["all", total / 60, total / alone])
    return Section(
        "Training cost",
        "Computing time of each stage, summed over all calls; preparing bags and scoring are not "
        "counted.",
        [
            Table(
                ["stage", "minutes", "of training on labels alone"],
                rows,
                digits=2,
                strong=frozenset({len(rows) - 1}),
            )
        ],
    )


def percent(value: float | None) -> float:
    """0..1 as percent; NaN for None."""
    return float("nan") if value is None else 100 * float(value)
