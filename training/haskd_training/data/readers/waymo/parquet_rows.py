"""Rows of Parquet files, one at a time: a file of a data set may be larger than the memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.recordings.reading import reading

_MAGIC = b"PAR1"

_KEPT = 8
"""Rows in memory at most: those that threads may ask for in another order."""


def is_whole(path: Path) -> bool:
    """Whether a file begins and ends as Parquet does; one that is cut off doesn't."""
    with reading(path), path.open("rb") as file:
        start = file.read(len(_MAGIC))
        file.seek(max(0, path.stat().st_size - len(_MAGIC)))
        return start == file.read() == _MAGIC and path.stat().st_size > 2 * len(_MAGIC)


def read_columns(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """All rows of a small table, or of a few small columns: as `ParquetRows.row` gives them.

    Raises:
        InputError: it can't be read, or lacks a column.
    """
    rows = []
    with reading(path):
        for batch in _open(path, columns).iter_batches(columns=list(columns)):
            rows += [_row(batch, number) for number in range(batch.num_rows)]
    return rows


class ParquetRows:
    """Some rows of a file, read when they are asked for, forward and without what lies between;
    going back is possible, and slow. Threads may share it.

    Args:
        wanted: numbers of the rows that will be asked for.

    Raises:
        InputError: it can't be read, or lacks a column.
    """

    def __init__(self, path: Path, columns: Sequence[str], wanted: Collection[int]) -> None:
        self._path, self._columns, self._wanted = path, list(columns), frozenset(wanted)
        with reading(path):
            self._file = _open(path, columns)
            groups = self._file.metadata
            counts = [groups.row_group(g).num_rows for g in range(groups.num_row_groups)]
        self._starts = np.cumsum([0, *counts])
        self._lock = threading.Lock()
        self._kept: dict[int, dict[str, Any]] = {}
        self._batches: Iterator[Any] = iter(())
        self._group, self._next = -1, 0

    def row(self, number: int) -> dict[str, Any]:
        """A row: by column a number, bytes, a list as an array, or None.

        Raises:
            InputError: it can't be read.
        """
        with self._lock, reading(self._path):
            while number not in self._kept:
                self._advance(number)
            return self._kept[number]

    def _advance(self, number: int) -> None:
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        if group != self._group or number < self._next:
            self._group, self._next = group, int(self._starts[group])
            self._batches = self._file.iter_batches(1, [group], self._columns)
        batch = next(self._batches)
        if self._next in self._wanted:
            self._kept[self._next] = _row(batch, 0)
            if len(self._kept) > _KEPT:
                self._kept.pop(next(iter(self._kept)))
        self._next += 1


def _open(path: Path, columns: Sequence[str]) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            f"{path} can't be read without {error.name}; `pip install 'haskd_ros[datasets]'` "
            "installs it"
        ) from error
    file = parquet.ParquetFile(path)
    if missing := [name for name in columns if name not in file.schema_arrow.names]:
        raise InputError(f"{path} lacks the column {missing[0]}: it has another form")
    return file


def _row(batch: Any, number: int) -> dict[str, Any]:
    return {name: _value(batch.column(name)[number]) for name in batch.schema.names}


def _value(scalar: Any) -> Any:
    if scalar.is_valid and hasattr(scalar, "values"):
        return scalar.values.to_numpy(zero_copy_only=False)
    return scalar.as_py()
