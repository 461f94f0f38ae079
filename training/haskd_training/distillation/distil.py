"""Training the student once more, from the same weights and in the same order as the baseline, with
what the teacher (IHD) and the snapshots (ASD) know beside the labels. The student is not changed by
it: its model file has the same tensors, and it needs no image and no ensemble.

`L = CE + Lovasz + r(t) (lambda_H L_IHD + lambda_A L_ASD)`: this project's own reading of the
abstract of Wu, Hou et al., arXiv 2606.25278.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from haskd_ros import model_file
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import RunFolder
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.losses import (
    adept_channel_distillation,
    adept_distillation,
    confidence,
    expert_weights,
    feature_gap,
    information_distillation,
    information_weights,
    ramp,
    vanilla_distillation,
)
from haskd_training.learning.baseline import MODEL, TrainingResult
from haskd_training.learning.batches import Batch, Extras
from haskd_training.learning.inference import predict
from haskd_training.learning.loop import Callbacks, finish, fit, make_fabric
from haskd_training.learning.losses import soften
from haskd_training.learning.processes import of_this_rank, sum_over_processes
from haskd_training.learning.recorded_outputs import RecordedOutputs
from haskd_training.learning.student import (
    StudentConfig,
    make_network,
    stage_settings,
    supervised_loss,
    training_class_weights,
    training_dataset,
    validator,
)
from haskd_training.metrics.confusion import evaluate, iou


class DistillationConfig(BaseModel):
    """Who teaches the student, what, and how loudly."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teacher: Literal["information", "vanilla", "none"] = Field(
        "information",
        description="information: IHD; vanilla: the same divergence on all points alike",
    )
    snapshots: Literal["adept", "random", "mean", "last", "none"] = Field(
        "adept",
        description="adept: ASD; random: ASD with experts drawn by lot; mean, last: plain "
        "distillation from the mean of the snapshots, or from the last one",
    )
    routing: Literal["label", "channel"] = Field(
        "label", description="ASD: a point's label chooses its expert, or each class's expert "
        "teaches that class's channel on all points"
    )  # fmt: skip
    teacher_weight: float = Field(
        0.1,
        ge=0,
        le=100,
        description="lambda_H; at 0.5 short trainings lose by it, see docs/results/distillation.md",
    )
    snapshots_weight: float = Field(0.1, ge=0, le=100, description="lambda_A")
    temperature: float = Field(2.0, gt=0, le=100)
    feature_weight: float = Field(
        0.5, ge=0, le=100, description="of the angle between features; 0 leaves features alone"
    )
    epochs: int | None = Field(
        None,
        ge=1,
        description="none: as many as on labels alone; fewer keep the training short where "
        "unlabelled sweeps are many",
    )
    ramp: float = Field(0.1, ge=0, le=1, description="share of the steps until full weight")
    unlabelled: bool = Field(
        True, description="learn from the split's unlabelled sweeps too, where it has any"
    )
    pseudo_labels: bool = Field(
        True,
        description="unlabelled sweeps enter the losses on labels too, with the classes that the "
        "teacher, or without one the snapshots, are sure of",
    )
    teacher_confidence_threshold: float = Field(
        0.7,
        ge=0,
        le=1,
        description="of the teacher on unlabelled points: at temperature 1 for pseudo_labels, "
        "which IHD then uses as labels, otherwise at that of distillation",
    )
    snapshots_confidence_threshold: float = Field(
        0.9, ge=0, le=1, description="of the snapshots' mean on unlabelled points"
    )
    min_information_weight: float = Field(
        0.2,
        ge=0,
        le=1,
        description="IHD: weight of a point where the student is as confident as the teacher",
    )
    balance: Literal["classes", "points"] = Field(
        "classes",
        description="IHD: classes count by their inverse root frequency, as in the cross-entropy; "
        "or every point counts alike",
    )
    expert_iou_gap: float = Field(
        0.7, gt=0, le=1, description="share of the expert's IoU by which a student must lag behind "
        "to be taught with full weight"
    )  # fmt: skip


@dataclass(frozen=True)
class TeacherTargets:
    """What the teacher said of the sweeps: `logits` [N, C], `features` [N, D], `seen` [N]."""

    outputs: RecordedOutputs
    feature_width: int


@dataclass(frozen=True)
class SnapshotTargets:
    """What the snapshots said of the sweeps.

    Attributes:
        outputs: `logits` [N, C] of the mean or the last; for ASD those of each point's expert,
            with the class [N] that chose it as `classes`, 255 for none; or, routed by channel,
            `probability` [N, C] at the temperature of distillation.
        expert_iou: [C] of each class's expert on the calibration sweeps, NaN where unknown.
    """

    outputs: RecordedOutputs
    expert_iou: Tensor


