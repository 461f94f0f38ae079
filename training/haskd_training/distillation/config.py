"""What the student is distilled from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DistillationConfig(BaseModel):
    """What the student is distilled from, and with which weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teacher: Literal["information", "vanilla", "none"] = Field(
        "information",
        description="information: IHD; vanilla: the same divergence on all points alike",
    )
    snapshots: Literal["adept", "random", "mean", "last", "none"] = Field(
        "adept",
        description="adept: ASD; random: ASD with experts drawn at random; mean, last: plain "
        "distillation from the mean of the snapshots, or from the last one",
    )
    routing: Literal["label", "channel"] = Field(
        "label", description="ASD: label: a point's expert is that of its label; channel: each "
        "class's channel is distilled from the class's expert, on all points"
    )  # fmt: skip
    teacher_weight: float = Field(
        0.1,
        ge=0,
        le=100,
        description="lambda_H; at 0.5 short trainings lose by it, see docs/results/distillation.md",
    )
    snapshots_weight: float = Field(0.1, ge=0, le=100, description="lambda_A")
    temperature: float = Field(
        2.0, gt=0, le=100, description="of the softmax of teacher, experts and student"
    )
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
        description="unlabelled sweeps enter the supervised losses too, with the confident "
        "predictions of the teacher, or of the snapshots where there is none, as labels",
    )
    teacher_confidence_threshold: float = Field(
        0.7,
        ge=0,
        le=1,
        description="least confidence of the teacher on unlabelled points: at temperature 1 for "
        "pseudo_labels, which IHD then takes for labels, otherwise at that of distillation",
    )
    snapshots_confidence_threshold: float = Field(
        0.9, ge=0, le=1, description="least confidence of the snapshots' mean on unlabelled points"
    )
    min_information_weight: float = Field(
        0.2,
        ge=0,
        le=1,
        description="weight of a point on which the teacher is no more confident than the student",
    )
    balance: Literal["classes", "points"] = Field(
        "classes",
        description="IHD: classes count by their inverse root frequency, as in the cross-entropy; "
        "or every point counts alike",
    )
    expert_iou_gap: float = Field(
        0.7, gt=0, le=1, description="share of the expert's IoU by which the student must be worse "
        "for the expert's full weight; out of fold nothing is left to measure the student on, and "
        "experts keep their full weight"
    )  # fmt: skip
