"""The stages of HAS-KD on prepared caches: each function makes one, from what it depends on.

What is computed for each sweep alone (its images, their features, outputs of networks) lies in a
folder that the sweeps are no part of the digest of: when a recording joins, only its own sweeps are
computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.file_digests import file_digest
from haskd_training.core.processes import is_first
from haskd_training.core.progress import Progress
from haskd_training.core.run_folder import RunFolder
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.config import DistillationConfig
from haskd_training.distillation.distil import distil, distil_inputs
from haskd_training.distillation.expertise import ExpertiseConfig, ExpertiseTable
from haskd_training.distillation.fusion import load_teacher
from haskd_training.distillation.snapshots import (
    channel_probabilities,
    find_experts,
    mean_logits,
    route,
)
from haskd_training.distillation.targets import SnapshotTargets, TeacherTargets
from haskd_training.distillation.teacher import (
    TeacherConfig,
    TeacherResult,
    teacher_inputs,
    teacher_predictor,
    train_teacher,
)
from haskd_training.images.candidates import SelectionConfig
from haskd_training.images.encoder import EncoderConfig
from haskd_training.images.features import (
    ImageFeatures,
    feature_inputs,
    image_features,
)
from haskd_training.images.selection import Selection, select, selection_inputs
from haskd_training.learning.baseline import (
    MODEL,
    TrainingResult,
    baseline,
    baseline_inputs,
    snapshot_path,
)
from haskd_training.learning.inference import SweepPredictor, model_predictor
from haskd_training.learning.recorded_outputs import Outputs, RecordedOutputs
from haskd_training.learning.student import StudentConfig
from haskd_training.learning.weight_averaging import average_snapshots
from haskd_training.pipeline.stage_folders import Stage


def training_on_labels(
    split: Split, config: StudentConfig, attribution: str | None
) -> Stage[TrainingResult]:
    """The student trained on labels alone: the baseline, or, with a cyclic learning rate, a run for
    its snapshots."""
    split = split.labelled()
    cyclic = config.loop.schedule == "cyclic"
    return Stage(
        "baseline",
        "training the snapshots in cycles" if cyclic else "training the student on labels alone",
        baseline_inputs(split, config, attribution),
        lambda folder, progress: baseline(
            split, folder, config, attribution=attribution, progress=progress
        ),
    )


def snapshots_of(result: TrainingResult, config: StudentConfig) -> list[Path]:
    """Model files of the snapshots that a run on labels left, oldest first."""
    return [snapshot_path(result.model.parent, number) for number in range(config.snapshots)]


def weight_averaging(
    snapshots: Sequence[Path], split: Split, config: StudentConfig, device: torch.device
) -> Stage[Path]:
    """Model file of the snapshots' mean weights."""
    inputs = {"snapshots": [file_digest(path) for path in snapshots]}

    def run(folder: Path, _: Progress) -> Path:
        run_folder = RunFolder(folder, inputs)
        if run_folder.result() is None:
            run_folder.claim()
            if is_first():
                average_snapshots(snapshots, split, config, folder / MODEL, device)
            run_folder.finish({})
        return folder / MODEL

    return Stage("swa", "averaging the snapshots", inputs, run)


def image_selection(
    split: Split, sweeps: Sequence[SweepRef], model: Path, config: SelectionConfig
) -> Stage[Selection]:
    """The images of some sweeps that the teacher sees.

    Args:
        model: of the baseline.
    """
    return Stage(
        "selection",
        "choosing images",
        selection_inputs(model, config),
        lambda folder, progress: select(split.caches, sweeps, model, folder, config, progress),
    )


def feature_extraction(
    split: Split, selection: Selection, config: EncoderConfig
) -> Stage[ImageFeatures]:
    """What the selected images show of each point of the selection's sweeps."""
    sweeps = selection.sweeps
    return Stage(
        "features",
        "computing image features",
        feature_inputs(split, selection, config),
        lambda folder, progress: image_features(split, sweeps, selection, folder, config, progress),
    )


def teacher_training(
    split: Split,
    features: ImageFeatures,
    model: Path,
    student: StudentConfig,
    config: TeacherConfig,
) -> Stage[TeacherResult]:
    """The camera + LiDAR teacher.

    Args:
        model: of the baseline.
    """
    return Stage(
        "teacher",
        "training the teacher",
        teacher_inputs(split, features, model, student, config),
        lambda folder, progress: train_teacher(
            split, features, model, folder, student, config, progress
        ),
    )


def teacher_outputs(
    teacher: TeacherResult, split: Split, student: StudentConfig, device: torch.device
) -> Stage[TeacherTargets]:
    """The teacher's outputs for the sweeps to learn from.

    Args:
        split: its `train_and_unlabelled` sweeps.
    """

    def run(folder: Path, progress: Progress) -> TeacherTargets:
        network, _ = load_teacher(teacher.teacher)
        predictor = teacher_predictor(network.to(device), teacher.features)
        outputs = _recorded(folder, split, predictor, student, device, progress)
        return TeacherTargets(outputs, network.feature_width)

    inputs = {"teacher": file_digest(teacher.teacher), "features": teacher.features.identity}
    return Stage("teacher-outputs", "computing teacher outputs", inputs, run)


