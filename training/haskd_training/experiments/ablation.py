"""`haskd ablate`: what each part of the method is worth.

Every row is the same student with the same initial weights, data order and number of steps,
distilled from other sources; rows of one seed are paired. Beside them are bounds that cost more
than the student: the teacher with its images, averages of the weights, the ensemble of snapshots.

OUT/stages/   of all rows, see `stage_folders`; what rows have in common is done once
OUT/scores/ROW-SEED-DIGEST.safetensors   [S, C, C + 1] counts on each test sweep, as recorded and
                                         corrupted; the digest is of the data and settings

Calls with different seeds may work on one OUT at the same time; a call with all of them then finds
everything done.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_training.core.file_digests import file_digest
from haskd_training.core.progress import Steps
from haskd_training.core.run_folder import code_of
from haskd_training.core.tensor_file import TensorFile, write_tensors
from haskd_training.data.corruptions import CORRUPTIONS
from haskd_training.data.splits import Split
from haskd_training.data.stacked_sweeps import stacked
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.fusion import load_teacher
from haskd_training.distillation.snapshots import mean_logits, snapshot_logits
from haskd_training.distillation.teacher import teacher_predictor
from haskd_training.evaluation.scoring import ClassPredictor, class_predictor, sweep_confusions
from haskd_training.evaluation.temperature import calibrate
from haskd_training.experiments.ablation_rows import (
    LABELS,
    LABELS_LONGER,
    LABELS_ORACLE,
    LABELS_WHOLE,
    TEACHER,
    AblationConfig,
    Overrides,
    labels_with,
    row_settings,
    slug,
    teacher_shown,
    teacher_with,
)
from haskd_training.learning.baseline import AVERAGE, TrainingResult
from haskd_training.learning.inference import SweepPredictor, of_sweep, predict_with
from haskd_training.learning.initial_weights import initial_digest
from haskd_training.learning.loop import make_fabric
from haskd_training.pipeline.config import MethodConfig, check
from haskd_training.pipeline.method import (
    distil_student,
    fold_models,
    judges_of,
    train_snapshots,
    train_teacher,
)
from haskd_training.pipeline.stage_folders import StageCost, StageRunner
from haskd_training.pipeline.stages import snapshots_of, training_on_labels, weight_averaging

RECORDED = "recorded"
"""The condition of clouds that are not corrupted."""

SCORES_REMEDY = "delete it and run the command again"

_TRAININGS = ("baseline", "teacher", "student")
"""Stages whose networks the rows' scores rest on."""

_COSTS = "costs"


@dataclass(frozen=True)
class Scores:
    """A row's runs.

    Attributes:
        counts: by condition ("recorded" or a corruption), [seeds, S, C, C + 1].
        costs: of each seed, of all stages that the row needs.
        scoring_s: of all seeds together.
        code: states of the code that its networks were trained by, see `run_folder.code_state`.
        models: make, or find, the file of each seed; None where it is no model file.
        temperatures: of a seed's model file.
        identities: digests of all that each seed's figures depend on.
    """

    counts: dict[str, np.ndarray]
    costs: list[list[StageCost]]
    scoring_s: float
    code: frozenset[str]
    models: Sequence[Callable[[], Path | None]]
    temperatures: Sequence[Callable[[Path], float]] = ()
    identities: Sequence[str] = ()

    @property
    def seconds(self) -> np.ndarray:
        """[seeds] of computing."""
        return np.array([sum(cost.seconds for cost in costs) for costs in self.costs])


def ablate(split: Split, out: Path, config: AblationConfig, steps: Steps) -> dict[str, Scores]:
    """Train and score every row on every seed; what an earlier call finished is not done again.

    The test sweeps are scored once per row, at the very end of its training.

    Args:
        split: who learns from what; with test sweeps.

    Raises:
        InputError: data that can't serve the method or the test, or of any stage.
    """
    check(split, config.method)
    if not split.test:
        raise InputError("no labelled sweep to test on: give a test cache or raise split.test")
    return {
        name: _scored(name, runs, out, config, split, steps)
        for name, runs in _runs(split, out, config, steps).items()
    }


