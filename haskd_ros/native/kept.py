"""Compiled libraries in a folder: each under a name that holds what it was made from and the
SHA-256 of its content, so that none is loaded that has changed since.

Who makes one holds the folder's lock. Whatever else lies there half made is then what a process
left that was killed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from haskd_ros import file_lock
from haskd_ros.errors import InputError
from haskd_ros.file_lock import LOCK
from haskd_ros.files import TEMPORARY, write_atomically
from haskd_ros.native.own_folder import Unsuitable, others_who_write
from haskd_ros.text import shown

log = logging.getLogger(__name__)

BUILDING = "building-"
"""Beginning of the name of a folder in which a library is being made."""

LIBRARIES = 32
"""How many are kept: about 12 MB. Those go that have not been used for longest."""

_LARGEST = 1 << 26
"""Bytes of the largest file that could be a library."""

_DAY_S = 86400.0


def find(folder: Path, source_digest: str) -> Path | None:
    """The library made from this, if it is as it was made and nobody else can have changed it."""
    for path in named(folder, source_digest):
        with suppress(OSError):
            content, modified = _read(path)
            if path.name == file_name(source_digest, content):
                if time.time() - modified > _DAY_S:
                    os.utime(path)  # it is in use
                return path
    return None


def add(folder: Path, source_digest: str, content: bytes) -> Path:
    """Keep a library, and remove those that are too many.

    Raises:
        OSError: it can't be written.
    """
    path = folder / file_name(source_digest, content)
    write_atomically(path, content)
    path.chmod(0o755)  # whatever the umask
    libraries = sorted(folder.glob("kernels-*.so"), key=lambda path: -path.lstat().st_mtime)
    for old in libraries[LIBRARIES:]:
        discard(old)
    return path


def discard_damaged(folder: Path, source_digest: str) -> None:
    """Remove what `find` passes over."""
    for path in named(folder, source_digest):
        log.warning("compiled kernels that are damaged are built again: %s", shown(path))
        discard(path)


def discard(path: Path) -> None:
    """Remove a library, or what lies in its place.

    Raises:
        OSError: it can't be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes left that were killed while they made a library, unless one is being
    made now."""
    if _leftovers(folder):
        with suppress(Unsuitable), locked(folder, wait_s=0.0):
            pass


@contextmanager
def locked(folder: Path, wait_s: float) -> Iterator[None]:
    """Within it no other process makes a library in this folder, and none has left anything.

    Raises:
        Unsuitable: another process does for longer than this, or no lock can be made.
    """
    deadline = time.monotonic() + wait_s
    waits = False
    with ExitStack() as lock:
        while True:
            try:
                lock.enter_context(file_lock.locked(folder / LOCK, folder))
                break
            except InputError as held:
                if time.monotonic() >= deadline:
                    raise Unsuitable(str(held)) from held
                if not waits:
                    waits = True
                    log.info("waiting for the process that compiles kernels in %s", shown(folder))
                time.sleep(0.1)
            except OSError as error:
                raise Unsuitable(shown(error)) from error
        for leftover in _leftovers(folder):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _leftovers(folder: Path) -> list[Path]:
    return [*folder.glob(f"{BUILDING}*"), *folder.glob(f"kernels-*{TEMPORARY}")]


def named(folder: Path, source_digest: str) -> list[Path]:
    """What lies in a folder under the names of libraries made from this, whole or not."""
    return list(folder.glob(f"kernels-{source_digest}-*.so"))


def file_name(source_digest: str, content: bytes) -> str:
    """Of a library, by what it was made from and its content."""
    return f"kernels-{source_digest}-{hashlib.sha256(content).hexdigest()}.so"


def _read(path: Path) -> tuple[bytes, float]:
    """Content of a file, and when it was last changed or used, as `time.time` gives it.

    Raises:
        OSError: it can't be read, is a link or no file, or others can write it.
    """
    # Without O_NONBLOCK a named pipe would be waited for.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(f"{path} is no file")
        if others := others_who_write(state):
            raise OSError(f"{path} {others}")
        return file.read(_LARGEST), state.st_mtime
