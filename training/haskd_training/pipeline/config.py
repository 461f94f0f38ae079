"""All that HAS-KD does with prepared data, and whether the data can serve it."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, model_validator

from haskd_ros.errors import InputError
from haskd_ros.models import build, of_size
from haskd_training.data.splits import Split
from haskd_training.distillation.config import DistillationConfig
from haskd_training.distillation.expertise import ExpertiseConfig
from haskd_training.distillation.fusion import check_trunk
from haskd_training.distillation.teacher import TeacherConfig
from haskd_training.images.candidates import SelectionConfig
from haskd_training.images.encoder import EncoderConfig
from haskd_training.learning.student import StudentConfig


class MethodConfig(BaseModel):
    """All that HAS-KD does with prepared data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    student: StudentConfig = StudentConfig()
    selection: SelectionConfig = SelectionConfig()
    encoder: EncoderConfig = EncoderConfig()
    teacher: TeacherConfig = TeacherConfig()
    expertise: ExpertiseConfig = ExpertiseConfig()
    distillation: DistillationConfig = DistillationConfig()

    @model_validator(mode="after")
    def _pool_is_large_enough(self) -> MethodConfig:
        if self.expertise.pool == "cyclic":
            self.student.check_cycles()
        return self


def check(split: Split, config: MethodConfig, no_images: str = "") -> None:
    """Check that the data is enough for the configuration.

    Args:
        no_images: why no image shows a point of the cloud; empty where one does, or where there
            are no images.

    Raises:
        InputError: it can't.
    """
    labelled = len(split.train + split.calibration + split.validation + split.test)
    too_few = f"; there are {labelled} labelled sweeps, at least 3 are needed"
    if not split.calibration and not split.parts:
        raise InputError(
            "no labelled sweep to calibrate on (HAS-KD needs it to tell which snapshot is adept at "
            "what)" + (too_few if labelled < 3 else ": raise student.split.calibration")
        )
    where = "student.split.test" + ("" if split.parts else " or .validation")
    if not (split.test or split.validation):
        raise InputError(
            "no labelled sweep to score on"
            + (too_few if labelled < 3 else f": give a test recording, or raise {where}")
        )
    if config.distillation.teacher == "none":
        return
    size = config.teacher.size or config.student.size
    architecture, arguments = of_size(size, config.student.voxel_size)
    with torch.device("meta"):
        check_trunk(build(architecture, classes=len(split.taxonomy), **arguments))
    if no_images:
        raise InputError(
            f"no image can teach: {no_images} (distillation.teacher=none learns from labels and "
            "snapshots alone)"
        )
    if not any(split.caches[ref.cache].images for ref in split.train):
        raise InputError(
            "no images in the bags, so there is no teacher: record a camera, or set "
            "distillation.teacher=none to learn from labels and snapshots alone"
        )
    for number in range(len(split.parts)):
        others = split.without_part(number).train
        if not any(split.caches[ref.cache].images for ref in others):
            raise InputError(
                f"without part {number + 1} of {len(split.parts)} no recording has images, so "
                "there is no teacher to tell of that part: fewer student.split.folds, or "
                "distillation.teacher=none"
            )