@dataclass(frozen=True)
class RowRun:
    """One row on one seed, not yet done.

    Attributes:
        runner: of its stages; has their costs once they have run.
        split, config: of the row.
        predictor: runs the stages that it needs, and returns what is to be scored.
        model: runs them, and returns the model file; None for what is none.
    """

    runner: StageRunner
    split: Split
    config: MethodConfig
    predictor: Callable[[RowRun], ClassPredictor]
    model: Callable[[RowRun], Path | None] = lambda _: None

    @property
    def seed(self) -> int:
        return self.config.student.loop.seed

    @property
    def device(self) -> torch.device:
        return self.runner.device

    def digest(self, conditions: Sequence[str]) -> str:
        """Of all that its scores depend on."""
        identity = [
            self.split.fingerprint(),
            self.config.model_dump(mode="json"),
            # A file of weights may be replaced by another of the same name.
            file_digest(Path(self.config.encoder.weights)),
            initial_digest(self.config.student.init),
            conditions,
        ]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:10]

    def temperature(self, model: Path) -> float:
        """Of its model, as `haskd run` fits it; 1 where every sweep was learned from and nothing
        was trained out of fold."""
        folds = fold_models(self.runner, self.split, self.config)
        if not folds and not self.split.calibration:
            return 1.0
        network, metadata = model_file.load(model)
        judges = judges_of(network, self.split, folds)
        return calibrate(metadata, judges, self.split.caches, self.device)[0].temperature

    def baseline(self) -> TrainingResult:
        """The student on labels alone."""
        return self.runner.run(training_on_labels(self.split, self.config.student, None))


def _runs(split: Split, out: Path, config: AblationConfig, steps: Steps) -> dict[str, list[RowRun]]:
    """Rows in the table's order, each with its seeds."""
    distilled = {
        name: overrides
        for name, overrides in config.rows.items()
        if split.unlabelled or not overrides.get("distillation", {}).get("unlabelled")
    }
    whole, oracle = split.with_nothing_held_back(), split.with_oracle_labels()
    others = {LABELS_LONGER: split.unlabelled, LABELS_WHOLE: len(whole.train) > len(split.train)}
    alone: list[str] = [name for name in config.controls if others.get(name, True)]
    alone += map(labels_with, config.labels_with)
    images_of_test = config.bounds or bool(config.strategies) or bool(config.teachers)
    rows: dict[str, list[RowRun]] = {name: [] for name in (*alone, *distilled)}

    def add(
        seed: int,
        name: str,
        overrides: Overrides,
        predictor: Callable[[RowRun], ClassPredictor],
        model: Callable[[RowRun], Path | None] = lambda _: None,
        split: Split = split,
    ) -> None:
        method = row_settings(config.method, name, overrides, seed)
        folds, sweeps = method.student.split.folds, method.student.sweeps
        if sweeps > 1 and name in config.corrupted:
            raise InputError(
                f"corrupted names {name!r}, which takes {sweeps} sweeps: corruptions are of single "
                "clouds"
            )
        split = stacked(split.out_of_fold(folds) if folds else split, sweeps)
        titled = partial(_titled, steps, f"{name}, seed {seed}")
        runner = StageRunner(
            out / "stages", make_fabric(method.student.loop, out / "stages"), titled
        )
        run = RowRun(runner, split, method, predictor, model)
        rows.setdefault(name, []).append(run)

    for seed in config.seeds:
        method = row_settings(config.method, LABELS, {}, seed)
        if LABELS in rows:
            add(seed, LABELS, {}, *_of_model(_baseline_model))
        if LABELS_LONGER in rows:
            longer = _for_epochs(_as_many_steps(split, method))
            add(seed, LABELS_LONGER, longer, *_of_model(_baseline_model))
        if LABELS_WHOLE in rows:
            add(seed, LABELS_WHOLE, {}, *_of_model(_baseline_model), split=whole)
        for name, overrides in config.labels_with.items():
            add(seed, labels_with(name), overrides, *_of_model(_baseline_model), split=whole)
        for name, overrides in distilled.items():
            student = partial(_student_model, images_of_test=images_of_test)
            add(seed, name, overrides, *_of_model(student))
        if config.bounds:
            if len(oracle.train) > len(split.train):
                as_long = _for_epochs(_epochs_of_distillation(method))
                add(seed, LABELS_ORACLE, as_long, *_of_model(_baseline_model), split=oracle)
            for name, predictor in _bounds(method).items():
                add(seed, name, {}, predictor)
        for strategy in config.strategies:
            add(seed, teacher_shown(strategy), {"selection": {"strategy": strategy}}, _teacher)
        for name, overrides in config.teachers.items():
            add(seed, teacher_with(name), overrides, _teacher)
    return rows


def _titled(steps: Steps, row: str, title: str) -> AbstractContextManager[Callable[..., None]]:
    return steps(f"{row}: {title}")


def _as_many_steps(split: Split, method: MethodConfig) -> int:
    """Epochs on the labelled sweeps that take as many steps as the distillation on all sweeps,
    rounded up."""
    labelled, every = (
        len(split.repeated(sweeps, method.student.by_hand))
        for sweeps in (split.train, split.train_and_unlabelled)
    )
    return math.ceil(_epochs_of_distillation(method) * every / labelled)


def _epochs_of_distillation(method: MethodConfig) -> int:
    return method.distillation.epochs or method.student.loop.epochs


