"""Class names, colours, and the way from a data set's raw label ids to them."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.documents import parse_yaml, read_text
from haskd_ros.errors import InputError
from haskd_ros.text import STEERING, quoted

UNLABELLED = 255
"""Class id of a point without a class: ignored in training, not labelled on the robot."""

NAME_CHARACTERS = 100
"""Longest name of a class."""

UNLABELLED_COLOR = (75, 75, 75)

RAW_IDS = (-(2**31), 2**32 - 1)
"""Lowest and highest raw id: what an int32 or a uint32 holds."""

_IN_TABLE = 0x10000
"""Raw ids from 0 up to this one are looked up in a table, others one by one."""

_UNNAMED = 0xFFFF


@dataclass(frozen=True)
class ClassInfo:
    """One class: its name, its colour (RGB, 0..255) and whether such things move by themselves."""

    name: str
    color: tuple[int, ...]
    movable: bool = False


@dataclass(frozen=True)
class Taxonomy:
    """The classes of a model or a data set; a class's id is its index in `classes`."""

    classes: tuple[ClassInfo, ...]

    def __post_init__(self) -> None:
        if not 1 < len(self.classes) <= UNLABELLED:
            raise InputError(
                f"a taxonomy needs 2 to {UNLABELLED} classes, this one has {len(self.classes)}"
            )
        for name in self.names:
            _check_name(name)
        repeated = {name for name in self.names if self.names.count(name) > 1}
        if repeated:
            raise InputError(f"class names stand more than once: {quoted(sorted(repeated))}")
        for info in self.classes:
            if len(info.color) != 3 or not all(0 <= value <= 255 for value in info.color):
                raise InputError(
                    f"class {info.name}: colour {quoted(list(info.color))} is not three values of "
                    "0 to 255"
                )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(info.name for info in self.classes)

    def id_of(self, name: str) -> int:
        """The id of a class by name.

        Raises:
            InputError: there is no such class; the message lists those there are.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise InputError(
                f"no class named {name!r}; the classes are {', '.join(self.names)}"
            ) from None

    def color_table(self) -> np.ndarray:
        """[256, 3] uint8 RGB by class id; ids without a class have `UNLABELLED_COLOR`."""
        table = np.tile(np.array(UNLABELLED_COLOR, np.uint8), (256, 1))
        table[: len(self)] = [info.color for info in self.classes]
        return table

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {"name": info.name, "color": list(info.color), "movable": info.movable}
            for info in self.classes
        ]

    @classmethod
    def from_json(cls, data: Any) -> Taxonomy:
        """The inverse of `to_json`.

        Raises:
            InputError: `data` is not a list of classes.
        """
        try:
            classes = tuple(
                ClassInfo(
                    str(entry["name"]),
                    tuple(int(value) for value in entry["color"]),
                    bool(entry.get("movable", False)),
                )
                for entry in data
            )
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(
                f"classes are a list of {{name, color: [r, g, b], movable}}; {error!r}"
            ) from error
        return cls(classes)


def _check_name(name: str) -> None:
    """Whoever shows a class's name, sends it or makes a file's name of it can do so."""
    unseen = [character for character in name if unicodedata.category(character) in STEERING]
    if unseen or not 0 < len(name.strip()) <= len(name) <= NAME_CHARACTERS:
        raise InputError(
            f"class name {quoted(name)}: wanted are 1 to {NAME_CHARACTERS} characters that can be "
            "seen" + (f", found {quoted(unseen[0])}" if unseen else "")
        )


@dataclass(frozen=True)
class LabelMap:
    """Raw label ids of a data set -> class ids of a taxonomy.

    `ids[c]` are the raw ids of class c, `ignored` those that become `UNLABELLED`.
    `field` names the PointCloud2 field that carries the raw ids, `folder` a folder of label files;
    both may be None. `origin` is where it can be changed, for messages.
    """

    taxonomy: Taxonomy
    ids: tuple[tuple[int, ...], ...]
    ignored: tuple[int, ...] = ()
    field: str | None = None
    folder: str | None = None
    origin: str = ""

    def __post_init__(self) -> None:
        low, high = RAW_IDS
        seen: dict[int, str] = {}
        for name, ids in [*zip(self.taxonomy.names, self.ids), ("ignore", self.ignored)]:
            for raw in ids:
                if not low <= raw <= high:
                    raise InputError(
                        f"label map: raw id {quoted(raw)} of {name} is outside {low} to {high}"
                    )
                if raw in seen:
                    raise InputError(
                        f"label map: raw id {raw} belongs to both {seen[raw]} and {name}"
                    )
                seen[raw] = name

    @cached_property
    def _class_of(self) -> dict[int, int]:
        ignored = dict.fromkeys(self.ignored, UNLABELLED)
        return ignored | {raw: number for number, ids in enumerate(self.ids) for raw in ids}

    @cached_property
    def _table(self) -> np.ndarray:
        table = np.full(_IN_TABLE, _UNNAMED, np.uint16)
        for raw, class_id in self._class_of.items():
            if 0 <= raw < _IN_TABLE:
                table[raw] = class_id
        return table

    def lookup(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Class ids of raw ids [N], any integer type.

        Returns:
            [N] uint8, 255 for those that are ignored or not named; [N] bool, which ones the map
            names, in a class or under `ignore`.
        """
        inside = (raw >= 0) & (raw < _IN_TABLE)
        found = self._table[np.where(inside, raw, 0).astype(np.int64)]
        if not inside.all():
            values, places = np.unique(raw[~inside], return_inverse=True)
            one_by_one = [self._class_of.get(int(value), _UNNAMED) for value in values]
            found[~inside] = np.array(one_by_one, np.uint16)[places]
        # An id that no class has is 0xFFFF, which becomes 255.
        return found.astype(np.uint8), found != _UNNAMED

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Raw ids [N], any integer type -> class ids [N] uint8, ignored ones 255.

        Raises:
            InputError: a raw id that is neither mapped nor ignored.
        """
        class_ids, named = self.lookup(raw)
        if not named.all():
            raise self.unnamed(raw[~named])
        return class_ids

    def unnamed(self, raw: np.ndarray) -> InputError:
        """The error for raw ids [n >= 1] of points that the map does not name."""
        values, counts = np.unique(raw, return_counts=True)
        listed = ", ".join(f"{value} ({count} points)" for value, count in zip(values, counts[:10]))
        more = f" and {len(values) - 10} more" if len(values) > 10 else ""
        return InputError(
            f"raw label ids that the label map does not name: {listed}{more}; "
            "give them a class or list them under 'ignore'"
            + (f" in {self.origin}" if self.origin else "")
        )

    @classmethod
    def load(cls, path: Path) -> LabelMap:
        """Read a label map from YAML: `classes: [{name, color, ids, movable}]`, `ignore: [ids]`,
        and optionally `field` or `folder`.

        Raises:
            InputError: no such file, no YAML, an unknown key, or an id that stands twice.
        """
        what = f"label map {path}"
        document = parse_yaml(read_text(Path(path), what), what)
        allowed = {"classes", "ignore", "field", "folder"}
        if not isinstance(document, dict) or "classes" not in document:
            raise InputError(f"{what}: no 'classes' in it")
        if unknown := set(document) - allowed:
            raise InputError(
                f"{what}: unknown keys {quoted(sorted(map(str, unknown)))}; "
                f"allowed are {sorted(allowed)}"
            )
        classes, ignored = document["classes"], document.get("ignore") or []
        if not isinstance(classes, list) or not all(isinstance(one, dict) for one in classes):
            raise InputError(f"{what}: classes are a list of {{name, color, ids, movable}}")
        ids = tuple(
            _raw_ids(entry.get("ids"), f"{what}: 'ids' of class {quoted(entry.get('name'))}")
            for entry in classes
        )
        texts = {name: document.get(name) for name in ("field", "folder")}
        for name, text in texts.items():
            if text is not None and not (isinstance(text, str) and text and "\0" not in text):
                raise InputError(f"{what}: {name} is {quoted(text)}, must be text")
        taxonomy = Taxonomy.from_json(document["classes"])
        return cls(taxonomy, ids, _raw_ids(ignored, f"{what}: 'ignore'"), **texts, origin=str(path))


def _raw_ids(values: Any, what: str) -> tuple[int, ...]:
    """
    Raises:
        InputError: no list of whole numbers.
    """
    if not isinstance(values, list):
        raise InputError(f"{what} is {quoted(values)}, must be a list of whole numbers: [1, 2]")
    for value in values:
        if type(value) is not int:
            raise InputError(f"{what} holds {quoted(value)}, must be whole numbers")
    return tuple(values)
