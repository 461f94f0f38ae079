"""The stages of HAS-KD on prepared caches, each done once for what it depends on.

ROOT/STAGE-DIGEST/, where the digest is of all that went into the stage: settings, data, and the
folders of the stages before it. Calling for a stage whose folder is finished costs nothing, an
unfinished one goes on, and changed settings lead to another folder beside the old one. Runs with
other settings under the same root share the stages in which they agree. What is found out about
each sweep alone (its images, their features, what networks say of it) lies in a folder that the
sweeps are no part of the digest of: when a recording joins, only its own are looked at.

Under torchrun all processes train together; what is no training the first one does, while the
others wait.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from haskd_ros.files import write_atomically
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.progress import Steps
from haskd_training.core.run_folder import RunFolder, file_digest
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.distil import (
    SnapshotTargets,
    TeacherTargets,
    distil,
)
from haskd_training.distillation.expertise import ExpertiseTable
from haskd_training.distillation.fusion import load_teacher
from haskd_training.distillation.snapshots import (
    channel_probabilities,
    find_experts,
    mean_logits,
    route,
)
from haskd_training.distillation.teacher import (
    TeacherResult,
    teacher_predictor,
    train_teacher,
)
from haskd_training.images.features import ImageFeatures, image_features
from haskd_training.images.selection import Selection, select
from haskd_training.learning.baseline import MODEL, TrainingResult, baseline, snapshot_path
from haskd_training.learning.inference import SweepPredictor, model_predictor
from haskd_training.learning.loop import make_fabric
from haskd_training.learning.recorded_outputs import RecordedOutputs
from haskd_training.learning.student import StudentConfig
from haskd_training.learning.weight_averaging import average_snapshots
from haskd_training.pipeline.config import MethodConfig

_SECONDS = "seconds.json"
_SAVE_EVERY_S = 10.0


class Stages:
    """The stages under one root, for one split and one configuration.

    Args:
        root: their folders' parent.
        split: who learns from what.
        config: of every stage.
        attribution: whom the data's licence wants credited, for the model files.
        steps: shows the progress.
        images_of_test: choose images of the test sweeps too, to score the teacher on them.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        config: MethodConfig,
        attribution: str | None,
        steps: Steps,
        images_of_test: bool = False,
    ) -> None:
        self.root, self.split, self.config = root, split, config
        self.attribution, self.steps = attribution, steps
        self.images_of_test = images_of_test
        self._used: list[Path] = []
        self.fabric = make_fabric(config.student.loop, root)
        self.device = self.fabric.device

    @cached_property
    def baseline(self) -> TrainingResult:
        """The student trained on labels alone."""
        return self._on_labels("training the student on labels alone", self.config.student)

    @cached_property
    def pool(self) -> TrainingResult:
        """The run on labels whose folder holds the snapshots."""
        if self.config.expertise.pool == "baseline":
            return self.baseline
        return self._on_labels("training the snapshots in cycles", self.config.student.in_cycles())

    def _on_labels(self, title: str, config: StudentConfig) -> TrainingResult:
        split = self.split.labelled()
        folder = self._folder("baseline", split, config, self.attribution)
        with self._working(title, folder, together=True) as progress:
            return baseline(split, folder, config, attribution=self.attribution, progress=progress)

    @property
    def snapshots(self) -> list[Path]:
        """Model files, oldest first."""
        folder = self.pool.model.parent
        return [snapshot_path(folder, k) for k in range(self.config.student.snapshots)]

    @cached_property
    def averaged(self) -> Path:
        """Model file of the snapshots' mean weights."""
        folder = self._folder("swa", self.pool.model.parent.name)
        with self._working("averaging the snapshots", folder):
            run = RunFolder(folder, {"baseline": self.pool.model.parent.name})
            if run.result() is None:
                run.claim()
                average_snapshots(
                    self.snapshots, self.split, self.config.student, folder / MODEL, self.device
                )
                run.finish({})
        return folder / MODEL

    @cached_property
    def with_images(self) -> list[SweepRef]:
        """Sweeps that images are chosen for: those that are learned from, and those on which the
        teacher is compared."""
        split = self.split
        refs = list(
            dict.fromkeys(split.train_and_unlabelled + split.calibration + split.validation)
        )
        return refs + split.test if self.images_of_test else refs

    @cached_property
    def selection(self) -> Selection:
        """The images that teach."""
        model, config = self.baseline.model, self.config.selection
        folder = self._folder("selection", config, model.parent.name)
        with self._working("choosing images", folder) as progress:
            return select(self.split.caches, self.with_images, model, folder, config, progress)

    @cached_property
    def features(self) -> ImageFeatures:
        """What the chosen images show of each point."""
        selection, config = self.selection, self.config.encoder
        # A file of weights may be replaced by another of the same name.
        weights = [digest] if (digest := file_digest(Path(config.weights))) else []
        train = self.split.labelled().fingerprint("train")
        folder = self._folder("features", train, config, *weights, selection.path.name)
        with self._working("computing image features", folder) as progress:
            return image_features(self.split, self.with_images, selection, folder, config, progress)

    @cached_property
    def teacher(self) -> TeacherResult:
        """The camera + LiDAR teacher."""
        features, student, config = self.features, self.config.student, self.config.teacher
        labelled = self.split.labelled()
        folder = self._folder("teacher", labelled, student, config, features.path.name)
        with self._working("training the teacher", folder, together=True) as progress:
            return train_teacher(
                self.split, features, self.baseline.model, folder, student, config, progress
            )

    @cached_property
    def teacher_targets(self) -> TeacherTargets:
        """What the teacher says of the sweeps to learn from."""
        network, _ = load_teacher(self.teacher.teacher)
        network.to(self.device)
        folder = self._folder("teacher-outputs", self.teacher.teacher.parent.name)
        predictor = teacher_predictor(network, self.teacher.features)
        outputs = self._recorded("computing teacher outputs", folder, predictor)
        return TeacherTargets(outputs, network.feature_width)

    @cached_property
    def expertise(self) -> ExpertiseTable:
        """Which snapshot is adept at what."""
        self.pool  # noqa: B018 trained under a title of its own
        settings = {
            "config": self.config.expertise.model_dump(mode="json"),
            "baseline": self.pool.model.parent.name,
        }
        calibration = self.split.labelled().fingerprint("calibration")
        folder = self._folder("expertise", calibration, settings)
        with self._working("comparing the snapshots", folder) as progress:
            run = RunFolder(folder, settings)
            if (found := run.result()) is not None:
                return ExpertiseTable.from_json(found)
            run.claim()
            table = find_experts(
                self.snapshots, self.split, self.config.expertise, self.device, progress
            )
            run.finish(table.to_json())
        return table

    @property
    def assigned(self) -> ExpertiseTable:
        """The same with the experts that the student hears: drawn at random, if `distillation`
        asks for that."""
        if self.config.distillation.snapshots == "random":
            return self.expertise.with_random_experts(self.config.student.loop.seed)
        return self.expertise

    @cached_property
    def snapshot_targets(self) -> SnapshotTargets:
        """What the snapshots say of the sweeps to learn from, as `distillation` asks."""
        everyone = range(len(self.snapshots))
        kind = self.config.distillation.snapshots
        if kind in ("adept", "random"):
            return self._expert_targets()
        loaded = [self._said_by(k) for k in (everyone if kind == "mean" else everyone[-1:])]

        def predictor(ref: SweepRef, _: Tensor, near: np.ndarray) -> dict[str, Tensor]:
            return {"logits": mean_logits(_logits(loaded, ref, near))}

        unknown = torch.full((len(self.split.taxonomy),), torch.nan)
        return SnapshotTargets(self._said_together(kind, predictor), unknown)

    def _expert_targets(self) -> SnapshotTargets:
        """Every point hears the expert of its class, or every channel its own."""
        table = self.assigned
        unlabelled = set(self._learned_from.unlabelled)
        numbers = table.owners(unlabelled=bool(unlabelled))
        loaded = [self._said_by(k) for k in numbers]
        config = self.config.distillation

        def predictor(ref: SweepRef, points: Tensor, near: np.ndarray) -> dict[str, Tensor]:
            logits = _logits(loaded, ref, near)
            if config.routing == "channel":
                probability = channel_probabilities(table, numbers, logits, config.temperature)
                return {"probability": probability}
            labels = torch.full((len(points),), UNLABELLED)
            if ref not in unlabelled:
                labels = torch.from_numpy(self.split.sweep(ref).label[near]).long()
            routed, classes = route(
                table, numbers, logits, labels, config.snapshots_confidence_threshold
            )
            return {"logits": routed, "classes": classes}

        # Points without a label hear somebody only where all snapshots are at hand.
        how = [table.to_json(), numbers, config.routing]
        outputs = self._said_together(
            [*how, config.temperature, config.snapshots_confidence_threshold], predictor
        )
        return SnapshotTargets(outputs, table.expert_iou())

    def _said_together(self, how: Any, predictor: SweepPredictor) -> RecordedOutputs:
        folder = self._folder("expert-outputs", how, self.pool.model.parent.name)
        return self._recorded("routing points to experts", folder, predictor)

    def _said_by(self, snapshot: int) -> RecordedOutputs:
        path = self.snapshots[snapshot]
        folder = self._folder(f"{path.stem}-outputs", self.pool.model.parent.name)
        return self._recorded(
            f"computing outputs of {path.stem}", folder, model_predictor(path, self.device)
        )

    def _recorded(self, title: str, folder: Path, predictor: SweepPredictor) -> RecordedOutputs:
        with self._working(title, folder) as progress:
            return RecordedOutputs(folder, self.split).record(
                predictor,
                self._learned_from.train_and_unlabelled,
                max_range=self.config.student.max_range,
                device=self.device,
                progress=progress,
            )

    @property
    def _learned_from(self) -> Split:
        """What the student hears its teachers about."""
        return self.split if self.config.distillation.unlabelled else self.split.labelled()

    @cached_property
    def student(self) -> TrainingResult:
        """The student taught by whom `distillation` names."""
        config = self.config.distillation
        teacher = None if config.teacher == "none" else self.teacher_targets
        snapshots = None if config.snapshots == "none" else self.snapshot_targets
        sources = {
            name: None if targets is None else targets.outputs.folder.name
            for name, targets in (("teacher", teacher), ("snapshots", snapshots))
        }
        student = self.config.student
        folder = self._folder("student", self.split, student, config, sources, self.attribution)
        with self._working("teaching the student", folder, together=True) as progress:
            return distil(
                self.split, folder, student, config, teacher, snapshots, sources,
                self.attribution, progress,
            )  # fmt: skip

    @property
    def costs(self) -> dict[str, float]:
        """s of computing by the folder's name, of the stages that this object was asked for, over
        all calls that worked on them, whoever asked."""
        return {folder.name: _spent(folder) for folder in self._used}

    @property
    def seconds(self) -> float:
        """All `costs` together."""
        return sum(self.costs.values())

    @contextmanager
    def _working(
        self, title: str, folder: Path, together: bool = False
    ) -> Iterator[Callable[..., None]]:
        """Show a stage's progress, and add its time to what was spent on its folder.

        Args:
            together: all processes take part; otherwise the others follow the first one, and find
                the work done.
        """
        before, started = _spent(folder), time.perf_counter()
        saved = started

        def save() -> None:
            if self.fabric.is_global_zero and folder.exists():
                total = before + time.perf_counter() - started
                write_atomically(folder / _SECONDS, json.dumps(total).encode())

        self._used.append(folder)
        turns = nullcontext() if together else self.fabric.rank_zero_first()
        try:
            with turns, self.steps(title) as progress:

                def advance(*done: Any) -> None:
                    # Now and then, for a stage that is killed: a later call counts on.
                    nonlocal saved
                    progress(*done)
                    if time.perf_counter() - saved > _SAVE_EVERY_S:
                        save()
                        saved = time.perf_counter()

                yield advance
        finally:
            save()

    def _folder(self, stage: str, *inputs: Any) -> Path:
        """Where a stage's run lies; `inputs` are all that its result depends on, among them what it
        sees of the data: a split, or as much of its fingerprint."""
        text = json.dumps([_plain(value) for value in inputs], sort_keys=True)
        return self.root / f"{stage}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _spent(folder: Path) -> float:
    """s of computing on a stage's folder."""
    path = folder / _SECONDS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else 0.0


def _logits(said: Sequence[RecordedOutputs], ref: SweepRef, near: np.ndarray) -> Tensor:
    """[L, n, C] of L networks, of the points within range."""
    return torch.stack([torch.from_numpy(one.of(ref)["logits"][near]).float() for one in said])


def _plain(value: Any) -> Any:
    """As JSON values."""
    if isinstance(value, Split):
        return value.fingerprint()
    if isinstance(value, StudentConfig):
        return value.of_training()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Sequence) and value and isinstance(value[0], SweepRef):
        return [[ref.cache, ref.sweep] for ref in value]
    return value
