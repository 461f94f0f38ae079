"""The one boundary between files that anyone may have written and the libraries that read them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from haskd_ros.errors import InputError
from haskd_ros.text import shown

_logger = logging.getLogger(__name__)

_LONGEST = 200
"""Characters of a library's own words."""


class TooLarge(Exception):
    """What a file says to hold is beyond a limit; `str()` says what, and the limit."""


@contextmanager
def reading(path: Path, remedy: Callable[[], str] | None = None) -> Iterator[None]:
    """Turn whatever a reader raises about a damaged file into one InputError that names the file.

    Libraries parse before they check, and on a file that is cut off or altered raise any of a dozen
    types, from sqlite's to `struct.error`, `AssertionError` and, out of Rust, a panic. So only what
    reads belongs into this context. The traceback is logged at the level debug.

    Args:
        remedy: gives what mends a damaged file, for the message.

    Raises:
        InputError: anything else was raised.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except TooLarge as error:
        raise InputError(f"{path}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path}: too large for this machine's memory, or damaged") from error
    except OSError as error:
        # Of the file system, whose own message is the best; libraries raise it without a number.
        detail = error.strerror or _first_line(error)
        raise InputError(f"{path} can't be read: {detail}") from error
    except Exception as error:
        raise _damaged(path, error, remedy) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise _damaged(path, error, remedy) from error


def check_memory(size: int) -> None:
    """Check what a file says to hold before memory is asked for.

    Args:
        size: bytes.

    Raises:
        TooLarge: more than half of what this machine has.
    """
    largest = psutil.virtual_memory().total // 2
    if size > largest:
        raise TooLarge(
            f"says to hold {size:,} bytes; at most {largest:,} are read, half of this machine's "
            "memory"
        )


def regular_file(path: Path) -> None:
    """Check that a path is a regular file: to read from a pipe or a device may never end.

    Raises:
        InputError: it is something else, or not there.
    """
    if path.is_file():
        return
    if not path.exists():
        loop = " (a link that leads nowhere)" if path.is_symlink() else ""
        raise InputError(f"{path} does not exist{loop}")
    kind = "a folder" if path.is_dir() else "a pipe, socket or device"
    raise InputError(f"{path} can't be read: it is {kind}, not a file")


def _damaged(path: Path, error: BaseException, remedy: Callable[[], str] | None) -> InputError:
    _logger.debug("reading %s", path, exc_info=True)
    mends = f"; {remedy()}" if remedy is not None else ""
    return InputError(f"{path} is cut off or damaged ({_first_line(error)}){mends}")


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return shown(lines[0][:_LONGEST]) if lines and lines[0] else type(error).__name__