def snapshot_expertise(
    judged: Sequence[tuple[Sequence[Path], Split]], config: ExpertiseConfig, device: torch.device
) -> Stage[ExpertiseTable]:
    """Which snapshot is adept at which class; `judged` as of `find_experts`."""
    inputs = {
        "config": config.model_dump(mode="json"),
        "snapshots": [[file_digest(path) for path in snapshots] for snapshots, _ in judged],
        "splits": [split.labelled().fingerprint("calibration") for _, split in judged],
    }

    def run(folder: Path, progress: Progress) -> ExpertiseTable:
        run_folder = RunFolder(folder, inputs)
        if (document := run_folder.result()) is not None:
            return ExpertiseTable.from_json(document)
        run_folder.claim()
        table = find_experts(judged, config, device, progress)
        run_folder.finish(table.to_json())
        return table

    return Stage("expertise", "comparing the snapshots", inputs, run)


def snapshot_outputs(
    snapshot: Path, split: Split, student: StudentConfig, device: torch.device
) -> Stage[RecordedOutputs]:
    """A snapshot's outputs for the sweeps to learn from.

    Args:
        split: its `train_and_unlabelled` sweeps.
    """

    def run(folder: Path, progress: Progress) -> RecordedOutputs:
        predictor = model_predictor(snapshot, device)
        return _recorded(folder, split, predictor, student, device, progress)

    return Stage(
        f"{snapshot.stem}-outputs",
        f"computing outputs of {snapshot.stem}",
        {"snapshot": file_digest(snapshot)},
        run,
    )


def mean_outputs(
    outputs: Sequence[Outputs], split: Split, student: StudentConfig, device: torch.device
) -> Stage[SnapshotTargets]:
    """The mean of some snapshots, for plain distillation; of one, that one."""

    def predictor(ref: SweepRef, _: Tensor, near: np.ndarray) -> dict[str, Tensor]:
        return {"logits": mean_logits(_logits(outputs, ref, near))}

    def run(folder: Path, progress: Progress) -> SnapshotTargets:
        recorded = _recorded(folder, split, predictor, student, device, progress)
        return SnapshotTargets(recorded, torch.full((len(split.taxonomy),), torch.nan))

    inputs = {"outputs": [one.name for one in outputs]}
    return Stage("expert-outputs", "averaging the snapshots' outputs", inputs, run)


def expert_outputs(
    outputs: Sequence[Outputs],
    table: ExpertiseTable,
    numbers: Sequence[int],
    split: Split,
    student: StudentConfig,
    config: DistillationConfig,
    device: torch.device,
) -> Stage[SnapshotTargets]:
    """For each point the outputs of its class's expert, or for each class those of its own expert
    (`config.routing`).

    Args:
        outputs: of the snapshots `numbers`, at least `table.owners()`. Unlabelled points have an
            expert only where these are all.
    """
    unlabelled = set(split.unlabelled)

    def predictor(ref: SweepRef, _: Tensor, near: np.ndarray) -> dict[str, Tensor]:
        logits = _logits(outputs, ref, near)
        if config.routing == "channel":
            probability = channel_probabilities(table, numbers, logits, config.temperature)
            return {"probability": probability}
        labels = torch.full((logits.shape[1],), UNLABELLED)
        if ref not in unlabelled:
            labels = torch.from_numpy(split.sweep(ref).label[near]).long()
        routed, classes = route(
            table, numbers, logits, labels, config.snapshots_confidence_threshold
        )
        return {"logits": routed, "classes": classes}

    def run(folder: Path, progress: Progress) -> SnapshotTargets:
        recorded = _recorded(folder, split, predictor, student, device, progress)
        return SnapshotTargets(recorded, table.expert_iou())

    inputs = {
        "table": table.to_json(),
        "outputs": [one.name for one in outputs],
        "routing": config.routing,
        "temperature": config.temperature,
        "snapshots_confidence_threshold": config.snapshots_confidence_threshold,
    }
    return Stage("expert-outputs", "routing points to experts", inputs, run)


def student_training(
    split: Split,
    student: StudentConfig,
    config: DistillationConfig,
    teacher: TeacherTargets | None,
    snapshots: SnapshotTargets | None,
    attribution: str | None,
) -> Stage[TrainingResult]:
    """The student, distilled from the teacher and the snapshots that `config` names."""
    return Stage(
        "student",
        "distilling the student",
        distil_inputs(split, student, config, teacher, snapshots, attribution),
        lambda folder, progress: distil(
            split, folder, student, config, teacher, snapshots, attribution, progress
        ),
    )


def _recorded(
    folder: Path,
    split: Split,
    predictor: SweepPredictor,
    student: StudentConfig,
    device: torch.device,
    progress: Progress,
) -> RecordedOutputs:
    recorded = RecordedOutputs(folder, split)
    return recorded.record(
        predictor,
        split.train_and_unlabelled,
        max_range=student.max_range,
        device=device,
        progress=progress,
    )


def _logits(outputs: Sequence[Outputs], ref: SweepRef, near: np.ndarray) -> Tensor:
    """[L, n, C] of L networks, of the points within range."""
    return torch.stack([torch.from_numpy(one.of(ref)["logits"][near]).float() for one in outputs])
