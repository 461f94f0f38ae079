"""Training the student once more, from the same initial weights and in the same order as the
baseline, with distillation from the teacher (IHD) and the snapshots (ASD) beside the labels. The
network is not changed by it: its model file has the same tensors, and it needs no image and no
ensemble.

`L = CE + Lovasz + r(t) (lambda_H L_IHD + lambda_A L_ASD)`: this project's own reading of the
abstract of Wu, Hou et al., arXiv 2606.25278.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from haskd_ros import model_file
from haskd_ros.models.network import SegmentationNetwork
from haskd_training.core.exchange import sum_over_processes
from haskd_training.core.processes import own
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import RunFolder
from haskd_training.data.splits import Split
from haskd_training.distillation.config import DistillationConfig
from haskd_training.distillation.losses import expert_weights, ramp
from haskd_training.distillation.targets import (
    SnapshotTargets,
    TeacherTargets,
    batch_targets,
    compares_features,
    pseudo_labels,
    sweep_extras,
)
from haskd_training.distillation.terms import snapshot_term, teacher_term
from haskd_training.learning.baseline import MODEL, TrainingResult
from haskd_training.learning.batches import Batch
from haskd_training.learning.inference import predict
from haskd_training.learning.loop import Callbacks, finish, finished_result, fit, make_fabric
from haskd_training.learning.losses import resolved, soften
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

if TYPE_CHECKING:  # takes two seconds
    from lightning_fabric import Fabric


class DistillationStudent(nn.Module):
    """The student in distillation.

    Args:
        student: the network that is saved.
        feature_width: of the teacher's features; 0: features are not compared.
        classes: number of classes C.
    """

    iou: Tensor

    def __init__(self, student: SegmentationNetwork, feature_width: int, classes: int) -> None:
        super().__init__()
        self.student = student
        width = student.feature_width
        self.projection = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, feature_width))
            if feature_width
            else None
        )
        # [C] of the last validation, NaN before the first.
        self.register_buffer("iou", torch.full((classes,), torch.nan))

    def forward(self, points: Tensor, cloud: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, student.feature_width] and logits [N, C]."""
        features = self.student.features(points, cloud)
        logits: Tensor = self.student.classifier(features)
        return features, logits


def distil_inputs(
    split: Split,
    student: StudentConfig,
    config: DistillationConfig,
    teacher: TeacherTargets | None,
    snapshots: SnapshotTargets | None,
    attribution: str | None,
) -> dict[str, Any]:
    """All that `distil` depends on, as JSON values."""
    sources = {
        name: None if targets is None else targets.outputs.name
        for name, targets in (("teacher", teacher), ("snapshots", snapshots))
    }
    return stage_settings(
        split,
        student,
        distillation=config.model_dump(mode="json"),
        sources=sources,
        attribution=attribution,
    )


def distil(
    split: Split,
    out: Path,
    student: StudentConfig,
    config: DistillationConfig,
    teacher: TeacherTargets | None,
    snapshots: SnapshotTargets | None,
    attribution: str | None = None,
    progress: Progress = no_progress,
) -> TrainingResult:
    """Train the student on labels and on recorded outputs of teacher and snapshots.

    Args:
        split: roles of the sweeps; the unlabelled ones are trained on as well.
        out: folder of the run: new, or of an earlier run with the same data and settings.
        student: the very settings of the baseline.
        config: what the student is distilled from.
        teacher, snapshots: recorded for `split.train_and_unlabelled`; None where `config` names
            none.
        attribution: whom the data's licence wants credited; goes into the model file.

    Raises:
        InputError: a folder that belongs to another run, or a training that diverged.
    """
    inputs = distil_inputs(split, student, config, teacher, snapshots, attribution)
    fabric = make_fabric(student.loop, out)
    folder = RunFolder(out, inputs)
    if (found := finished_result(folder)) is not None:
        return TrainingResult(out / MODEL, **found)
    trained_on = split if config.unlabelled else split.labelled()
    network, metadata = make_network(trained_on, student, attribution)
    folder.claim()
    distillation = inputs["distillation"] | {"sources": inputs["sources"]}
    provenance = replace(metadata.provenance, distillation=distillation)
    metadata = replace(metadata, provenance=provenance)
    width = 0 if teacher is None or not compares_features(config) else teacher.feature_width
    learner = DistillationStudent(network, width, len(split.taxonomy))
    expert_iou = None if snapshots is None else snapshots.expert_iou
    dataset = training_dataset(
        split,
        trained_on.train_and_unlabelled,
        student,
        extras=sweep_extras(config, teacher, snapshots),
        unlabelled=split.unlabelled,
    )
    supervised = supervised_loss(split, student)
    members, by_images = torch.from_numpy(split.label_sets.table), split.taught_by_images
    class_weights = training_class_weights(split) if config.balance == "classes" else None
    distilled_share: dict[str, Tensor] = {}

    def loss(model: nn.Module, batch: Batch, done: float) -> dict[str, Tensor]:
        learned = batch.only_newest()
        targets, labels = batch_targets(learned.extras, config), learned.labels
        if config.pseudo_labels and (by_images or trained_on.unlabelled):
            labels = pseudo_labels(
                labels, learned.supervised, targets, config, taught_by_images=by_images
            )
        said = model(batch.points, batch.cloud)
        features, logits = (batch.of_newest(x).float() for x in said)
        terms = supervised(logits, labels)
        ramp_weight = ramp(done, 1.0, config.ramp)
        log_student = soften(logits, config.temperature)
        if targets.teacher is not None:
            term, distilled_share["teacher"] = teacher_term(
                log_student,
                features,
                targets.teacher,
                resolved(labels, members.to(labels.device), log_student),
                projection=learner.projection,
                class_weights=class_weights,
                config=config,
            )
            terms["teacher"] = ramp_weight * config.teacher_weight * term
        if targets.snapshots is not None and expert_iou is not None:
            experts = expert_weights(
                expert_iou.to(logits.device), learner.iou, config.expert_iou_gap
            )
            distilled_share["snapshots"] = experts.mean()
            term = snapshot_term(log_student, targets.snapshots, experts, config.temperature)
            terms["snapshots"] = ramp_weight * config.snapshots_weight * term
        return terms

    validate = validator(split, student, fabric)

    def measure(model: DistillationStudent) -> float | None:
        if config.snapshots in ("adept", "random"):
            model.iou.copy_(_calibration_iou(model.student, split, student, fabric))
        return None if validate is None else validate(model.student)

    def log_distilled_share(_: DistillationStudent, step: int, __: int) -> None:
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


def _calibration_iou(
    network: nn.Module, split: Split, student: StudentConfig, fabric: Fabric
) -> Tensor:
    """[C] on the calibration sweeps, NaN where a class does not occur there."""
    found = evaluate(
        lambda sweep: predict(network, sweep, student.max_range, fabric.device),
        (split.sweep(ref) for ref in own(split.calibration)),
        split.taxonomy,
    )
    return torch.from_numpy(iou(sum_over_processes(found.counts))).float()
