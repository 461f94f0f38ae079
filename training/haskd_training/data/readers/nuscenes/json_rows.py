"""Tables in JSON that are larger than memory: a list of records, read one after another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_training.recordings.reading import TooLarge, reading

_PIECE = 1 << 22
"""Characters that are read at once."""

_LONGEST_ROW = 1 << 20
"""Characters of a record. Without it a file with a fault near its beginning is read as a whole, in
search of the end of one."""

_BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True)
class Row:
    """A record of a table; number: counted from 0."""

    path: Path
    number: int
    values: dict[str, Any]

    def text(self, key: str) -> str:
        """
        Raises:
            InputError: there is no such value, or one of another type; so of the others.
        """
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.error(key, "text")
        return value

    def whole(self, key: str) -> int:
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, "a whole number")
        return value

    def numbers(self, key: str, *shape: int) -> np.ndarray:
        """Finite numbers in nested lists, as float64 of this shape."""
        try:
            values = np.array(self.values.get(key), np.float64)
        except (TypeError, ValueError, OverflowError):
            values = np.empty(0)
        if values.shape != shape or not np.isfinite(values).all():
            raise self.error(key, f"{' x '.join(map(str, shape))} numbers")
        return values

    def error(self, key: str, expected: str) -> InputError:
        """What is said of a value that is another one than expected."""
        found = quoted(self.values[key]) if key in self.values else "none"
        return InputError(
            f"{self.path}, record {self.number}: {key} is {found}, expected {expected}"
        )


def read_rows(path: Path) -> Iterator[Row]:
    """The records of a table, of which no more than some megabytes are in memory.

    Raises:
        InputError: it can't be read, or is no list of records.
    """
    with reading(path), path.open(encoding="utf-8") as file:
        decoder = json.JSONDecoder()
        buffer = file.read(_PIECE).lstrip()
        if not buffer.startswith("["):
            raise InputError(
                f"{path} begins with {quoted(buffer[:20])}, expected a list of records"
            )
        position, number = 1, 0
        while True:
            position = _end_of_gap(buffer, position)
            if buffer.startswith("]", position):
                return
            try:
                values, position = decoder.raw_decode(buffer, position)
            except json.JSONDecodeError:
                if len(buffer) - position > _LONGEST_ROW:
                    raise TooLarge(f"record {number} is damaged or too large") from None
                more = file.read(_PIECE)
                if not more:
                    raise
                buffer, position = buffer[position:] + more, 0
                continue
            if not isinstance(values, dict):
                raise InputError(f"{path}, record {number} is {quoted(values)}, expected {{...}}")
            yield Row(path, number, values)
            number += 1


def _end_of_gap(buffer: str, position: int) -> int:
    gap = _BETWEEN.match(buffer, position)
    assert gap is not None, "it matches nothing, too"
    return gap.end()
