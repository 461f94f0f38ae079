"""Locks that name who holds them, and that end with their process, however it ends."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_ros.text import shown

LOCK = ".in-use"
"""Name of the lock file of a folder, in it."""

_HOLDER_BYTES = 300
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)

log = logging.getLogger(__name__)

_held: set[int] = set()


def _forget() -> None:
    """In a fork: its copy of a lock would outlive the process that holds it."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)


@contextmanager
def locked(file: Path, what: Path) -> Iterator[None]:
    """Hold a lock file, which is made with its folder, and removed with it where that was not there
    before and is empty. One that a dead process left is taken over. It keeps out other machines
    too where the file system passes locks on; where it has no locks at all, this is logged.

    Args:
        what: what nobody else is to write in the meantime, for the message.

    Raises:
        InputError: somebody holds it, this process included.
        OSError: it can't be made.
    """
    made = _missing_folders(file.parent)
    descriptor = _acquired(file, what)
    _held.add(descriptor)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, _holder().encode())
        yield
    finally:
        with suppress(OSError):  # a folder that is no longer there, or can no longer be written
            file.unlink(missing_ok=True)
            for folder in made:
                folder.rmdir()
        _held.discard(descriptor)
        os.close(descriptor)


def is_held(file: Path) -> bool:
    """Whether somebody holds a lock file."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _taken(descriptor)
    finally:
        os.close(descriptor)


def _missing_folders(folder: Path) -> list[Path]:
    """A folder and those above it that are not there yet, the innermost first."""
    return [one for one in (folder, *folder.parents) if not one.exists()]


def _acquired(file: Path, what: Path) -> int:
    """Descriptor of the locked file."""
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:  # its last holder has just removed the folder
            continue
        try:
            if not _taken(descriptor):
                holder = shown(os.read(descriptor, _HOLDER_BYTES).decode(errors="replace"))
                raise InputError(
                    f"{what} is in use by {holder or 'another process'}; wait for it or choose "
                    "another place"
                )
            if _is_file(descriptor, file):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.warning("the file system has no locks: two commands at once are not kept apart")
    return True


def _is_file(descriptor: int, file: Path) -> bool:
    """Whether the file is still the one of that name: its last holder removes it."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _holder() -> str:
    program = Path(sys.argv[0]).name
    command = ["haskd", *sys.argv[1:2]] if program in ("haskd", "__main__.py") else [program]
    since = time.strftime("%H:%M on %Y-%m-%d")
    return (
        f"{' '.join(command)} (host {socket.gethostname()}, process {os.getpid()}, since {since})"
    )
