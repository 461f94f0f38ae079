"""Writing files and folders that are whole or not there.

What is being written lies in NAME.partial, beside NAME. A process that is killed leaves that folder
behind: it is known by its name, and by its lock as nobody's; the next one to write NAME removes it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_ros.file_lock import LOCK, is_held, locked

TEMPORARY = ".partial"
"""Ending of a folder in which something is being written."""

_COMPARED = 1 << 16
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file: whenever the process is killed, all of it is there, or what was before. A file
    with this very content is left alone.

    Raises:
        OSError, InputError: as of `written_atomically`.
    """
    if _holds(path, content):
        remove_leftover(path)
        return
    with written_atomically(path, len(content)) as temporary:
        temporary.write_bytes(content)


@contextmanager
def written_atomically(path: Path, size: int | None = None) -> Iterator[Path]:
    """The same for writers that open the file themselves, or write a folder that is not there yet:
    yields the path to write to, of the same name, in a folder of its own, where the writer's
    temporary files may lie too.

    Args:
        size: bytes of it, where that is known, for the message on a full disk.

    Raises:
        OSError: it can't be written. Of a full disk it says what is needed, and what is free.
        InputError: another process is writing it, or a folder of that name is in the way.
    """
    scratch = _scratch(path)
    try:
        scratch.mkdir(exist_ok=True)
        if not _is_own(scratch, path):
            raise InputError(f"{scratch} is in the way of writing {path.name}; move it away")
        with locked(scratch / LOCK, path):
            try:
                _clear(scratch)
                yield scratch / path.name
                _sync(scratch / path.name)
                os.replace(scratch / path.name, path)
            finally:
                _clear(scratch)
        _sync_entry(path.parent)
    except OSError as error:
        if error.errno in _FULL and (error.filename is None or str(scratch) in str(error.filename)):
            raise _disk_full(error, path, size) from error
        raise
    finally:
        with suppress(OSError):  # not ours, or another process has begun to write
            scratch.rmdir()


def is_full(error: BaseException) -> bool:
    """Whether an error comes of a full disk."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        cause = cause.__cause__
    return False


def remove_leftover(path: Path) -> None:
    """Remove what a killed process left of writing a file or folder; what a living one is writing
    stays."""
    scratch = _scratch(path)
    if scratch.is_dir() and _is_own(scratch, path) and not is_held(scratch / LOCK):
        shutil.rmtree(scratch, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """The same of all files in a folder, and the lock of a dead process on the folder itself."""
    if (folder / LOCK).exists() and not is_held(folder / LOCK):
        with suppress(OSError):  # a folder that may only be read
            (folder / LOCK).unlink()
    for scratch in folder.glob(f"*{TEMPORARY}"):
        if scratch.is_dir() and not is_held(scratch / LOCK):
            shutil.rmtree(scratch, ignore_errors=True)


def _scratch(path: Path) -> Path:
    return path.with_name(path.name + TEMPORARY)


def _holds(path: Path, content: bytes) -> bool:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != len(content):
                return False
            return all(
                file.read(_COMPARED) == content[start : start + _COMPARED]
                for start in range(0, len(content), _COMPARED)
            )
    except OSError:
        return False


def _is_own(scratch: Path, path: Path) -> bool:
    """Whether it is new, or a killed process left it: with its lock, or what it was writing."""
    inside = {entry.name for entry in scratch.iterdir()}
    return not scratch.is_symlink() and (not inside or bool(inside & {LOCK, path.name}))


def _clear(scratch: Path) -> None:
    """Remove all but the lock."""
    for entry in scratch.iterdir():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _disk_full(error: OSError, path: Path, size: int | None) -> OSError:
    needed = "" if size is None else f"{_megabytes(size)} needed, "
    free = _megabytes(shutil.disk_usage(path.parent).free)
    return OSError(error.errno, f"{error.strerror}: {needed}{free} free", str(path))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _sync(path: Path) -> None:
    """Flush a file, or a folder with all that is in it, to the disk."""
    if path.is_dir():
        for entry in path.iterdir():
            _sync(entry)
    _sync_entry(path)


def _sync_entry(path: Path) -> None:
    """Flush a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
