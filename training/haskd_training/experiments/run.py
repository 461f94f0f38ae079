"""`haskd run`: recorded bags in, a deployable model and a report on it out.

OUT/model.safetensors   the better student, calibrated: what the robot loads
OUT/report.html         how it came about and what it is worth
OUT/pictures/           of the report
OUT/caches/             the bags prepared; caches that were given stay where they are
OUT/stages/             every stage's own folder, see `stage_folders`
OUT/.in-use             held while a run works here, see `file_lock`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_training.core.processes import alone, is_first, wait
from haskd_training.core.progress import Steps
from haskd_training.core.run_folder import only_user
from haskd_training.core.storage.location import Location
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.point_labels import PointLabels
from haskd_training.data.preparing.inputs import (
    PrepareConfig,
    check_labels,
)
from haskd_training.data.preparing.report import PrepareReport
from haskd_training.data.splits import Split, SplitConfig, make_split
from haskd_training.data.stacked_sweeps import stacked
from haskd_training.evaluation.scoring import evaluate_sweeps, reliabilities
from haskd_training.evaluation.temperature import TemperatureCalibration, calibrate
from haskd_training.experiments.sources import prepare_together, recordings_in, why_no_images
from haskd_training.learning.initial_weights import AUTO
from haskd_training.learning.loop import make_fabric
from haskd_training.learning.student import INIT, StudentConfig
from haskd_training.metrics.confusion import Evaluation, iou, mean_iou
from haskd_training.pipeline.choice import StudentChoice, choose_student, shipped_student
from haskd_training.pipeline.config import MethodConfig, check
from haskd_training.pipeline.method import FoldModel, MethodResult, judges_of, run_method
from haskd_training.pipeline.stage_folders import StageRunner
from haskd_training.recordings.findings import Finding, Say, say_nothing
from haskd_training.reports.run_report import RunFindings, write_report

MODEL = "model.safetensors"
REPORT = "report.html"
PICTURES = "pictures"


NO_LABELS = "none"
"""Instead of a label map: no label by hand is read."""


class ImageLabelsConfig(BaseModel):
    """How labels from images are taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_confidence: float = Field(
        0.9,
        ge=0,
        le=1,
        description="points whose label from images is less sure have none",
    )


class RunStudentConfig(StudentConfig):
    """The student of a run: of few streets it learns more when it has seen others
    (docs/results/off_the_street.md). Comparisons start from nothing."""

    init: str = Field(AUTO, description=INIT)


class RunConfig(MethodConfig):
    """All settings of `haskd run`."""

    student: RunStudentConfig = RunStudentConfig()
    prepare: PrepareConfig = PrepareConfig()
    images: ImageLabelsConfig = ImageLabelsConfig()


@dataclass(frozen=True)
class RunResult:
    """What a run made.

    Attributes:
        model: what the robot loads.
        report: the page to read.
        caches: one a bag, in the order in which they were given.
        split: roles of the sweeps.
        baseline, distilled: scores of the two students on the test sweeps (on the validation
            sweeps where no test sweeps were held back).
        choice: which of them the model is.
        folds: out of fold, the students without a part; else none.
        calibration: of the model's probabilities.
    """

    model: Path
    report: Path
    caches: list[Cache]
    split: Split
    baseline: Evaluation
    distilled: Evaluation
    choice: StudentChoice
    folds: list[FoldModel]
    calibration: TemperatureCalibration


