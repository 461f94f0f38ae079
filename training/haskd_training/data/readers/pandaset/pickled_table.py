"""Tables of pandas in pickle files, read without pandas, and without doing what a file says.

A pickle is a program: it names functions and has them called. Here it becomes a tree of what it
names and with which values; nothing is imported and nothing called. Of that tree the numbers are
taken, as pandas 1.0 to 3.1 and numpy 1 and 2 write them. A name that no table of numbers needs, or
a step that none takes, is refused.
"""

from __future__ import annotations

import gzip
import pickletools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import listed, quoted
from haskd_training.recordings.reading import TooLarge, reading

_LARGEST = 256 << 20
"""Bytes of an unpacked file; a sweep of two LiDARs has 8 million."""

_MOST_STEPS = 10_000
"""Of a pickle; a table has some hundred, whatever its length."""

_KNOWN = frozenset(
    {
        *("__builtin__.slice", "builtins.slice", "_codecs.encode"),
        *("numpy.dtype", "numpy.ndarray"),
        *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
        *("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"),
        *("pandas.DataFrame", "pandas.core.frame.DataFrame"),
        *("pandas.core.internals.managers.BlockManager", "pandas._libs.internals._unpickle_block"),
        *("pandas.core.indexes.base._new_Index", "pandas.core.indexes.base.Index", "pandas.Index"),
        *("pandas.core.indexes.range.RangeIndex", "pandas.RangeIndex"),
        "pandas.core.indexes.numeric.Int64Index",
        *("pandas.StringDtype", "pandas.arrays.StringArray"),
        "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",
    }
)
"""What a table of numbers names."""

_PASSED_OVER = ("PROTO", "FRAME")
_GLOBALS = ("GLOBAL", "STACK_GLOBAL")
_PUT = ("BINPUT", "LONG_BINPUT", "MEMOIZE")
_GET = ("BINGET", "LONG_BINGET")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_ARGUMENTS = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

_NUMBERS = re.compile("[iuf][1248]|b1")
_OBJECTS = "O8"


@dataclass(frozen=True)
class _Name:
    text: str


@dataclass
class _Made:
    """What calling a name with arguments would make, and the state that it would be given."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


def read_table(path: Path, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of a pickled table, gzipped where the name ends in .gz.

    Returns:
        [N] each, as the file has them: whole numbers or floats.

    Raises:
        InputError: it can't be read, names something that no table of numbers needs, or lacks a
            column.
    """
    with reading(path):
        found = dict(_columns(_tree(_unpacked(path), path)))
    if missing := [name for name in columns if name not in found]:
        raise InputError(f"{path} lacks the columns {listed(missing)}; it has {listed(found)}")
    return {name: found[name] for name in columns}


def _unpacked(path: Path) -> bytes:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        data: bytes = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise TooLarge(f"more than {_LARGEST:,} bytes; a sweep has some million")
    return data


def _tree(data: bytes, path: Path) -> Any:
    """What a pickle says."""
    stack: list[Any] = []
    marks: list[int] = []
    kept: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    argument: Any
    for number, (step, argument, _) in enumerate(pickletools.genops(data)):
        if number > _MOST_STEPS:
            raise TooLarge(f"more than {_MOST_STEPS:,} steps; a table has some hundred")
        name = step.name
        if name in _PASSED_OVER:
            continue
        if name == "STOP":
            (tree,) = stack
            return tree
        if name in _ARGUMENTS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _GLOBALS:
            stack.append(_known(_dotted(argument, stack), path))
        elif name in _PUT:
            kept[len(kept) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in _GET:
            stack.append(kept[argument])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
            stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[name]())
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name in _TUPLES:
            items = stack[-_TUPLES[name] :]
            del stack[-_TUPLES[name] :]
            stack.append(tuple(items))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else since_mark()
            stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else since_mark()
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = stack.pop()
            stack.append(_Made(stack.pop().text, tuple(arguments)))
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].state = state
        else:
            raise InputError(f"{path}: a pickle with {name}, which no table of numbers has")
    raise ValueError("no end")


def _dotted(argument: Any, stack: list[Any]) -> str:
    """Module and name: of GLOBAL in its argument, of STACK_GLOBAL on the stack."""
    if argument is not None:
        return str(argument).replace(" ", ".")
    name, module = stack.pop(), stack.pop()
    return f"{module}.{name}"


def _known(name: str, path: Path) -> _Name:
    if name not in _KNOWN:
        raise InputError(
            f"{path} names {quoted(name)}, which no table of numbers needs: it is not read"
        )
    return _Name(name)


def _columns(table: Any) -> Iterator[tuple[str, np.ndarray]]:
    if not isinstance(table, _Made) or not table.name.endswith(".DataFrame"):
        raise ValueError("no table")
    manager = table.state["_mgr" if "_mgr" in table.state else "_data"]
    if manager.arguments:
        blocks, axes = manager.arguments
        parts = [block.arguments[:2] for block in blocks]
    else:  # until pandas 1.2; the last part is for versions to come
        content = manager.state[-1]["0.14.1"]
        axes = content["axes"]
        parts = [(block["values"], block["mgr_locs"]) for block in content["blocks"]]
    names = _values(axes[0].arguments[1]["data"])
    for block, places in parts:
        values = _values(block)
        for row, number in enumerate(_places(places, len(names))):
            yield str(names[number]), values[row]


def _places(places: _Made, columns: int) -> np.ndarray:
    """Where the columns of a block stand among all."""
    if places.name.endswith(".slice"):
        numbers: np.ndarray = np.arange(columns)[slice(*places.arguments)]
        return numbers
    return _values(places)


def _values(array: _Made) -> np.ndarray:
    if array.name.endswith("._frombuffer"):
        data, dtype, shape, order = array.arguments
    elif array.name.endswith("._reconstruct"):
        _, shape, dtype, by_columns, data = array.state
        order = "F" if by_columns else "C"
    else:  # strings, since pandas 3
        (own,) = (part for part in array.state if getattr(part, "state", None))
        return _values(own)
    code = dtype.arguments[0]
    if code == _OBJECTS:
        if not all(isinstance(item, str) for item in data):
            raise ValueError("names that are no text")
        return np.array(data, np.object_)
    if not _NUMBERS.fullmatch(code):
        raise ValueError(f"an array of type {quoted(code)}")
    if isinstance(data, _Made):  # the bytes of protocol 2
        data = data.arguments[0].encode("latin1")
    swapped = dtype.state[1] == ">"
    kind = np.dtype(code).newbyteorder(">" if swapped else "<")
    values: np.ndarray = np.frombuffer(data, kind).reshape(shape, order=order)
    return values