class DistillationStudent(nn.Module):
    """The student while it is taught.

    Args:
        student: what will be kept.
        feature_width: of the teacher's features; 0: features are not compared.
        classes: number of classes C.
    """

    def __init__(self, student: nn.Module, feature_width: int, classes: int) -> None:
        super().__init__()
        self.student = student
        width = student.feature_width
        self.projection = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, feature_width))
            if feature_width
            else None
        )
        # How good the student was when last measured; nothing is known before.
        self.register_buffer("iou", torch.full((classes,), torch.nan))

    def forward(self, points: Tensor, cloud: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, student.feature_width] and logits [N, C]."""
        features = self.student.features(points, cloud)
        return features, self.student.classifier(features)


def distil(
    split: Split,
    out: Path,
    student: StudentConfig,
    config: DistillationConfig,
    teacher: TeacherTargets | None,
    snapshots: SnapshotTargets | None,
    sources: Mapping[str, Any],
    attribution: str | None = None,
    progress: Progress = no_progress,
) -> TrainingResult:
    """Train the student on labels and on what was recorded of its teachers.

    Args:
        split: who learns from what; unlabelled sweeps are learned from as well.
        out: folder of the run: new, or of an earlier run with the same data and settings.
        student: the very settings of the baseline.
        config: who teaches what.
        teacher, snapshots: recorded for `split.train_and_unlabelled`; None where `config` names
            none.
        sources: what the targets were made from, in JSON values: part of the run's identity and of
            the model's provenance.
        attribution: whom the data's licence wants credited; goes into the model file.

    Raises:
        InputError: a folder that belongs to another run, or a training that diverged.
    """
    settings = stage_settings(
        split, student, distillation=config.model_dump(mode="json"), sources=dict(sources),
        attribution=attribution,
    )  # fmt: skip
    fabric = make_fabric(student.loop, out)
    with fabric.rank_zero_first():
        folder = RunFolder(out, settings)
        if (found := folder.result()) is not None:
            return TrainingResult(out / MODEL, **found)
        learned_from = split if config.unlabelled else split.labelled()
        network, metadata = make_network(learned_from, student, attribution)
        folder.claim()
    metadata.provenance["distillation"] = config.model_dump(mode="json") | dict(sources)
    compare = teacher is not None and config.teacher == "information" and config.feature_weight > 0
    learner = DistillationStudent(
        network, teacher.feature_width if compare else 0, len(split.taxonomy)
    )
    dataset = training_dataset(
        split,
        learned_from.train_and_unlabelled,
        student,
        extras=_extras(teacher, snapshots, compare),
        unlabelled=split.unlabelled,
    )
    supervised = supervised_loss(split, student)
    by_class = training_class_weights(split) if config.balance == "classes" else None
    distilled_share: dict[str, Tensor] = {}

    def loss(model: nn.Module, batch: Batch, done: float) -> dict[str, Tensor]:
        if config.pseudo_labels and learned_from.unlabelled:
            batch = with_pseudo_labels(batch, config)
        features, logits = (x.float() for x in model(batch.points, batch.cloud))
        terms = supervised(logits, batch.labels)
        ramp_weight = ramp(done, 1.0, config.ramp)
        log_student = soften(logits, config.temperature)
        if teacher is not None:
            taught, distilled_share["teacher"] = _teacher_loss(
                log_student, features, learner.projection, batch, config, by_class
            )
            terms["teacher"] = ramp_weight * config.teacher_weight * taught
        if snapshots is not None:
            expert_iou = snapshots.expert_iou.to(logits.device)
            experts = expert_weights(expert_iou, learner.iou, config.expert_iou_gap)
            distilled_share["snapshots"] = experts.mean()
            taught = _snapshot_loss(log_student, batch, experts, config)
            terms["snapshots"] = ramp_weight * config.snapshots_weight * taught
        return terms

    validate = validator(split, student, fabric)

    def measure(model: nn.Module) -> float | None:
        if config.snapshots in ("adept", "random"):
            model.iou.copy_(_calibration_iou(model.student, split, student, fabric))
        return None if validate is None else validate(model.student)

    def log_distilled_share(_: nn.Module, step: int, __: int) -> None:
        fabric.log_dict(
            {
                f"distilled_share/{source}": share.item()
                for source, share in distilled_share.items()
            },
            step,
        )

    history = fit(
        fabric,
        learner,
        dataset=dataset,
        loss=loss,
        callbacks=Callbacks(
            save_best=lambda model: model_file.save(out / MODEL, model.student, metadata),
            validate=measure,
            after_step=log_distilled_share,
            progress=progress,
        ),
        config=student.loop.model_copy(update={"epochs": config.epochs or student.loop.epochs}),
        folder=out,
    )
    result = history.result()
    finish(fabric, folder, result)
    return TrainingResult(out / MODEL, **result)


def with_pseudo_labels(batch: Batch, config: DistillationConfig) -> Batch:
    """A batch whose clouds without any label have the classes that their teacher is sure of: 255
    where it is not, or where IHD's teacher sees no image (Lee, "Pseudo-Label", 2013).

    Beside the divergence, because rare classes are learned from the losses on labels: they weigh
    by class, and Lovasz sees each class's IoU.

    Args:
        batch: with what was recorded of the teacher, or of the snapshots where there is none;
            routed by channel those name no class, and the batch stays as it is.
    """
    labelled = torch.zeros(int(batch.cloud[-1]) + 1, dtype=torch.bool, device=batch.labels.device)
    labelled[batch.cloud[batch.labels != UNLABELLED]] = True
    without = ~labelled[batch.cloud]
    targets = batch.extras
    if not without.any():
        return batch
    if "teacher" in targets:
        classes = _sure_of(targets["teacher"], config.teacher_confidence_threshold)
        if config.teacher == "information":
            classes = torch.where(targets["seen"] > 0, classes, UNLABELLED)
    elif "classes" in targets:
        classes = targets["classes"].long()
    elif "logits" in targets:
        classes = _sure_of(targets["logits"], config.snapshots_confidence_threshold)
    else:
        return batch
    return replace(batch, labels=torch.where(without, classes, batch.labels))


def _sure_of(logits: Tensor, threshold: float) -> Tensor:
    """[N] likeliest classes, 255 where the confidence is below the threshold."""
    log_p = soften(logits.float())
    return torch.where(confidence(log_p) >= threshold, log_p.argmax(1), UNLABELLED)


def _teacher_loss(
    log_student: Tensor,
    features: Tensor,
    projection: nn.Module | None,
    batch: Batch,
    config: DistillationConfig,
    by_class: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The loss, and the share of the batch's points that hear the teacher."""
    log_teacher = soften(batch.extras["teacher"].float(), config.temperature)
    if config.teacher == "vanilla":
        everyone = log_teacher.new_ones(())
        return vanilla_distillation(log_student, log_teacher, config.temperature), everyone
    weights = information_weights(
        log_student,
        log_teacher,
        batch.labels,
        batch.extras["seen"] > 0,
        config.teacher_confidence_threshold,
        config.min_information_weight,
        None if by_class is None else by_class.to(log_student.device),
    )
    gap = None
    if projection is not None:
        weighted = torch.nonzero(weights)[:, 0]
        found = feature_gap(
            projection(features.index_select(0, weighted)),
            batch.extras["features"].index_select(0, weighted).float(),
        )
        gap = torch.zeros_like(weights).index_copy(0, weighted, found)
    taught = information_distillation(
        log_student, log_teacher, weights, config.temperature, gap, config.feature_weight
    )
    return taught, (weights > 0).float().mean()