def run(
    bags: Sequence[Location],
    out: Path,
    labels: str | None,
    config: RunConfig,
    steps: Steps,
    unlabelled: Sequence[Location] = (),
    test: Sequence[Location] = (),
    attribution: str | None = None,
    *,
    images_know: Path | None = None,
    say: Say = say_nothing,
    strict: bool = False,
) -> RunResult | None:
    """From bags to a model. What an earlier call finished is not done again; what changed is.

    Args:
        bags: labelled recordings with camera and LiDAR, or caches that were prepared of such, or of
            a public data set; caches may lie in an object store.
        out: folder of the run; under torchrun one that all machines share.
        labels: label map of `bags` and `test`: a file, or the name of one that ships; or
            `NO_LABELS`. None where all of them are caches, which have theirs.
        unlabelled: recordings or caches without labels, for which the student is distilled from
            teacher and snapshots.
        test: recordings or caches for the final score alone; then nothing of `bags` is held
            back for it.
        attribution: whom the data's licence wants credited; goes into the model file.
        images_know: folder of labels that images gave, see `image_labels`; sweeps without a label
            of their own are taught by them.
        say: receives what the examination of the recordings finds, before anything is computed.
        strict: refuse what it warns of.

    Returns:
        None in all processes but the first.

    Raises:
        InputError: of any of the stages, or another run works in `out`; what the data can't serve
            is found before any training.
    """
    student = config.student.model_copy(
        update={"split": held_back(config.student.split, test=test)}
    )
    config = config.model_copy(update={"student": student})
    by_hand = None if labels == NO_LABELS else labels
    if labels == NO_LABELS and images_know is None:
        raise InputError(
            f"--labels {NO_LABELS} leaves nothing to learn from: give --images-know a folder that "
            "label-images made"
        )
    recordings = recordings_in([*bags, *test])
    if recordings and labels is None:
        raise InputError(
            f"{recordings[0]} is a recording: --labels names its label map, or is {NO_LABELS} with "
            "--images-know"
        )
    if not recordings and by_hand is not None:
        raise InputError("a prepared cache has its own labels: leave --labels out")
    if recordings:
        check_labels(recordings, by_hand, config.prepare)
    fabric = make_fabric(student.loop, out)
    with only_user(out):
        roles = ((bags, by_hand), (unlabelled, None), (test, by_hand))
        labelled, unlabelled_ones, tested = (
            _Recordings(*prepared)
            for prepared in prepare_together(roles, out, config.prepare, steps, say, strict=strict)
        )
        if labels == NO_LABELS:
            labelled, tested = labelled.without_labels(), tested.without_labels()
        if images_know is not None:
            image_labels = PointLabels.open(images_know).surer_than(config.images.min_confidence)
            labelled, unlabelled_ones, tested = (
                one.taught_by(image_labels) for one in (labelled, unlabelled_ones, tested)
            )
            say(_taught(image_labels, [*labelled.caches, *unlabelled_ones.caches]))
        taught = [cache for cache in unlabelled_ones.caches if cache.point_labels is not None]
        split = make_split(
            [*labelled.caches, *taught],
            student.split,
            channels=student.channels,
            channels_required=student.channels_required,
            unlabelled=[cache for cache in unlabelled_ones.caches if cache.point_labels is None],
            test=tested.caches,
        )
        split = stacked(split, student.sweeps)
        check(split, config, why_no_images([*labelled.reports, *unlabelled_ones.reports]))
        runner = StageRunner(out / "stages", fabric, steps)
        method = run_method(runner, split, config, attribution)
        reports = [*labelled.reports, *unlabelled_ones.reports, *tested.reports]
        return _hand_out(method, labelled.caches, reports, runner, out, steps)


@dataclass(frozen=True)
class _Recordings:
    """What was prepared of recordings that serve one purpose."""

    caches: list[Cache]
    reports: list[PrepareReport]

    def without_labels(self) -> _Recordings:
        """The same, where caches that were given have labels by hand without them."""
        hidden = [cache.without_labels(cache.taxonomy) for cache in self.caches]
        return _Recordings(hidden, self.reports)

    def taught_by(self, labels: PointLabels) -> _Recordings:
        """The same, with labels from images for the sweeps that have none."""
        return _Recordings([cache.taught_by(labels) for cache in self.caches], self.reports)


