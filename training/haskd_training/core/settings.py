"""Settings from a YAML file and from `KEY=VALUE` on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from haskd_ros.errors import InputError

Settings = TypeVar("Settings", bound=BaseModel)


def load_settings(
    kind: type[Settings], file: Path | None = None, assignments: Sequence[str] = ()
) -> Settings:
    """Defaults, overridden by a YAML file, overridden by assignments.

    Args:
        kind: the pydantic model of the settings.
        file: YAML with the model's keys; None for the defaults.
        assignments: `loop.epochs=24`: dots lead into nested settings, values are YAML.

    Raises:
        InputError: a file that can't be read, an unknown key, or a value that isn't allowed.
    """
    document: Any = {}
    if file is not None:
        try:
            document = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"settings {file} can't be read: {error}") from error
        if not isinstance(document, dict):
            raise InputError(f"settings {file}: no 'key: value' lines in it")
    for assignment in assignments:
        _assign(document, assignment)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise InputError(_explain(kind, error)) from error


def _assign(document: dict[str, Any], assignment: str) -> None:
    path, equals, value = assignment.partition("=")
    if not equals or not path:
        raise InputError(f"setting {assignment!r} is not of the form KEY=VALUE")
    *parents, last = path.split(".")
    place = document
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise InputError(f"setting {path}: {parent} holds no settings of its own")
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"setting {path}: {value!r} is not a YAML value") from error


def _explain(kind: type[BaseModel], error: ValidationError) -> str:
    """The first problem in one line; for an unknown key with the keys there are."""
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"]]
    line = f"setting {'.'.join(place)}: {problem['msg'].lower()}"
    if problem["type"] == "extra_forbidden":
        parent: Any = kind
        for part in place[:-1]:
            parent = parent.model_fields[part].annotation
        return f"{line}; there are {', '.join(parent.model_fields)}"
    return f"{line}, found {problem['input']!r}"