def _snapshot_loss(
    log_student: Tensor, batch: Batch, experts: Tensor, config: DistillationConfig
) -> Tensor:
    temperature = config.temperature
    if "probability" in batch.extras:
        probability = batch.extras["probability"].float()
        return adept_channel_distillation(log_student, probability, experts, temperature)
    log_expert = soften(batch.extras["logits"].float(), temperature)
    if "classes" not in batch.extras:
        return vanilla_distillation(log_student, log_expert, temperature)
    classes = batch.extras["classes"].long()
    return adept_distillation(log_student, log_expert, classes, experts, temperature)


def _extras(
    teacher: TeacherTargets | None, snapshots: SnapshotTargets | None, features: bool
) -> Extras:
    def extras(ref: SweepRef, _: np.random.Generator) -> dict[str, np.ndarray]:
        found = {}
        if teacher is not None:
            targets = teacher.outputs.of(ref)
            found |= {"teacher": targets["logits"], "seen": targets["seen"]}
            if features:
                found["features"] = targets["features"]
        if snapshots is not None:
            found |= snapshots.outputs.of(ref)
        return found

    return extras


def _calibration_iou(
    network: nn.Module, split: Split, student: StudentConfig, fabric: Fabric
) -> Tensor:
    """[C] on the calibration sweeps, NaN where a class does not occur there."""
    found = evaluate(
        lambda points: predict(network, points, student.max_range, fabric.device),
        (split.sweep(ref) for ref in of_this_rank(split.calibration, fabric)),
        split.taxonomy,
    )
    return torch.from_numpy(iou(sum_over_processes(found.counts, fabric))).float()
