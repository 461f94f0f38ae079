"""`haskd ablate`: what each part of the method is worth.

Every row is the same student with the same initial weights, data order and number of steps, taught
by somebody else; rows of one seed are paired. Beside them stand bounds that the student's price
does not buy: the teacher with its images, averages of the weights, the ensemble of the snapshots.

OUT/stages/   of all rows, see `stages`; what rows have in common is done once
OUT/scores/ROW-SEED-DIGEST.safetensors   [S, C, C + 1] counts on each test sweep, as recorded and
                                         corrupted; the digest is of the data and settings

Calls with different seeds may work on one OUT at the same time; a call with all of them then finds
everything done.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_training.core.progress import Steps
from haskd_training.core.run_folder import code_of
from haskd_training.data.corruptions import CORRUPTIONS
from haskd_training.data.splits import Split
from haskd_training.distillation.fusion import load_teacher
from haskd_training.distillation.snapshots import mean_logits, snapshot_logits
from haskd_training.distillation.teacher import teacher_predictor
from haskd_training.evaluation.scoring import ClassPredictor, class_predictor, sweep_confusions
from haskd_training.experiments.ablation_rows import (
    LABELS,
    LABELS_LONGER,
    LABELS_ORACLE,
    AblationConfig,
    Overrides,
    row_settings,
    teacher_shown,
)
from haskd_training.learning.baseline import AVERAGE, TrainingResult
from haskd_training.learning.inference import SweepPredictor, predict_with
from haskd_training.pipeline.config import MethodConfig, check
from haskd_training.pipeline.stages import Stages

RECORDED = "recorded"
"""The condition of clouds that are not corrupted."""

_TRAININGS = ("baseline", "teacher", "student")
"""Stages whose networks the rows' scores rest on."""

_SPENT = "haskd_spent"


@dataclass(frozen=True)
class Scores:
    """A row's runs.

    Attributes:
        counts: by condition ("recorded" or a corruption), [seeds, S, C, C + 1].
        costs: of each seed, s of computing by stage, everything that the row needs.
        scoring_s: of all seeds together.
        code: states of the code that its networks were trained by, see `run_folder.code_state`.
        model: makes, or finds, the file of the first seed; None where it is no model file.
    """

    counts: dict[str, np.ndarray]
    costs: list[dict[str, float]]
    scoring_s: float
    code: frozenset[str]
    model: Callable[[], Path | None]

    @property
    def seconds(self) -> np.ndarray:
        """[seeds] of computing."""
        return np.array([sum(costs.values()) for costs in self.costs])


def ablate(split: Split, out: Path, config: AblationConfig, steps: Steps) -> dict[str, Scores]:
    """Train and score every row on every seed; what an earlier call finished is not done again.

    The test sweeps are looked at once a row, at the very end of its training.

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
class Run:
    """One row on one seed, not yet done.

    Attributes:
        stages: that it is made from.
        predictor: makes what will be scored.
        model: the model file, once that is made; None for what is none.
    """

    stages: Stages
    predictor: Callable[[], ClassPredictor]
    model: Callable[[], Path | None]

    @property
    def seed(self) -> int:
        return self.stages.config.student.loop.seed

    def digest(self, conditions: Sequence[str]) -> str:
        """Of all that its scores depend on."""
        identity = [
            self.stages.split.fingerprint(),
            self.stages.config.model_dump(mode="json"),
            conditions,
        ]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:10]


def _runs(split: Split, out: Path, config: AblationConfig, steps: Steps) -> dict[str, list[Run]]:
    """Rows in the table's order, each with its seeds."""
    taught = {
        name: overrides
        for name, overrides in config.rows.items()
        if split.unlabelled or not overrides.get("distillation", {}).get("unlabelled")
    }
    alone = (LABELS, LABELS_LONGER) if split.unlabelled else (LABELS,)
    oracle = split.with_oracle_labels()
    rows: dict[str, list[Run]] = {name: [] for name in (*alone, *taught)}
    for seed in config.seeds:

        def stages(
            name: str, overrides: Overrides, split: Split = split, seed: int = seed
        ) -> Stages:
            method = row_settings(config.method, name, overrides, seed)

            def titled(title: str) -> AbstractContextManager[Callable[..., None]]:
                return steps(f"{name}, seed {seed}: {title}")

            scored = config.bounds or bool(config.strategies)
            return Stages(out / "stages", split, method, None, titled, images_of_test=scored)

        plain = stages(LABELS, {})
        rows[LABELS].append(_of_model(plain, lambda s: s.baseline))
        if LABELS_LONGER in rows:
            longer = stages(LABELS_LONGER, _for_epochs(_as_many_steps(split, plain.config)))
            rows[LABELS_LONGER].append(_of_model(longer, lambda s: s.baseline))
        for name, overrides in taught.items():
            rows[name].append(_of_model(stages(name, overrides), lambda s: s.student))
        if config.bounds:
            if len(oracle.train) > len(split.train):
                as_long = _for_epochs(_epochs_of_distillation(plain.config))
                all_labels = stages(LABELS_ORACLE, as_long, oracle)
                rows.setdefault(LABELS_ORACLE, []).append(
                    _of_model(all_labels, lambda s: s.baseline)
                )
            for name, run in _bounds(partial(stages, overrides={})).items():
                rows.setdefault(name, []).append(run)
        for strategy in config.strategies:
            name = teacher_shown(strategy)
            run = _of_teacher(stages(name, {"selection": {"strategy": strategy}}))
            rows.setdefault(name, []).append(run)
    return rows


