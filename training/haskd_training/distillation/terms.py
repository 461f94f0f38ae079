"""The distillation terms of the student's loss, each with how much of its source takes part."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from haskd_training.distillation.config import DistillationConfig
from haskd_training.distillation.losses import (
    adept_channel_distillation,
    adept_distillation,
    feature_gap,
    information_distillation,
    information_weights,
    vanilla_distillation,
)
from haskd_training.distillation.targets import (
    ChannelBatch,
    PlainBatch,
    SnapshotBatch,
    TeacherBatch,
)
from haskd_training.learning.losses import soften


def teacher_term(
    log_student: Tensor,
    student_features: Tensor,
    teacher: TeacherBatch,
    labels: Tensor,
    *,
    projection: nn.Module | None,
    class_weights: Tensor | None,
    config: DistillationConfig,
) -> tuple[Tensor, Tensor]:
    """Distillation from the teacher: IHD, or the plain divergence on all points alike.

    Args:
        log_student: [N, C] at the temperature of distillation.
        student_features: [N, student.feature_width].
        labels: [N] int64, 255 unlabelled.
        projection: of the student's features to the teacher's width; None: they are not compared.
        class_weights: [C] for IHD; None: every point counts alike.

    Returns:
        The loss, and the share of the points that are distilled.
    """
    log_teacher = soften(teacher.logits, config.temperature)
    if config.teacher == "vanilla":
        loss = vanilla_distillation(log_student, log_teacher, config.temperature)
        return loss, log_teacher.new_ones(())
    weights = information_weights(
        log_student,
        log_teacher,
        labels,
        teacher.seen,
        config.teacher_confidence_threshold,
        config.min_information_weight,
        None if class_weights is None else class_weights.to(log_student.device),
    )
    gap = None
    if projection is not None and teacher.features is not None:
        rows = torch.nonzero(weights)[:, 0]
        gap_of_rows = feature_gap(
            projection(student_features.index_select(0, rows)),
            teacher.features.index_select(0, rows).float(),
        )
        gap = torch.zeros_like(weights).index_copy(0, rows, gap_of_rows)
    loss = information_distillation(
        log_student, log_teacher, weights, config.temperature, gap, config.feature_weight
    )
    return loss, (weights > 0).float().mean()


def snapshot_term(
    log_student: Tensor, snapshots: SnapshotBatch, expert_weights: Tensor, temperature: float
) -> Tensor:
    """Distillation from the snapshots: ASD by point or by channel, or plain.

    Args:
        log_student: [N, C] at the temperature.
        expert_weights: [C] e_c of each class's expert; plain distillation has no use for them.
    """
    if isinstance(snapshots, ChannelBatch):
        return adept_channel_distillation(
            log_student, snapshots.probability, expert_weights, temperature
        )
    log_expert = soften(snapshots.logits, temperature)
    if isinstance(snapshots, PlainBatch):
        return vanilla_distillation(log_student, log_expert, temperature)
    return adept_distillation(
        log_student, log_expert, snapshots.classes, expert_weights, temperature
    )
