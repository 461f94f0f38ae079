"""Rows of a table, held in a tenth of the memory that objects take.

A row of sweeps or images is 2 to 4 KB of Python objects, most of it numbers of poses; a million
sweeps would take more memory than their training. Packed, they are one array of bytes, which the
processes that load data share: objects are copied into each of them as soon as they are counted.
"""

from __future__ import annotations

import marshal
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Row = TypeVar("Row", bound=DataclassInstance)
else:
    Row = TypeVar("Row")

_OWN = frozenset(
    {"stamp_ns", "points", "class_counts", "T_world_lidar", "T_world_camera", "key", "checksums"}
)
"""Fields that differ from row to row; the others are those of a recording, a camera, or a shard,
and held once for all of its rows."""


class PackedRows(Sequence[Row]):
    """Rows to read, each made when it is asked for, which takes 10 us; some of the last ones that
    any table was asked for are kept.

    Args:
        row_type: a dataclass whose fields are JSON values.
        rows: taken one by one.
    """

    def __init__(self, row_type: Callable[..., Row], rows: Iterable[Row]) -> None:
        self._row_type = row_type
        names = [field.name for field in fields(row_type)]  # type: ignore[arg-type]  # a class
        self._names = sorted(names, key=lambda name: name in _OWN)
        self._packed, self._ends = b"", array("Q")
        self._kinds: list[list[Any]] = []
        self._kind_of = array("L")
        self._pack(rows, sum(name not in _OWN for name in names))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self.unpacked(number) for number in range(*place.indices(len(self)))]
        number = place + len(self) if place < 0 else place
        if not 0 <= number < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        row: Row = _recent(self, number)
        return row

    def __iter__(self) -> Iterator[Row]:
        return map(self.unpacked, range(len(self)))

    def unpacked(self, number: int) -> Row:
        """A row, counted from 0, made anew."""
        start = self._ends[number - 1] if number else 0
        own = marshal.loads(self._packed[start : self._ends[number]])
        return self._row_type(**dict(zip(self._names, [*self._kinds[self._kind_of[number]], *own])))

    def _pack(self, rows: Iterable[Row], shared: int) -> None:
        packed, kinds = bytearray(), dict[bytes, int]()
        for row in rows:
            values = [getattr(row, name) for name in self._names]
            # Not by the values' order in memory: equal ones are to give equal bytes.
            kind = marshal.dumps(values[:shared], 2)
            if kind not in kinds:
                kinds[kind] = len(kinds)
                self._kinds.append(values[:shared])
            self._kind_of.append(kinds[kind])
            packed += marshal.dumps(values[shared:], 2)
            self._ends.append(len(packed))
        self._packed = bytes(packed)


@lru_cache(maxsize=1024)
def _recent(rows: PackedRows[Any], number: int) -> Any:
    return rows.unpacked(number)
