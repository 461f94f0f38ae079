"""Copies of a store's objects on this machine's disk, for all processes of a user.

FOLDER/cache-1f0a93c4/sweeps-00000.safetensors            a whole copy
FOLDER/cache-1f0a93c4/sweeps-00000.safetensors.fetching   a part of one; who holds its lock fetches

Those that were not used for longest go when there are too many bytes. A process that has one of
them open reads on: the file is there until it is closed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from haskd_ros.file_lock import is_held
from haskd_ros.text import file_name
from haskd_training.core.storage import object_store

_FETCHING = ".fetching"
_TRIMMING = ".trimming"


def folder_name(url: str) -> str:
    """What the folder on this machine is called that stands for one in a store."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return f"{file_name(url.rpartition('/')[2], 40)}-{digest}"


class LocalCopies:
    """The copies in a folder.

    Args:
        folder: made when it is needed.
        max_bytes: of all copies together; one alone may have more.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes

    def path(self, url: str) -> Path:
        """Where the copy of an object lies, or would."""
        folder, _, name = url.rpartition("/")
        return self.folder / folder_name(folder) / file_name(name)

    def has(self, url: str) -> bool:
        return self.path(url).exists()

    def get(self, url: str, until_s: float) -> Path:
        """The copy of an object, made where there is none. Of several processes and threads that
        ask for one, one fetches it.

        Args:
            until_s: of `object_store.fetch`. It may pass while another one tries: then this one
                tries once.

        Raises:
            as of `object_store.fetch`.
        """
        path = self.path(url)
        if not _used_now(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _own(path.with_name(path.name + _FETCHING)) as part:
                if not _used_now(path):  # another process has fetched it meanwhile
                    object_store.fetch(url, part, until_s)
                    os.replace(part, path)
                    self._trim(path)
        return path

    def discard(self, url: str) -> None:
        """Have an object fetched again."""
        self.path(url).unlink(missing_ok=True)

    def _trim(self, kept: Path) -> None:
        """Remove those that were used before all others, until the rest is small enough."""
        with _own(self.folder / _TRIMMING):
            states = []
            for path in self.folder.glob("*/*"):
                with suppress(FileNotFoundError):
                    state = path.stat()
                    states.append((state.st_atime_ns, state.st_size, path))
            total = sum(size for _, size, _ in states)
            for _, size, path in sorted(states):
                if total <= self.max_bytes:
                    return
                if path == kept or (path.suffix == _FETCHING and is_held(path)):
                    continue
                path.unlink(missing_ok=True)
                total -= size


def _used_now(path: Path) -> bool:
    """Whether there is a copy; it counts as used now. Its time of change stays: who maps the file
    knows it by that."""
    try:
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _own(file: Path) -> Iterator[Path]:
    """A file that nobody else has meanwhile; waits for whoever has it. It is given up with its
    process, and removed at the end where it still has its name."""
    descriptor = _locked(file)
    try:
        yield file
    finally:
        if _is_file(descriptor, file):
            file.unlink(missing_ok=True)
        # Not by closing it alone: a fork may have a descriptor of the lock too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _locked(file: Path) -> int:
    """Descriptor of a file, made where it is missing, that this process has locked."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_file(descriptor, file):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_file(descriptor: int, file: Path) -> bool:
    """Whether the file is still the one of that name: who had it renames or removes it."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
