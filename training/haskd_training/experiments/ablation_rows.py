"""What the ablation compares: rows by name, each by the settings that differ from the method's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from haskd_ros.errors import InputError
from haskd_training.core.settings import explain
from haskd_training.images.candidates import Strategy
from haskd_training.pipeline.config import MethodConfig

LABELS: Final = "labels alone"
METHOD = "HAS-KD"

TOO = ", unlabelled sweeps too"
"""Ends the name of a row that learns from unlabelled sweeps as well, and so takes more steps."""

METHODS = (METHOD, METHOD + TOO)

LABELS_LONGER: Final = "labels alone, as many steps"
"""What those rows are to be compared with."""

LABELS_WHOLE: Final = "labels alone, nothing held back"
"""What a user without the method would train: no sweep is kept to calibrate and validate."""

Control = Literal["labels alone", "labels alone, as many steps", "labels alone, nothing held back"]
"""One of these rows."""


def labels_with(name: str) -> str:
    """Name of the row of a training on labels alone, nothing held back, with settings of its
    own."""
    return f"{LABELS}, {name}"


LABELS_ORACLE = "labels alone, those of the unlabelled sweeps too"
"""What they could reach with a teacher who is always right: a bound."""


TEACHER = "teacher (with images)"
"""The method's own teacher: a bound."""


def teacher_shown(strategy: Strategy) -> str:
    """Name of the row of a teacher that sees the images a strategy chose: a bound."""
    return f"teacher, {strategy} images"


def teacher_with(name: str) -> str:
    """Name of the row of a teacher with settings of its own: a bound."""
    return f"teacher, {name}"


def slug(row: str) -> str:
    """A row's name as a part of a file's."""
    return re.sub(r"\W+", "-", row).strip("-").lower()


Overrides = dict[str, dict[str, Any]]
"""Settings of a row that differ from the method's: stage -> setting -> value."""


def _taught(unlabelled: bool = False, **distillation: Any) -> Overrides:
    return {"distillation": distillation | {"unlabelled": unlabelled}}


_ON_LABELLED: dict[str, Overrides] = {
    "vanilla KD from the teacher": _taught(teacher="vanilla", snapshots="none"),
    "KD from the last snapshot": _taught(teacher="none", snapshots="last"),
    "KD from the mean of snapshots": _taught(teacher="none", snapshots="mean"),
    "ASD, experts at random": _taught(teacher="none", snapshots="random"),
    "ASD": _taught(teacher="none", snapshots="adept"),
    "ASD, snapshots in cycles": _taught(teacher="none", snapshots="adept")
    | {"expertise": {"pool": "cyclic"}},
    "IHD, nearest images": _taught(teacher="information", snapshots="none")
    | {"selection": {"strategy": "nearest"}},
    "IHD with IOF": _taught(teacher="information", snapshots="none"),
    "HAS-KD, experts at random": _taught(teacher="information", snapshots="random"),
    METHOD: _taught(teacher="information", snapshots="adept"),
}


def _too(*names: str) -> dict[str, Overrides]:
    """Rows on labelled sweeps, with the unlabelled ones added."""
    return {
        f"{name}{TOO}": {"distillation": _ON_LABELLED[name]["distillation"] | {"unlabelled": True}}
        for name in names
    }


_ON_ALL: dict[str, Overrides] = (
    _too("vanilla KD from the teacher", "KD from the mean of snapshots")
    | {
        f"the teacher's pseudo-labels alone{TOO}": _taught(
            unlabelled=True, teacher="information", snapshots="none", teacher_weight=0.0
        )
    }
    | _too("IHD with IOF", "HAS-KD, experts at random", METHOD)
)
ROWS = _ON_LABELLED | _ON_ALL


