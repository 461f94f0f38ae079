"""HAS-KD, stage by stage: prepared data in, a distilled student and all that led to it out.

Under torchrun all processes train together; what is no training the first one does, while the
others wait.
"""

from __future__ import annotations

from dataclasses import dataclass

from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.expertise import ExpertiseTable
from haskd_training.distillation.targets import SnapshotTargets
from haskd_training.distillation.teacher import TeacherResult
from haskd_training.images.selection import Selection
from haskd_training.learning.baseline import TrainingResult
from haskd_training.pipeline import stages
from haskd_training.pipeline.config import MethodConfig
from haskd_training.pipeline.stage_folders import StageCost, StageRunner


@dataclass(frozen=True)
class TaughtTeacher:
    """A teacher and the images that it was trained on."""

    selection: Selection
    result: TeacherResult


@dataclass(frozen=True)
class SnapshotPool:
    """The run on labels whose snapshots are distilled, and which of them is the expert of which
    class; None where there are no experts (the mean of the snapshots, or the last one)."""

    run: TrainingResult
    experts: ExpertiseTable | None


@dataclass(frozen=True)
class Distillation:
    """The distilled student and its sources, None where the configuration names none."""

    teacher: TaughtTeacher | None
    snapshots: SnapshotPool | None
    student: TrainingResult


@dataclass(frozen=True)
class MethodResult:
    """What the stages made.

    Attributes:
        split, config: they were given.
        baseline: the student trained on labels alone.
        distillation: the same distilled.
        costs: of each stage.
    """

    split: Split
    config: MethodConfig
    baseline: TrainingResult
    distillation: Distillation
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
    return MethodResult(split, config, baseline, distillation, runner.costs)


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
    learned = split if distillation.unlabelled else split.labelled()
    teacher = teacher_targets = pool = snapshot_targets = None
    if distillation.teacher != "none":
        teacher = train_teacher(runner, split, config, attribution, images_of_test)
        teacher_targets = runner.run(
            stages.teacher_outputs(teacher.result, learned, student, runner.device)
        )
    if distillation.snapshots != "none":
        pool = rank_snapshots(runner, split, config, attribution)
        snapshot_targets = _snapshot_targets(runner, learned, config, pool)
    stage = stages.student_training(
        split, student, distillation, teacher_targets, snapshot_targets, attribution
    )
    return Distillation(teacher, pool, runner.run(stage))


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
    pool = train_snapshots(runner, split, config, attribution)
    if config.distillation.snapshots not in ("adept", "random"):
        return SnapshotPool(pool, None)
    snapshots = stages.snapshots_of(pool, config.student)
    table = runner.run(stages.snapshot_expertise(snapshots, split, config.expertise, runner.device))
    if config.distillation.snapshots == "random":
        table = table.with_random_experts(config.student.loop.seed)
    return SnapshotPool(pool, table)


def _snapshot_targets(
    runner: StageRunner, learned: Split, config: MethodConfig, pool: SnapshotPool
) -> SnapshotTargets:
    """Outputs of the snapshots for the sweeps to learn from."""
    distillation, student, device = config.distillation, config.student, runner.device
    snapshots = stages.snapshots_of(pool.run, student)
    if pool.experts is not None:
        numbers = pool.experts.owners(unlabelled=bool(learned.unlabelled))
    else:
        numbers = list(range(len(snapshots)))
        numbers = numbers if distillation.snapshots == "mean" else numbers[-1:]
    outputs = [
        runner.run(stages.snapshot_outputs(snapshots[number], learned, student, device))
        for number in numbers
    ]
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
