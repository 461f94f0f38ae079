"""Reading files wherever they lie.

Who opens a file that may lie in a store asks `local_file` for a path to it, and doesn't know more:
of a path it is that path, of a URL that of a copy, fetched where there is none yet.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_ros.text import shown
from haskd_training.core.storage import object_store
from haskd_training.core.storage.local_copies import LocalCopies
from haskd_training.core.storage.location import Location
from haskd_training.core.storage.read_ahead import ReadAhead
from haskd_training.core.storage.settings import store_settings


def local_file(where: Location, siblings: Sequence[str] = ()) -> Path:
    """A path to read a file by. What was written under a URL is taken to stay as it is: who can
    tell that the copy of it is wrong calls `discard_copy` and asks again. The path may lead nowhere
    a moment later, when another process has made room for copies of its own.

    Args:
        siblings: names of the files beside it in the order in which they are mostly read: those
            after it are fetched in the background.

    Raises:
        InputError: the store doesn't give it.
        OSError: it can't be written to this machine's disk.
    """
    if isinstance(where, Path):
        return where
    copies = _copies()
    if siblings:
        folder, _, name = where.text.rpartition("/")
        _ahead.reach(copies, folder, name, siblings)
    try:
        return copies.get(where.text, object_store.deadline())
    except FileNotFoundError as error:
        raise InputError(f"{where} is not there: {shown(error)}") from error


def discard_copy(where: Location) -> bool:
    """Have a file fetched again; False where it is none of a store."""
    if isinstance(where, Path):
        return False
    _copies().discard(where.text)
    return True


def read_file(where: Location) -> bytes:
    """The content of a file, as it is now.

    Raises:
        OSError: there is none, or it can't be read.
        InputError: the store doesn't give it.
    """
    return where.read_bytes() if isinstance(where, Path) else object_store.read(where.text)


def is_file(where: Location) -> bool:
    """Whether there is such a file.

    Raises:
        InputError: the store doesn't tell.
    """
    return where.is_file() if isinstance(where, Path) else object_store.is_file(where.text)


def names_in(where: Location) -> set[str]:
    """Names of what lies in a folder; empty where there is none.

    Raises:
        InputError: the store doesn't tell.
    """
    if isinstance(where, Path):
        return {entry.name for entry in where.iterdir()} if where.is_dir() else set()
    return object_store.names_in(where.text)


def _copies() -> LocalCopies:
    settings = store_settings()
    return LocalCopies(settings.folder / "copies", round(settings.gigabytes * 1e9))


_ahead = ReadAhead()


def _after_fork() -> None:
    """Threads don't survive a fork."""
    global _ahead
    _ahead = ReadAhead()


os.register_at_fork(after_in_child=_after_fork)
