"""What each class of an image network may stand for among the classes of a label map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.documents import parse_yaml, read_text
from haskd_ros.errors import InputError
from haskd_ros.taxonomy import Taxonomy
from haskd_ros.text import listed, quoted, shown

IMAGE_CLASSES = Path(__file__).with_name("image_classes")

NOTHING = 255
"""Value of a mask's pixel that says nothing, whatever the classes."""

_KEYS = ("name", "id", "means")


@dataclass(frozen=True)
class ImageClasses:
    """The classes of an image network, in the order of its channels.

    Attributes:
        names: of the classes.
        ids: value of each in a mask, 0..254.
        means: names of the classes of a label map that each may stand for, likeliest first; none
            where it says nothing about a point.
        origin: where they can be changed, for messages.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    means: tuple[tuple[str, ...], ...]
    origin: str = ""

    def __post_init__(self) -> None:
        for what, values in (("class", self.names), ("id", self.ids)):
            if repeated := sorted({value for value in values if values.count(value) > 1}):
                raise InputError(f"{self._what}: {what} {quoted(repeated[0])} stands twice")
        for name, number, means in zip(self.names, self.ids, self.means, strict=True):
            if not 0 <= number < NOTHING:
                raise InputError(
                    f"{self._what}: id {quoted(number)} of {shown(name)} is outside 0 to "
                    f"{NOTHING - 1}; {NOTHING} says nothing in every mask"
                )
            if len(set(means)) < len(means):
                raise InputError(f"{self._what}: a class stands twice in 'means' of {shown(name)}")
        if not any(self.means):
            raise InputError(f"{self._what}: no class of them means anything")

    @property
    def _what(self) -> str:
        return f"image classes {self.origin}".rstrip()

    def __len__(self) -> int:
        return len(self.names)

    def sets(self, taxonomy: Taxonomy) -> np.ndarray:
        """Which classes of a taxonomy each value of a mask may stand for.

        Returns:
            [256, C] bool; a row without any says nothing.

        Raises:
            InputError: the taxonomy lacks a class.
        """
        sets = np.zeros((256, len(taxonomy)), bool)
        for name, number, means in zip(self.names, self.ids, self.means, strict=True):
            for meant in means:
                if meant not in taxonomy.names:
                    raise InputError(
                        f"{self._what}: {shown(name)} means {quoted(meant)}, which the label map "
                        f"lacks; its classes are {listed(taxonomy.names)}"
                    )
                sets[number, taxonomy.id_of(meant)] = True
        return sets

    def named(self) -> np.ndarray:
        """[256] bool, the values that a mask may hold."""
        named = np.zeros(256, bool)
        named[[*self.ids, NOTHING]] = True
        return named


def load_image_classes(name: str | Path) -> ImageClasses:
    """Image classes by their file, or by the name of those that ship with the package.

    The file is YAML: `classes: [{name: road, id: 0, means: [road, road_marking]}, ...]`; without an
    `id` it is the position in the list, from 0.

    Raises:
        InputError: neither is there, no YAML, an unknown key, a value of another type, or a class
            or an id that stands twice.
    """
    path = Path(name)
    shipped = IMAGE_CLASSES / f"{name}.yaml"
    is_shipped = path.name == str(name) and shipped.is_file()
    if is_shipped:
        path = shipped
    if not path.is_file():
        ship = ", ".join(sorted(file.stem for file in IMAGE_CLASSES.glob("*.yaml")))
        raise InputError(
            f"image classes {shown(name)} do not exist; those that ship are {ship}, others come "
            "from a YAML file"
        )
    what = f"image classes {path}"
    document = parse_yaml(read_text(path, what), what)
    if not isinstance(document, dict) or "classes" not in document:
        raise InputError(f"{what}: no 'classes' in it")
    _check_keys(document, ("classes",), what)
    entries = document["classes"]
    if not (
        isinstance(entries, list) and entries and all(isinstance(one, dict) for one in entries)
    ):
        raise InputError(f"{what}: classes are a list of {{name, id, means}}")
    rows = [_row(entry, position, what) for position, entry in enumerate(entries)]
    names, ids, means = zip(*rows, strict=True)
    return ImageClasses(names, ids, means, str(name) if is_shipped else str(path))


def _row(entry: dict[Any, Any], position: int, what: str) -> tuple[str, int, tuple[str, ...]]:
    """Name, id and meanings of an entry."""
    name = entry.get("name")
    if not (isinstance(name, str) and name.strip()):
        raise InputError(f"{what}: name of class {position} is {quoted(name)}, must be text")
    what_class = f"{what}: class {shown(name)}"
    _check_keys(entry, _KEYS, what_class)
    number = entry.get("id", position)
    if type(number) is not int:
        raise InputError(f"{what_class}: id is {quoted(number)}, must be a whole number")
    means = entry.get("means")
    if not (isinstance(means, list) and all(isinstance(one, str) for one in means)):
        raise InputError(
            f"{what_class}: means is {quoted(means)}, must be a list of the label map's classes, "
            "[] for nothing"
        )
    return name, number, tuple(means)


def _check_keys(entry: dict[Any, Any], allowed: tuple[str, ...], what: str) -> None:
    if unknown := set(entry) - set(allowed):
        raise InputError(
            f"{what}: unknown keys {quoted(sorted(map(str, unknown)))}; allowed are "
            f"{', '.join(allowed)}"
        )
