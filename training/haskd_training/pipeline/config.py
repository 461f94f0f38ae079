"""All that HAS-KD does with prepared data, and whether the data can serve it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, model_validator

from haskd_ros.errors import InputError
from haskd_training.data.splits import Split
from haskd_training.distillation.config import DistillationConfig
from haskd_training.distillation.expertise import ExpertiseConfig
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


def check(split: Split, config: MethodConfig) -> None:
    """Check that the data is enough for the configuration.

    Raises:
        InputError: it can't.
    """
    labelled = len(split.train + split.calibration + split.validation + split.test)
    too_few = f"; there are {labelled} labelled sweeps, at least 3 are needed"
    if not split.calibration:
        raise InputError(
            "no labelled sweep to calibrate on (HAS-KD needs it to tell which snapshot is adept at "
            "what)" + (too_few if labelled < 3 else ": raise student.split.calibration")
        )
    if not (split.test or split.validation):
        raise InputError(
            "no labelled sweep to score on"
            + (too_few if labelled < 3 else ": raise student.split.test or .validation")
        )
    images = any(split.caches[ref.cache].images for ref in split.train)
    if config.distillation.teacher != "none" and not images:
        raise InputError(
            "no images in the bags, so there is no teacher: record a camera, or set "
            "distillation.teacher=none to learn from labels and snapshots alone"
        )