def _taught(labels: PointLabels, caches: Sequence[Cache]) -> Finding:
    """How much images teach.

    Raises:
        InputError: nothing.
    """
    taught = [cache for cache in caches if cache.point_labels is not None]
    if not taught:
        raise InputError(
            f"{labels.folder} has no labels for a sweep without its own in these recordings; make "
            "them with label-images from the same recordings"
        )
    rows = [cache.sweeps[i] for cache in taught for i in cache.taught]
    known = sum(sum(row.class_counts) for row in rows)
    message = (
        f"images give {100 * known / sum(row.points for row in rows):.0f} % of the points of "
        f"{len(rows)} sweeps a label; a score on such labels is agreement with the images, not how "
        "right a model is"
    )
    return Finding("labels-from-images", f"{labels.folder}", "noted", message)


def _hand_out(
    method: MethodResult,
    caches: list[Cache],
    reports: Sequence[PrepareReport],
    runner: StageRunner,
    out: Path,
    steps: Steps,
) -> RunResult | None:
    """Calibrate, score and report on what the stages made. A model of this name is a finished one:
    it is written once, calibrated. Of several processes the first one reports."""
    device, split = runner.device, method.split
    taught = method.distillation.student
    choice = choose_student(method.baseline, taught, len(split.validation))
    network, metadata = shipped_student(choice)
    with steps("calibrating probabilities"):
        judges = judges_of(network, split, method.folds)
        metadata, calibration = calibrate(metadata, judges, split.caches, device)
    model = out / MODEL
    if is_first():
        model_file.save(model, network, metadata)
    wait(model)
    refs = split.test or split.validation
    with steps("scoring labels alone") as progress:
        baseline_scores = evaluate_sweeps(method.baseline.model, split, refs, device, progress)
    with steps("scoring the distilled student") as progress:
        distilled_scores = evaluate_sweeps(taught.model, split, refs, device, progress)
    with steps("scoring probabilities") as progress:
        uncalibrated, calibrated = reliabilities(model, split, refs, device, progress)
    fold_scores = []
    for number, fold in enumerate(method.folds, 1):
        with steps(f"scoring part {number} of {len(method.folds)}") as progress:
            part = fold.split.calibration
            fold_scores.append(evaluate_sweeps(fold.model, fold.split, part, device, progress))
    if not is_first():
        return None
    findings = RunFindings(
        method=method,
        prepared=reports,
        refs=refs,
        baseline=baseline_scores,
        distilled=distilled_scores,
        folds=fold_scores,
        choice=choice,
        calibration=calibration,
        uncalibrated=uncalibrated,
        calibrated=calibrated,
        model=model,
        device=device,
        processes=runner.fabric.world_size,
    )
    with steps("writing the report"), alone():
        write_report(findings, out / REPORT, out / PICTURES)
    return RunResult(
        model=model,
        report=out / REPORT,
        caches=caches,
        split=split,
        baseline=baseline_scores,
        distilled=distilled_scores,
        choice=choice,
        folds=method.folds,
        calibration=calibration,
    )


def score_table(result: RunResult) -> Table:
    """Both students side by side, for the screen."""
    kind = "test" if result.split.test else "validation"
    title = f"IoU in % over {result.distilled.sweeps} {kind} sweeps"
    caption = result.choice.reason
    if result.split.labelled_by_images(result.split.test or result.split.validation):
        caption += " Labels came from images: these scores are agreement with the images."
    table = Table(title=title, caption=caption)
    table.add_column("class")
    for name in ("labels alone", "distilled", "difference"):
        table.add_column(name, justify="right")
    both = (result.baseline.counts, result.distilled.counts)
    for name, *scores in zip(result.distilled.taxonomy.names, *map(iou, both)):
        table.add_row(name, *_cells(*scores))
    table.add_section()
    table.add_row("mIoU", *_cells(*map(mean_iou, both)), style="bold")
    return table


def _cells(before: float, after: float) -> list[str]:
    if np.isnan(before):
        return ["-", "-", "-"]
    return [f"{100 * before:.1f}", f"{100 * after:.1f}", f"{100 * (after - before):+.1f}"]


def held_back(config: SplitConfig, **whole: Sequence[Any]) -> SplitConfig:
    """Shares that are held back of the training recordings: 0 for a role that has recordings of its
    own.

    Args:
        whole: role -> recordings that serve nothing else.
    """
    return config.model_copy(update={role: 0.0 for role, given in whole.items() if given})
