"""Settings from a YAML file and from `KEY=VALUE` on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from haskd_ros.documents import parse_yaml, read_text
from haskd_ros.errors import InputError
from haskd_ros.text import quoted, shown

Settings = TypeVar("Settings", bound=BaseModel)

RENAMED = {
    "distillation.expert_gap": "distillation.expert_iou_gap",
    "distillation.information_floor": "distillation.min_information_weight",
    "distillation.trusted_confidence": "distillation.teacher_confidence_threshold",
    "distillation.trusted_snapshots": "distillation.snapshots_confidence_threshold",
    "loop.average": "loop.ema_decay",
    "selection.enough": "selection.target_coverage",
    "selection.min_seen": "selection.min_visible_share",
    "split.explain_held_back": "split.distil_held_out",
}
"""New name by old name of settings; other settings may lead to both, as `student.` does."""


def load_settings(
    model: type[Settings], file: Path | None = None, assignments: Sequence[str] = ()
) -> Settings:
    """Defaults, overridden by a YAML file, overridden by assignments.

    Args:
        model: the pydantic model of the settings.
        file: YAML with the model's keys; None for the defaults.
        assignments: `loop.epochs=24`: dots lead into nested settings, values are YAML.

    Raises:
        InputError: a file that can't be read, an unknown key, or a value that isn't allowed.
    """
    document: Any = {}
    if file is not None:
        what = f"settings {file}"
        document = parse_yaml(read_text(Path(file), what), what) or {}
        if not isinstance(document, dict):
            raise InputError(f"settings {file}: no 'key: value' lines in it")
    for assignment in assignments:
        _assign(document, assignment)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InputError(explain(model, error)) from error


def _assign(document: dict[str, Any], assignment: str) -> None:
    path, equals, value = assignment.partition("=")
    if not equals or not path:
        raise InputError(f"setting {quoted(assignment)} is not of the form KEY=VALUE")
    *parents, last = path.split(".")
    section = document
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise InputError(f"setting {path}: {parent} holds no settings of its own")
    section[last] = parse_yaml(value, f"setting {path}: {quoted(value)}")


def explain(model: type[BaseModel], error: ValidationError) -> str:
    """The first problem in one line; for an unknown key with its new name or the allowed ones.

    Args:
        model: that was validated.
    """
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    name = shown(".".join(path))
    message = problem["msg"].removeprefix("Value error, ")
    line = f"setting {name}: {message[:1].lower()}{message[1:]}"
    if problem["type"] != "extra_forbidden":
        return f"{line}, found {quoted(problem['input'])}"
    for old, new in RENAMED.items():
        if f".{name}".endswith(f".{old}"):
            return f"setting {name} is called {name.removesuffix(old)}{new} now"
    parent: Any = model
    for part in path[:-1]:
        parent = _value_type(parent, part)
    return f"{line}; there are {', '.join(_model_in(parent).model_fields)}"


def _value_type(annotation: Any, key: str) -> Any:
    """Type of the value under `key` in a value of type `annotation`: a model, or a dict or list
    that leads to one, each possibly optional."""
    annotation = _without_none(annotation)
    if get_origin(annotation) is not None:
        return get_args(annotation)[-1]
    return _model_in(annotation).model_fields[key].annotation


def _model_in(annotation: Any) -> type[BaseModel]:
    found = _without_none(annotation)
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise TypeError(f"{annotation} holds no settings")
    return found


def _without_none(annotation: Any) -> Any:
    """`X` of `X | None`."""
    if NoneType in get_args(annotation):
        (annotation,) = (kind for kind in get_args(annotation) if kind is not NoneType)
    return annotation
