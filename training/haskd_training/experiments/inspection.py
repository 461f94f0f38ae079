"""`haskd inspect`: a recording's examination, its likeness to a model, and what a run would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_training.core.progress import Steps
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.data.preparing.examination.examination import (
    CameraSummary,
    Examination,
    of_images,
)
from haskd_training.data.preparing.examination.images import NEAR_NS
from haskd_training.data.preparing.inputs import PrepareConfig, examine_bags
from haskd_training.data.splits import ROLES, make_split
from haskd_training.pipeline.config import MethodConfig, check
from haskd_training.recordings.cloud_sample import usual_mismatches
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.transform_tree import NoTransform


@dataclass(frozen=True)
class RunPlan:
    """What a run on some recordings would do.

    Attributes:
        sweeps: by role.
        teaching_images: by recording and camera, images with a pose near a cloud in time.
        stops: why it would stop before any training; None where it wouldn't.
    """

    sweeps: dict[str, int]
    teaching_images: dict[str, dict[str, int]]
    stops: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "sweeps": self.sweeps,
            "teaching_images": self.teaching_images,
            "stops": self.stops,
        }


@dataclass(frozen=True)
class Inspection:
    """Some recordings as they are before anything is computed.

    Attributes:
        model: name of the model that the sensors are compared with.
        unlike: by recording, in which quantities its sensor is unlike the model's.
        plan: of a run on all of them; None where no labels are given.
    """

    examinations: list[Examination]
    model: str
    unlike: dict[str, list[str]]
    plan: RunPlan | None

    @property
    def findings(self) -> list[Finding]:
        """Of all recordings."""
        return [finding for one in self.examinations for finding in one.findings]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "recordings": {
                one.recording.name: one.to_json()
                | {"unlike_the_model": self.unlike[one.recording.name]}
                for one in self.examinations
            },
            "model": self.model,
            "run": None if self.plan is None else self.plan.to_json(),
        }


def inspect(
    bags: Sequence[Path], labels: str | None, model: Path, config: PrepareConfig, steps: Steps
) -> Inspection:
    """Examine bags; nothing is written.

    Args:
        labels: label map, a file or the name of one that ships; None looks at no labels.
        model: model file to compare the sensors with.

    Raises:
        InputError: a bag, its labels or the model can't be read.
    """
    _, metadata = model_file.load(model)
    with steps("examining") as progress:
        examinations = examine_bags(bags, labels, config, progress)
    unlike = {one.recording.name: usual_mismatches(one.examples, metadata) for one in examinations}
    plan = None if labels is None else run_plan(examinations, MethodConfig())
    return Inspection(examinations, model.name, unlike, plan)


def run_plan(examinations: Sequence[Examination], config: MethodConfig) -> RunPlan:
    """What a run on recordings would do that were examined with their labels."""
    teaching = {
        one.recording.name: {camera.name: teaching_images(one, camera) for camera in one.cameras}
        for one in examinations
    }
    caches = [_outline(one, teaching[one.recording.name]) for one in examinations]
    try:
        split = make_split(caches, config.student.split)
    except InputError as error:
        return RunPlan({}, teaching, str(error))
    sweeps = {role: len(getattr(split, role)) for role in ROLES}
    blind = [line for one in examinations for line in of_images(one.findings)]
    sees = any(camera.seen for one in examinations for camera in one.cameras)
    try:
        check(split, config, "" if sees else "; ".join(blind))
    except InputError as error:
        return RunPlan(sweeps, teaching, str(error))
    return RunPlan(sweeps, teaching, None)


def teaching_images(examination: Examination, camera: CameraSummary) -> int:
    """Images of a camera that have a pose and a cloud near them in time."""
    recording, stamps = examination.recording, examination.image_stamps[camera.name]
    clouds = np.sort(examination.cloud_stamps)
    if camera.problem is not None or not len(clouds) or not len(stamps):
        return 0
    after = np.searchsorted(clouds, stamps)
    nearest = np.minimum(
        np.abs(clouds[np.minimum(after, len(clouds) - 1)] - stamps),
        np.abs(clouds[np.maximum(after - 1, 0)] - stamps),
    )
    near = stamps[nearest <= NEAR_NS]
    try:
        _, reasons = recording.tree.lookups(
            recording.world_frame or recording.lidar_frame, camera.frame, near.tolist()
        )
    except NoTransform:
        return 0
    return sum(reason is None for reason in reasons)


def _outline(examination: Examination, images: dict[str, int]) -> Cache:
    """A cache that holds no points and no pixels, for what only needs to know what there is."""
    labels = examination.labels
    assert labels is not None, "examined with its labels"
    name = examination.recording.name
    return Cache(
        path=examination.recording.path,
        taxonomy=labels.taxonomy,
        intensity_scale=1.0,
        statistics={},
        sweeps=[
            SweepRow(name, int(stamp), int(counts.sum()), counts.tolist())
            for stamp, counts in zip(labels.stamps, labels.counts, strict=True)
        ],
        images=[
            ImageRow(name, camera, 0, 0, 0, [], "", [])
            for camera, count in images.items()
            for _ in range(min(count, 1))
        ],
        fingerprint=name,
    )