def _as_many_steps(split: Split, method: MethodConfig) -> int:
    """Epochs on the labelled sweeps that take as many steps as the distillation on all sweeps,
    rounded up."""
    return math.ceil(
        _epochs_of_distillation(method) * len(split.train_and_unlabelled) / len(split.train)
    )


def _epochs_of_distillation(method: MethodConfig) -> int:
    return method.distillation.epochs or method.student.loop.epochs


def _for_epochs(epochs: int) -> Overrides:
    """Settings of a row that trains on labels for another number of epochs."""
    return {"student": {"loop": {"epochs": epochs}}}


def _of_model(stages: Stages, result: Callable[[Stages], TrainingResult]) -> Run:
    return Run(
        stages,
        lambda: class_predictor(result(stages).model, stages.device),
        lambda: result(stages).model,
    )


def _of_teacher(stages: Stages) -> Run:
    def predictor() -> ClassPredictor:
        network, _ = load_teacher(stages.teacher.teacher)
        return _near(stages, teacher_predictor(network.to(stages.device), stages.teacher.features))

    return Run(stages, predictor, lambda: None)


def _bounds(stages: Callable[[str], Stages]) -> dict[str, Run]:
    """What costs more than the student does, or needs more than a cloud.

    Args:
        stages: makes those of a row, which tell its cost, by the row's name.
    """

    def ensemble(made: Stages) -> ClassPredictor:
        networks = [model_file.load(path)[0].to(made.device) for path in made.snapshots]
        return _near(
            made,
            lambda _, points, __: {"logits": mean_logits(snapshot_logits(networks, points))},
        )

    bounds: dict[str, Callable[[Stages], ClassPredictor]] = {
        "SWA of the snapshots": lambda made: class_predictor(made.averaged, made.device),
        "ensemble of the snapshots": ensemble,
        "EMA of the weights": lambda made: class_predictor(
            made.baseline.model.parent / AVERAGE, made.device
        ),
    }
    runs = {}
    for name, predictor in bounds.items():
        made = stages(name)
        runs[name] = Run(made, partial(predictor, made), lambda: None)
    config = made.config
    if not config.student.loop.ema_decay:
        del runs["EMA of the weights"]
    if config.distillation.teacher != "none":
        runs["teacher (with images)"] = _of_teacher(stages("teacher (with images)"))
    return runs


def _near(stages: Stages, predictor: SweepPredictor) -> ClassPredictor:
    """Classes of points within the student's range from a `SweepPredictor` at them."""
    reach = stages.config.student.max_range
    return lambda ref, sweep: predict_with(
        partial(predictor, ref), sweep.points, reach, stages.device
    )


def _scored(
    name: str, runs: Sequence[Run], out: Path, config: AblationConfig, split: Split, steps: Steps
) -> Scores:
    conditions = [RECORDED, *(CORRUPTIONS if name in config.corrupted else ())]
    counts: dict[str, list[np.ndarray]] = {condition: [] for condition in conditions}
    costs, scoring_s, code = [], 0.0, set()
    for run in runs:
        slug = re.sub(r"\W+", "-", name).strip("-").lower()
        path = out / "scores" / f"{slug}-{run.seed}-{run.digest(conditions)}.safetensors"
        if not path.exists():
            predictor = run.predictor()
            started = time.perf_counter()
            found = _counts(f"{name}, seed {run.seed}", predictor, conditions, split, steps)
            spent = {"costs": run.stages.costs, "scoring_s": time.perf_counter() - started}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, save(found, {_SPENT: json.dumps(spent)}))
        with safe_open(path, framework="numpy") as file:
            for condition in conditions:
                counts[condition].append(file.get_tensor(condition))
            spent = json.loads(file.metadata()[_SPENT])
        costs.append(spent["costs"])
        scoring_s += spent["scoring_s"]
        code |= {
            code_of(out / "stages" / stage)
            for stage in spent["costs"]
            if stage.rpartition("-")[0] in _TRAININGS
        }
    stacked = {condition: np.stack(tables) for condition, tables in counts.items()}
    return Scores(stacked, costs, scoring_s, frozenset(code), runs[0].model)


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