def _for_epochs(epochs: int) -> Overrides:
    """Settings of a row that trains on labels for another number of epochs."""
    return {"student": {"loop": {"epochs": epochs}}}


def _of_model(
    model: Callable[[RowRun], Path],
) -> tuple[Callable[[RowRun], ClassPredictor], Callable[[RowRun], Path]]:
    """Predictor and model of a row that is a model file."""
    return (lambda run: class_predictor(model(run), run.device)), model


def _baseline_model(run: RowRun) -> Path:
    return run.baseline().model


def _student_model(run: RowRun, images_of_test: bool) -> Path:
    distillation = distil_student(run.runner, run.split, run.config, images_of_test=images_of_test)
    return distillation.student.model


# Bounds: what costs more than the student does, or needs more than a cloud.


def _bounds(config: MethodConfig) -> dict[str, Callable[[RowRun], ClassPredictor]]:
    """Predictors by the row's name."""
    bounds: dict[str, Callable[[RowRun], ClassPredictor]] = {
        "SWA of the snapshots": _averaged,
        "ensemble of the snapshots": _ensemble,
    }
    if config.student.loop.ema_decay:
        bounds["EMA of the weights"] = _running_average
    if config.distillation.teacher != "none":
        bounds[TEACHER] = _teacher
    return bounds


def _snapshots(run: RowRun) -> list[Path]:
    pool = train_snapshots(run.runner, run.split, run.config)
    return snapshots_of(pool, run.config.student)


def _averaged(run: RowRun) -> ClassPredictor:
    stage = weight_averaging(_snapshots(run), run.split, run.config.student, run.device)
    return class_predictor(run.runner.run(stage), run.device)


def _ensemble(run: RowRun) -> ClassPredictor:
    networks = [model_file.load(path)[0].to(run.device) for path in _snapshots(run)]

    def predictor(_: SweepRef, points: Tensor, near: np.ndarray) -> dict[str, Tensor]:
        return {"logits": of_sweep(mean_logits(snapshot_logits(networks, points)), near)}

    return _within_range(run, predictor)


def _running_average(run: RowRun) -> ClassPredictor:
    return class_predictor(run.baseline().model.parent / AVERAGE, run.device)


def _teacher(run: RowRun) -> ClassPredictor:
    teacher = train_teacher(run.runner, run.split, run.config, images_of_test=True).result
    network, _ = load_teacher(teacher.teacher)
    return _within_range(run, teacher_predictor(network.to(run.device), teacher.features))


def _within_range(run: RowRun, predictor: SweepPredictor) -> ClassPredictor:
    """Classes of the points within the student's range."""
    reach = run.config.student.max_range
    return lambda ref, sweep: predict_with(partial(predictor, ref), sweep, reach, run.device)


def _scored(
    name: str, runs: Sequence[RowRun], out: Path, config: AblationConfig, split: Split, steps: Steps
) -> Scores:
    conditions = [RECORDED, *(CORRUPTIONS if name in config.corrupted else ())]
    counts: dict[str, list[np.ndarray]] = {condition: [] for condition in conditions}
    costs, scoring_s, code = [], 0.0, set()
    for run in runs:
        path = out / "scores" / f"{slug(name)}-{run.seed}-{run.digest(conditions)}.safetensors"
        if not path.exists():
            predictor = run.predictor(run)
            started = time.perf_counter()
            read = replace(split, caches=run.split.caches)
            tables = _counts(f"{name}, seed {run.seed}", predictor, conditions, read, steps)
            spent = {"stages": run.runner.costs, "scoring_s": time.perf_counter() - started}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(path, tables, {_COSTS: spent})
        file = TensorFile(path, SCORES_REMEDY)
        for condition in conditions:
            counts[condition].append(file.read(condition))
        spent = file.header[_COSTS]
        costs.append([StageCost(*cost) for cost in spent["stages"]])
        scoring_s += spent["scoring_s"]
        code |= {
            code_of(out / "stages" / cost.folder) for cost in costs[-1] if cost.stage in _TRAININGS
        }
    by_condition = {condition: np.stack(tables) for condition, tables in counts.items()}
    return Scores(
        by_condition,
        costs,
        scoring_s,
        frozenset(code),
        [partial(run.model, run) for run in runs],
        [cache(run.temperature) for run in runs],
        [run.digest(()) for run in runs],
    )


def _counts(
    title: str, predictor: ClassPredictor, conditions: Sequence[str], split: Split, steps: Steps
) -> dict[str, np.ndarray]:
    """By condition [S, C, C + 1]."""
    found = {}
    for condition in conditions:
        with steps(f"scoring {title}, {condition}") as progress:
            corruption = None if condition == RECORDED else condition
            found[condition] = sweep_confusions(
                predictor, split, split.test, corruption=corruption, progress=progress
            )
    return found
