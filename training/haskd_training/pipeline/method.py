"""HAS-KD, stage by stage: prepared data in, a distilled student and all that led to it out.

Under torchrun all processes run all stages together: they train one network, and of what is done
sweep by sweep each does its part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from haskd_ros import model_file
from haskd_ros.models.network import SegmentationNetwork
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.expertise import ExpertiseTable
from haskd_training.distillation.targets import SnapshotTargets, TeacherTargets
from haskd_training.distillation.teacher import TeacherResult
from haskd_training.images.selection import Selection
from haskd_training.learning.baseline import TrainingResult
from haskd_training.learning.recorded_outputs import Outputs, OutputsByPart
from haskd_training.pipeline import stages
from haskd_training.pipeline.config import MethodConfig
from haskd_training.pipeline.stage_folders import StageCost, StageRunner


@dataclass(frozen=True)
class TaughtTeacher:
    """A teacher and the images that it was trained on."""

    selection: Selection
    result: TeacherResult


@dataclass(frozen=True)
class Lesson:
    """Who teaches what.

    Attributes:
        learned: split that teacher and snapshots learn from; they are judged on its calibration
            sweeps.
        told: the sweeps that they tell the student of, to train on. Out of fold none that they have
            learned from.
        title: empty for the only one.
    """

    learned: Split
    told: Split
    title: str = ""

    @property
    def of(self) -> str:
        """Ends the title of what belongs to it."""
        return f", {self.title}" if self.title else ""


@dataclass(frozen=True)
class SnapshotPool:
    """The runs on labels whose snapshots are distilled, one a lesson, and which of them is the
    expert of which class; None where there are no experts (the mean of the snapshots, or the last
    one)."""

    runs: list[TrainingResult]
    experts: ExpertiseTable | None


@dataclass(frozen=True)
class Distillation:
    """The distilled student and its sources: teachers, one a lesson, and snapshots; none where the
    configuration names none."""

    teachers: list[TaughtTeacher]
    snapshots: SnapshotPool | None
    student: TrainingResult


@dataclass(frozen=True)
class FoldModel:
    """A student on labels alone that has not learned from a part, and the split whose calibration
    sweeps are that part."""

    model: Path
    split: Split


@dataclass(frozen=True)
class MethodResult:
    """What the stages made.

    Attributes:
        split, config: they were given.
        baseline: the student trained on labels alone.
        distillation: the same distilled.
        folds: out of fold, the students that say how good such a one is where it has not learned;
            else none.
        costs: of each stage.
    """

    split: Split
    config: MethodConfig
    baseline: TrainingResult
    distillation: Distillation
    folds: list[FoldModel]
    costs: list[StageCost]


def run_method(
    runner: StageRunner, split: Split, config: MethodConfig, attribution: str | None = None
) -> MethodResult:
    """Run all stages of the method.

    Args:
        attribution: whom the data's licence wants credited, for the model files.

    Raises:
        InputError: of any of the stages.
    """
    baseline = runner.run(stages.training_on_labels(split, config.student, attribution))
    distillation = distil_student(runner, split, config, attribution)
    folds = fold_models(runner, split, config, attribution)
    return MethodResult(split, config, baseline, distillation, folds, runner.costs)


def lessons(split: Split, config: MethodConfig) -> list[Lesson]:
    """One for each part of a split; where it has none, the only one, whose teachers tell of what
    they have learned from as well."""
    told = _learned(split, config)
    count = len(split.parts)
    if not count:
        return [Lesson(split, told)]
    return [
        Lesson(
            split.without_part(number),
            told.told_of_part(number),
            f"without part {number + 1} of {count}",
        )
        for number in range(count)
    ]


def _learned(split: Split, config: MethodConfig) -> Split:
    """What the student learns from."""
    return split if config.distillation.unlabelled else split.labelled()


def fold_models(
    runner: StageRunner, split: Split, config: MethodConfig, attribution: str | None = None
) -> list[FoldModel]:
    """The students on labels alone, each without a part; none where a split has no parts."""
    found = []
    for lesson in lessons(split, config) if split.parts else []:
        with runner.about(lesson.title):
            alone = stages.training_on_labels(lesson.learned, config.student, attribution)
            found.append(FoldModel(runner.run(alone).model, lesson.learned))
    return found


def judges_of(
    network: SegmentationNetwork, split: Split, folds: Sequence[FoldModel]
) -> list[tuple[SegmentationNetwork, list[SweepRef]]]:
    """Who answers on which sweeps to calibrate a network, see `calibrate`: itself on what was held
    back from it, or the students without a part on that part.

    Raises:
        ModelFileError: a fold's file can't be read.
    """
    if not folds:
        return [(network, split.calibration)]
    return [(model_file.load(fold.model)[0], fold.split.calibration) for fold in folds]


def distil_student(
    runner: StageRunner,
    split: Split,
    config: MethodConfig,
    attribution: str | None = None,
    images_of_test: bool = False,
) -> Distillation:
    """Distil the student, by the stages that `config` needs for it.

    Args:
        attribution: as of `run_method`.
        images_of_test: choose images of the test sweeps too, to score the teacher on them.
    """
    distillation, student = config.distillation, config.student
    given = lessons(split, config)
    teachers: list[TaughtTeacher] = []
    teacher_targets = pool = snapshot_targets = None
    if distillation.teacher != "none":
        parts = []
        for lesson in given:
            with runner.about(lesson.title):
                teacher = train_teacher(runner, lesson.learned, config, attribution, images_of_test)
                targets = runner.run(
                    stages.teacher_outputs(teacher.result, lesson.told, student, runner.device)
                )
            teachers.append(teacher)
            parts.append((targets.outputs, lesson.told.train_and_unlabelled))
        teacher_targets = TeacherTargets(_together(parts), targets.feature_width)
    if distillation.snapshots != "none":
        pool = rank_snapshots(runner, split, config, attribution)
        snapshot_targets = _snapshot_targets(runner, split, config, pool)
    stage = stages.student_training(
        split, student, distillation, teacher_targets, snapshot_targets, attribution
    )
    return Distillation(teachers, pool, runner.run(stage))


def _together(parts: Sequence[tuple[Outputs, Sequence[SweepRef]]]) -> Outputs:
    """Outputs of each lesson for the sweeps that it tells of, as one."""
    return parts[0][0] if len(parts) == 1 else OutputsByPart(parts)


def train_teacher(
    runner: StageRunner,
    split: Split,
    config: MethodConfig,
    attribution: str | None = None,
    images_of_test: bool = False,
) -> TaughtTeacher:
    """Select images, compute their features and train the teacher on them; arguments as of
    `distil_student`."""
    baseline = runner.run(stages.training_on_labels(split, config.student, attribution))
    sweeps = _sweeps_with_images(split, images_of_test)
    selection = runner.run(stages.image_selection(split, sweeps, baseline.model, config.selection))
    features = runner.run(stages.feature_extraction(split, selection, config.encoder))
    result = runner.run(
        stages.teacher_training(split, features, baseline.model, config.student, config.teacher)
    )
    return TaughtTeacher(selection, result)


def train_snapshots(
    runner: StageRunner, split: Split, config: MethodConfig, attribution: str | None = None
) -> TrainingResult:
    """The run on labels that leaves the snapshots: the baseline, or one in cycles."""
    cyclic = config.expertise.pool == "cyclic"
    student = config.student.in_cycles() if cyclic else config.student
    return runner.run(stages.training_on_labels(split, student, attribution))


def rank_snapshots(
    runner: StageRunner, split: Split, config: MethodConfig, attribution: str | None = None
) -> SnapshotPool:
    """Train the snapshots, and find each class's expert among them where `config` distils from
    experts."""
    given = lessons(split, config)
    runs = []
    for lesson in given:
        with runner.about(lesson.title):
            runs.append(train_snapshots(runner, lesson.learned, config, attribution))
    if config.distillation.snapshots not in ("adept", "random"):
        return SnapshotPool(runs, None)
    judged = [
        (stages.snapshots_of(run, config.student), lesson.learned)
        for run, lesson in zip(runs, given, strict=True)
    ]
    table = runner.run(stages.snapshot_expertise(judged, config.expertise, runner.device))
    if config.distillation.snapshots == "random":
        table = table.with_random_experts(config.student.loop.seed)
    return SnapshotPool(runs, table)


def _snapshot_targets(
    runner: StageRunner, split: Split, config: MethodConfig, pool: SnapshotPool
) -> SnapshotTargets:
    """Outputs of the snapshots for the sweeps to learn from."""
    distillation, student, device = config.distillation, config.student, runner.device
    learned, given = _learned(split, config), lessons(split, config)
    if pool.experts is not None:
        numbers = pool.experts.owners(unlabelled=bool(learned.unlabelled))
    else:
        numbers = list(range(student.snapshots))
        numbers = numbers if distillation.snapshots == "mean" else numbers[-1:]

    def outputs_of(number: int) -> Outputs:
        parts = []
        for run, lesson in zip(pool.runs, given, strict=True):
            snapshot = stages.snapshots_of(run, student)[number]
            with runner.about(lesson.title):
                said = runner.run(stages.snapshot_outputs(snapshot, lesson.told, student, device))
            parts.append((said, lesson.told.train_and_unlabelled))
        return _together(parts)

    outputs = [outputs_of(number) for number in numbers]
    if pool.experts is None:
        return runner.run(stages.mean_outputs(outputs, learned, student, device))
    return runner.run(
        stages.expert_outputs(
            outputs, pool.experts, numbers, learned, student, distillation, device
        )
    )


def _sweeps_with_images(split: Split, images_of_test: bool) -> list[SweepRef]:
    """Sweeps that images are selected for: those that are trained on, and those on which the
    teacher is compared."""
    sweeps = list(dict.fromkeys(split.train_and_unlabelled + split.calibration + split.validation))
    return sweeps + split.test if images_of_test else sweeps