class AblationConfig(BaseModel):
    """What is compared, on how many seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: tuple[int, ...] = Field(
        (0, 1, 2), min_length=1, description="each row is trained once on each"
    )
    rows: dict[str, Overrides] = Field(
        ROWS,
        description="all rows by name: stage -> setting -> value, beats `method`; those with "
        "distillation.unlabelled are left out where no sweep is unlabelled",
    )
    controls: tuple[Control, ...] = Field(
        (LABELS, LABELS_LONGER, LABELS_WHOLE),
        description="rows of labels alone that the others are compared with; those that are no "
        "other training than one before are left out",
    )
    labels_with: dict[str, Overrides] = Field(
        {},
        description="trainings on labels alone, nothing held back, by name: stage -> setting -> "
        "value, beats `method`",
    )
    corrupted: tuple[str, ...] = Field(
        (LABELS, METHOD, METHOD + TOO),
        description="rows that are also scored on corrupted clouds",
    )
    bounds: bool = Field(
        True, description="score the teacher, averaged weights and the ensemble too"
    )
    strategies: tuple[Strategy, ...] = Field(
        (),
        description="ways to choose selection.images images of a sweep (`all` takes more): for "
        "each a teacher of its own is trained and scored",
    )
    teachers: dict[str, Overrides] = Field(
        {},
        description="teachers by name that are trained and scored as well: stage -> setting -> "
        "value, beats `method`",
    )
    method: MethodConfig = MethodConfig()

    @model_validator(mode="after")
    def _corrupted_rows_exist(self) -> AblationConfig:
        students = [*self.controls, *map(labels_with, self.labels_with), *self.rows]
        if not students:
            raise ValueError("no row at all: controls, labels_with and rows are empty")
        if self.corrupted and students[0] not in self.corrupted:
            raise ValueError(
                f"corrupted must name {students[0]!r}, what the others are compared with"
            )
        if unknown := set(self.corrupted) - set(students):
            raise ValueError(
                f"corrupted names {', '.join(sorted(unknown))}; the rows are {', '.join(students)}"
            )
        return self

    @model_validator(mode="after")
    def _parts_are_a_row_s(self) -> AblationConfig:
        if self.method.student.split.folds:
            raise ValueError(
                "method.student.split.folds would leave the controls nothing held back; give "
                "student.split.folds in rows and labels_with"
            )
        for name, overrides in (*self.rows.items(), *self.labels_with.items()):
            split = overrides.get("student", {}).get("split", {})
            if isinstance(split, Mapping) and (other := set(split) - {"folds"}):
                raise ValueError(
                    f"row {name!r}: all rows share one split; of student.split a row may set folds "
                    f"alone, not {', '.join(sorted(other))}"
                )
        return self

    @model_validator(mode="after")
    def _rows_are_told_apart(self) -> AblationConfig:
        for name, values in (("seeds", self.seeds), ("strategies", self.strategies)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names one of them twice")
        if self.method.distillation.teacher == "none":
            if self.strategies:
                raise ValueError(
                    "strategies choose images for a teacher, and method.distillation.teacher is "
                    "none"
                )
            if self.teachers:
                raise ValueError(
                    "teachers are trained beside the method's, and method.distillation.teacher is "
                    "none"
                )
        others = {*self.rows, *(teacher_shown(strategy) for strategy in self.strategies)}
        if twice := others & {teacher_with(name) for name in self.teachers}:
            raise ValueError(f"teachers have the names of other rows: {', '.join(sorted(twice))}")
        others |= {LABELS_LONGER, LABELS_WHOLE, LABELS_ORACLE}
        if twice := others & {labels_with(name) for name in self.labels_with}:
            raise ValueError(
                f"labels_with have the names of other rows: {', '.join(sorted(twice))}"
            )
        return self


def row_settings(method: MethodConfig, name: str, overrides: Overrides, seed: int) -> MethodConfig:
    """The settings of a row on a seed.

    Raises:
        InputError: overrides that name no setting, or a value that isn't allowed.
    """
    settings = _merged(method.model_dump(), overrides)
    settings["student"]["loop"]["seed"] = seed
    try:
        return MethodConfig.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"row {name!r}, {explain(MethodConfig, error)}") from error


def _merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with some of them changed."""
    return dict(settings) | {
        name: _merged(settings[name], value)
        if isinstance(value, Mapping) and isinstance(settings.get(name), Mapping)
        else value
        for name, value in changes.items()
    }
