"""The camera + LiDAR teacher: the student's network with an image branch, trained on the chosen
images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.taxonomy import Taxonomy
from haskd_training.core.exchange import sum_over_processes
from haskd_training.core.file_digests import file_digest
from haskd_training.core.processes import own
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import RunFolder
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.fusion import FusionTeacher, load_teacher, save_teacher
from haskd_training.distillation.learning_teacher import (
    LearningTeacher,
    learning_predictor,
    with_pixels,
)
from haskd_training.images.features import (
    ENCODER,
    NO_DROPOUT,
    ImageDropout,
    ImageFeatures,
    learned_features,
    save_network,
)
from haskd_training.learning.batches import Batch, Extras
from haskd_training.learning.inference import (
    SweepPredictor,
    network_predictor,
    of_sweep,
    predict_with,
)
from haskd_training.learning.initial_weights import FRESH
from haskd_training.learning.loop import Callbacks, finish, finished_result, fit, make_fabric
from haskd_training.learning.student import (
    NetworkSize,
    StudentConfig,
    make_network,
    stage_settings,
    supervised_loss,
    training_dataset,
)
from haskd_training.metrics.confusion import confusion, iou, mean_iou

log = logging.getLogger(__name__)

TEACHER = "teacher.safetensors"
LEARNED = "features"


class TeacherConfig(BaseModel):
    """How the teacher differs from the student."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    init: Literal["student", "baseline"] = Field(
        "student",
        description="weights that the trunk starts from: student, those that the student starts "
        "from (student.init); baseline, those that it ends with on labels alone",
    )
    size: NetworkSize | None = Field(
        None,
        description="network of the trunk, as student.size; null: the student's. One of another "
        "size starts fresh",
    )
    width: int = Field(32, ge=1, le=1024, description="channels of the image branch")
    camera_dropout: float = Field(
        0.2, ge=0, le=1, description="share of the training sweeps that are shown without images"
    )
    image_dropout: float = Field(
        0.0, ge=0, le=1, description="share of the images that are kept back from the others"
    )
    epochs: int | None = Field(None, ge=1, description="none: as many as the student")
    learning_rate: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="none: the student's"
    )

    @property
    def dropout(self) -> ImageDropout:
        return ImageDropout(self.camera_dropout, self.image_dropout)


@dataclass(frozen=True)
class TeacherResult:
    """Where the teacher lies and what it is worth.

    Attributes:
        teacher: the teacher file, best epoch by validation mIoU.
        features: that it reads: those it was given, or, where the encoder learned, those that the
            encoder makes now.
        best_epoch: counted from 1.
        validation_miou: of that epoch, 0..1; None without a validation split.
        seconds: spent in training, all runs of it together.
        comparison: with the baseline on the calibration sweeps: `points` and `seen_points` with a
            label, and of `baseline` and `teacher` the mIoU over both (`miou`, `seen_miou`; None
            without such points) and each class's IoU over the latter (`seen_iou`).
    """

    teacher: Path
    features: ImageFeatures
    best_epoch: int
    validation_miou: float | None
    seconds: float
    comparison: dict[str, Any]


def teacher_inputs(
    split: Split,
    features: ImageFeatures,
    baseline: Path,
    student: StudentConfig,
    config: TeacherConfig,
) -> dict[str, Any]:
    """All that `train_teacher` depends on, as JSON values."""
    return stage_settings(
        # Of the other sweeps it sees the features alone.
        split.labelled(),
        student,
        teacher=config.model_dump(mode="json"),
        features=features.identity,
        baseline=file_digest(baseline),
    )


def train_teacher(
    split: Split,
    features: ImageFeatures,
    baseline: Path,
    out: Path,
    student: StudentConfig,
    config: TeacherConfig,
    progress: Progress = no_progress,
) -> TeacherResult:
    """Train a teacher with the baseline's losses, data order and augmentation. An interrupted run
    goes on; a finished one returns its result.

    Args:
        split: roles of the sweeps.
        features: of its training, calibration and validation sweeps; those of others are made anew
            where the encoder learns.
        baseline: model file of the student trained on labels alone, to be compared with and, if
            `config` says so, to start from.
        out: new, empty, or of an earlier run with the same inputs and settings.
        student: the settings of the baseline.

    Raises:
        InputError: a folder that belongs to another run, a baseline that can't be read or to start
            from, or a training that diverged.
    """

    def features_of_teacher() -> ImageFeatures:
        if features.config.frozen:
            return features
        return learned_features(features, out / ENCODER, out / LEARNED, split, progress)

    inputs = teacher_inputs(split, features, baseline, student, config)
    student = _with_overrides(student, config)
    alone, _ = model_file.load(baseline)
    fabric = make_fabric(student.loop, out)
    folder = RunFolder(out, inputs)
    if (found := finished_result(folder)) is not None:
        return TeacherResult(out / TEACHER, features_of_teacher(), **found)
    trunk, metadata = make_network(split, student, None)
    if config.init == "baseline":
        _start_from(trunk, alone, baseline)
    folder.claim()
    teacher = FusionTeacher(trunk, features.width, config.width)
    network: FusionTeacher | LearningTeacher = teacher
    extras = with_images(features, config.dropout)
    if not features.config.frozen:
        network = LearningTeacher(teacher, features.network(), features, split.caches)
        extras = with_pixels(features, config.dropout)
    supervised = supervised_loss(split, student)

    def loss(model: nn.Module, batch: Batch, _: float) -> dict[str, Tensor]:
        logits = batch.of_newest(model(batch.points, batch.cloud, **batch.extras))
        return supervised(logits.float(), batch.of_newest(batch.labels))

    def measure(predictor: SweepPredictor, refs: Sequence[SweepRef]) -> np.ndarray:
        confusions = seen_and_unseen_confusion(
            predictor, split, own(refs), features, student.max_range, fabric.device
        )
        return sum_over_processes(confusions)

    def validate(model: FusionTeacher | LearningTeacher) -> float:
        predictor = (
            learning_predictor(model, features)
            if isinstance(model, LearningTeacher)
            else teacher_predictor(model, features)
        )
        return mean_iou(measure(predictor, split.validation).sum(0))

    def save(model: FusionTeacher | LearningTeacher) -> None:
        if isinstance(model, LearningTeacher):
            save_network(out / ENCODER, model.pixel_features)
            model = model.teacher
        save_teacher(out / TEACHER, model, metadata)

    history = fit(
        fabric,
        network,
        dataset=training_dataset(split, split.train, student, extras=extras),
        loss=loss,
        callbacks=Callbacks(
            save_best=save,
            validate=validate if split.validation else None,
            progress=progress,
        ),
        config=student.loop,
        folder=out,
    )
    best, _ = load_teacher(out / TEACHER)
    features = features_of_teacher()
    result = history.result() | {
        "comparison": _compare(
            measure(network_predictor(alone.to(fabric.device)), split.calibration),
            measure(teacher_predictor(best.to(fabric.device), features), split.calibration),
            split.taxonomy,
        ),
    }
    finish(fabric, folder, result)
    return TeacherResult(out / TEACHER, features, **result)


