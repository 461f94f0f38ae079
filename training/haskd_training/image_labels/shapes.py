"""What a thing of a class can't be, by where it stands: a table of the label map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.documents import parse_yaml, read_text
from haskd_ros.errors import InputError
from haskd_ros.text import quoted, shown
from haskd_training.recordings.labels import label_map_path

_KEYS = ("ground", "up_to", "reaches", "wide_up_to")


@dataclass(frozen=True)
class Shape:
    """How a class stands on the ground; heights in m above it.

    Attributes:
        ground: it is the ground itself.
        up_to: no thing of it is taller.
        reaches: every thing of it is at least as tall.
        wide_up_to: no thing of it is wider, m, and each stands free.
    """

    ground: bool = False
    up_to: float = np.inf
    reaches: float = 0.0
    wide_up_to: float = np.inf


@dataclass(frozen=True)
class Shapes:
    """The shapes of C classes.

    Attributes:
        ground: [C] bool.
        up_to, reaches, wide_up_to: [C] float64 m.
        rest: the class of static things that are none of the others; None where the map names none.
    """

    ground: np.ndarray
    up_to: np.ndarray
    reaches: np.ndarray
    wide_up_to: np.ndarray
    rest: int | None


def load_shapes(label_map: str | Path) -> Shapes:
    """The shapes of a label map's classes: `shape: {ground: true}`, `{up_to: 2.3}`,
    `{reaches: 3.0}`, `{wide_up_to: 1.5}` in a class's entry, `rest: true` in that of the class of
    all other things.

    Args:
        label_map: a file, or the name of one that ships.

    Raises:
        InputError: it can't be read, an unknown key, a value of another type, or two classes of the
            rest.
    """
    path = label_map_path(label_map)
    what = f"label map {path}"
    entries = parse_yaml(read_text(path, what), what)["classes"]
    shapes = [_shape(entry.get("shape"), f"{what}: shape of {_name(entry)}") for entry in entries]
    rest = [number for number, entry in enumerate(entries) if _rest(entry, what)]
    if len(rest) > 1:
        names = ", ".join(_name(entries[number]) for number in rest)
        raise InputError(f"{what}: {names} are all the 'rest', which one class can be")
    return Shapes(
        ground=np.array([shape.ground for shape in shapes]),
        up_to=np.array([shape.up_to for shape in shapes]),
        reaches=np.array([shape.reaches for shape in shapes]),
        wide_up_to=np.array([shape.wide_up_to for shape in shapes]),
        rest=rest[0] if rest else None,
    )


def _name(entry: dict[str, Any]) -> str:
    return shown(entry.get("name"))


def _rest(entry: dict[str, Any], what: str) -> bool:
    rest = entry.get("rest", False)
    if type(rest) is not bool:
        raise InputError(f"{what}: rest of {_name(entry)} is {quoted(rest)}, must be true or false")
    return rest


def _shape(given: Any, what: str) -> Shape:
    if given is None:
        return Shape()
    if not isinstance(given, dict):
        raise InputError(f"{what} is {quoted(given)}, must be {{{', '.join(_KEYS)}}}")
    if unknown := set(given) - set(_KEYS):
        raise InputError(
            f"{what}: unknown keys {quoted(sorted(map(str, unknown)))}; allowed are "
            f"{', '.join(_KEYS)}"
        )
    ground = given.get("ground", False)
    if type(ground) is not bool:
        raise InputError(f"{what}: ground is {quoted(ground)}, must be true or false")
    lengths = {}
    for key in _KEYS[1:]:
        if key in given:
            value = given[key]
            if type(value) not in (int, float) or not 0 < value < 1000:
                raise InputError(f"{what}: {key} is {quoted(value)}, must be m above 0")
            lengths[key] = float(value)
    return Shape(ground, **lengths)
