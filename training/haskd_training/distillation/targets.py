"""Distillation targets: recorded for whole sweeps, and as a batch of them reaches the losses.

Which arrays go with a sweep follows from the configuration alone, here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.config import DistillationConfig
from haskd_training.distillation.losses import confidence
from haskd_training.learning.batches import Extras
from haskd_training.learning.losses import soften
from haskd_training.learning.recorded_outputs import Outputs


@dataclass(frozen=True)
class TeacherTargets:
    """Recorded outputs of the teacher: `logits` [N, C], `features` [N, D], `seen` [N].

    Attributes:
        feature_width: D.
    """

    outputs: Outputs
    feature_width: int


@dataclass(frozen=True)
class SnapshotTargets:
    """Recorded outputs of the snapshots.

    Attributes:
        outputs: `logits` [N, C] of the mean or the last; for ASD those of each point's expert,
            with the class [N] that chose it as `classes`, 255 for none; or, routed by channel,
            `probability` [N, C] at the temperature of distillation.
        expert_iou: [C] of each class's expert on the calibration sweeps, NaN where unknown.
    """

    outputs: Outputs
    expert_iou: Tensor


@dataclass(frozen=True)
class TeacherBatch:
    """The teacher's outputs for N points: logits [N, C], seen [N] bool by an image of its, features
    [N, D] as recorded, where those are compared."""

    logits: Tensor
    seen: Tensor
    features: Tensor | None = None


@dataclass(frozen=True)
class PlainBatch:
    """Outputs [N, C] of the snapshots' mean, or of the last one."""

    logits: Tensor


@dataclass(frozen=True)
class RoutedBatch:
    """ASD by point: outputs [N, C] of each point's expert, and the classes [N] int64 that chose it,
    255 for none."""

    logits: Tensor
    classes: Tensor


@dataclass(frozen=True)
class ChannelBatch:
    """ASD by channel: [N, C] probabilities at the temperature of distillation, channel c from the
    expert of class c."""

    probability: Tensor


SnapshotBatch = PlainBatch | RoutedBatch | ChannelBatch


@dataclass(frozen=True)
class BatchTargets:
    """What a batch is distilled from; None for a source that the configuration does not name."""

    teacher: TeacherBatch | None = None
    snapshots: SnapshotBatch | None = None


def compares_features(config: DistillationConfig) -> bool:
    """Whether the student's features are compared with the teacher's."""
    return config.teacher == "information" and config.feature_weight > 0


def sweep_extras(
    config: DistillationConfig, teacher: TeacherTargets | None, snapshots: SnapshotTargets | None
) -> Extras:
    """The recorded arrays that go with each sweep of a data set, for `batch_targets`."""

    def extras(ref: SweepRef, _: np.random.Generator) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        if teacher is not None:
            outputs = teacher.outputs.of(ref)
            names = ("logits", "seen", "features")[: 3 if compares_features(config) else 2]
            arrays |= {f"teacher_{name}": outputs[name] for name in names}
        if snapshots is not None:
            outputs = snapshots.outputs.of(ref)
            arrays |= {f"snapshot_{name}": value for name, value in outputs.items()}
        return arrays

    return extras


def batch_targets(extras: Mapping[str, Tensor], config: DistillationConfig) -> BatchTargets:
    """What `sweep_extras` sent along with a batch."""
    teacher: TeacherBatch | None = None
    if config.teacher != "none":
        teacher = TeacherBatch(
            extras["teacher_logits"].float(),
            extras["teacher_seen"] > 0,
            extras["teacher_features"] if compares_features(config) else None,
        )
    snapshots: SnapshotBatch | None = None
    if config.snapshots in ("mean", "last"):
        snapshots = PlainBatch(extras["snapshot_logits"].float())
    elif config.snapshots in ("adept", "random"):
        if config.routing == "channel":
            snapshots = ChannelBatch(extras["snapshot_probability"].float())
        else:
            classes = extras["snapshot_classes"].long()
            snapshots = RoutedBatch(extras["snapshot_logits"].float(), classes)
    return BatchTargets(teacher, snapshots)


def pseudo_labels(
    labels: Tensor,
    supervised: Tensor,
    targets: BatchTargets,
    config: DistillationConfig,
    *,
    taught_by_images: bool = False,
) -> Tensor:
    """Labels of a batch in which sweeps without any label have the confident predictions of the
    teacher, or of the snapshots where there is no teacher: 255 elsewhere, and where IHD's teacher
    sees no image (Lee, "Pseudo-Label", 2013).

    Where labels come from images, a point without one was not seen, or the images left it open:
    there the predictions stand in point by point, seen or not.

    Beside the divergence, because rare classes are learned from the supervised losses: they weigh
    by class, and Lovasz sees each class's IoU. By channel the snapshots name no class; labels stay
    as they are then.

    Args:
        labels: [N] int64, 255 unlabelled.
        supervised: [N] bool, points of sweeps that have labels.
        taught_by_images: whether labels come from images.
    """
    unlabelled = labels == UNLABELLED if taught_by_images else ~supervised
    if not unlabelled.any():
        return labels
    if (teacher := targets.teacher) is not None:
        classes = _confident_classes(teacher.logits, config.teacher_confidence_threshold)
        if config.teacher == "information" and not taught_by_images:
            classes = torch.where(teacher.seen, classes, UNLABELLED)
    elif isinstance(targets.snapshots, RoutedBatch):
        classes = targets.snapshots.classes
    elif isinstance(targets.snapshots, PlainBatch):
        classes = _confident_classes(
            targets.snapshots.logits, config.snapshots_confidence_threshold
        )
    else:
        return labels
    return torch.where(unlabelled, classes, labels)


def _confident_classes(logits: Tensor, threshold: float) -> Tensor:
    """[N] likeliest classes, 255 where the confidence is below the threshold."""
    log_p = soften(logits)
    return torch.where(confidence(log_p) >= threshold, log_p.argmax(1), UNLABELLED)