def with_images(features: ImageFeatures, dropout: ImageDropout = NO_DROPOUT) -> Extras:
    """Image features of each point, under the names of `FusionTeacher.forward`'s arguments.

    Args:
        dropout: drawn by the data set's generator alone.
    """

    def extras(ref: SweepRef, generator: np.random.Generator) -> dict[str, np.ndarray]:
        found, seen = features.of(ref)
        seen = features.seen_after_dropout(ref, seen, dropout, generator)
        return {"image_features": found, "seen": seen}

    return extras


def teacher_predictor(network: FusionTeacher, features: ImageFeatures) -> SweepPredictor:
    """A teacher's `logits` [n, C] and `features` [n, feature_width] of a sweep's points, and which
    are `seen` [n]."""

    @torch.inference_mode()
    def predictor(ref: SweepRef, points: Tensor, near: np.ndarray) -> dict[str, Tensor]:
        image_features, seen = (
            torch.from_numpy(x[near]).to(points.device) for x in features.of(ref)
        )
        # No image is looked at for what the sweeps before measured.
        of_all = torch.cat([seen, seen.new_zeros(len(points) - len(seen))])
        hidden = of_sweep(network.features(points, None, image_features, of_all), near)
        return {"logits": network.trunk.classifier(hidden), "features": hidden, "seen": seen}

    return predictor


def seen_and_unseen_confusion(
    predictor: SweepPredictor,
    split: Split,
    refs: Sequence[SweepRef],
    features: ImageFeatures,
    max_range: float,
    device: torch.device,
) -> np.ndarray:
    """[2, C, C + 1] confusions over the points that no image sees, and over those that one does."""
    classes = len(split.taxonomy)
    counts = np.zeros((2, classes, classes + 1), np.int64)
    for ref in refs:
        sweep, seen = split.sweep(ref), features.seen(ref)
        predicted = predict_with(partial(predictor, ref), sweep, max_range, device)
        for row, among in enumerate((~seen, seen)):
            counts[row] += confusion(sweep.label[among], predicted[among], classes)
    return counts


def _compare(baseline: np.ndarray, teacher: np.ndarray, taxonomy: Taxonomy) -> dict[str, Any]:
    """What the images are worth: mIoU over the points that an image sees and over all, and each
    class's IoU over the former. Warns where the teacher is not better: nothing is to be distilled
    then.

    Args:
        baseline, teacher: of `seen_and_unseen_confusion`, on the same sweeps.
    """
    unseen, seen = baseline.sum((1, 2))
    result: dict[str, Any] = {"points": int(unseen + seen), "seen_points": int(seen)}
    for name, counts in (("baseline", baseline), ("teacher", teacher)):
        result[name] = {
            "seen_miou": _number(mean_iou(counts[1])),
            "miou": _number(mean_iou(counts.sum(0))),
            "seen_iou": dict(zip(taxonomy.names, map(_number, iou(counts[1])))),
        }
    before, after = result["baseline"]["seen_miou"], result["teacher"]["seen_miou"]
    if before is None:
        log.warning(
            "no labelled point of the calibration sweeps is seen by an image: "
            "whether the teacher knows more than the baseline is not known"
        )
    elif after <= before:
        log.warning(
            "THE TEACHER IS NOT BETTER THAN THE BASELINE on the points that an image sees "
            "(%.1f and %.1f %% mIoU): there is nothing to distil. Look at the calibration first "
            "(the overlays that prepare leaves), then try more epochs",
            100 * after,
            100 * before,
        )
    else:
        log.info(
            "on the points that an image sees: teacher %.1f, baseline %.1f %% mIoU",
            100 * after,
            100 * before,
        )
    return result


def _number(score: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(score) else float(score)


def _with_overrides(student: StudentConfig, config: TeacherConfig) -> StudentConfig:
    loop = {
        name: value
        for name in ("epochs", "learning_rate")
        if (value := getattr(config, name)) is not None
    }
    size = config.size or student.size
    return student.model_copy(
        update={
            "size": size,
            "init": student.init if size == student.size else FRESH,
            "loop": student.loop.model_copy(update=loop),
        }
    )


def _start_from(trunk: nn.Module, baseline: nn.Module, path: Path) -> None:
    try:
        trunk.load_state_dict(baseline.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"teacher.init is baseline, but {path} is another network than the teacher's trunk; "
            "use init student, or the same size"
        ) from error
