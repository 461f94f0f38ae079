"""Text files and YAML that anyone may have written: read within limits, and never executed."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import yaml

from haskd_ros.errors import InputError
from haskd_ros.text import shown

LARGEST_BYTES = 16 << 20
"""Of a document; a recording of 10,000 files has a metadata.yaml of 3 MB."""

DEEPEST = 64
"""Lists and mappings within each other."""

MOST_NODES = 250_000
"""Values of a YAML document, each alias counted as all that it stands for."""

_OF_VALUES = (ValueError, LookupError, ArithmeticError, AttributeError, TypeError)
"""What PyYAML raises of values that it doesn't check, such as `!!timestamp x`."""


def read_text(path: Path, what: str, largest: int = LARGEST_BYTES) -> str:
    """The text of a file, in UTF-8.

    Args:
        what: the file is, for the message: `settings a.yaml`.
        largest: bytes it may have.

    Raises:
        InputError: no file, one that isn't a regular one (reading a pipe or device may never end),
            a larger one, or one that is no text.
    """
    try:
        state = path.stat()
        if stat.S_ISREG(state.st_mode) and state.st_size <= largest:
            return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{what} can't be read: {error.strerror}") from error
    except ValueError as error:  # no UTF-8, or a path with a zero in it
        raise InputError(f"{what} can't be read: {error}") from error
    if not stat.S_ISREG(state.st_mode):
        kind = "folder" if stat.S_ISDIR(state.st_mode) else "pipe, socket or device"
        raise InputError(f"{what} can't be read: it is a {kind}, not a file")
    raise InputError(
        f"{what} can't be read: it has {state.st_size:,} bytes, at most {largest:,} are allowed"
    )


def parse_yaml(text: str, what: str) -> Any:
    """The one document in a text, of the types that YAML itself has.

    Raises:
        InputError: no YAML, more than one document, more values or levels than allowed, or a value
            that Python can't hold.
    """
    try:
        return _Loader(text).get_single_data()
    except RecursionError as error:
        raise InputError(f"{what} can't be read: too many levels") from error
    except yaml.YAMLError as error:
        raise InputError(f"{what} can't be read: {_one_line(error)}") from error
    except _OF_VALUES as error:
        raise InputError(f"{what} can't be read: a value in it is wrong ({error})") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which bounds neither levels nor what aliases stand for."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0
        self._count = 0
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias:
            if event.anchor in self.anchors and event.anchor not in self._sizes:
                raise _refused(f"*{event.anchor} stands within itself", event)
            self._add(self._sizes.get(event.anchor, 0), event)
            return super().compose_node(parent, index)
        self._level += 1
        if self._level > DEEPEST:
            raise _refused(f"more than {DEEPEST} levels", event)
        before = self._count
        self._add(1, event)
        node = super().compose_node(parent, index)
        self._level -= 1
        if event.anchor is not None:
            self._sizes[event.anchor] = self._count - before
        return node

    def _add(self, nodes: int, event: Any) -> None:
        self._count += nodes
        if self._count > MOST_NODES:
            raise _refused(f"more than {MOST_NODES:,} values", event)


def _refused(problem: str, event: Any) -> yaml.YAMLError:
    return yaml.composer.ComposerError(None, None, problem, event.start_mark)


def _one_line(error: yaml.YAMLError) -> str:
    """The problem and where it is; PyYAML's own text has several lines."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem is not None:
        mark = error.problem_mark
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        return shown(error.problem[:200]) + where
    return shown(str(error)[:200])
