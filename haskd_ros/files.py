"""Writing files that are whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".partial"
"""Ending of a folder in which a file is being written."""


def write_atomically(path: Path, octets: bytes) -> None:
    """Write a file so that under its name there is all of it or nothing, whenever we are killed."""
    with written_atomically(path) as temporary:
        temporary.write_bytes(octets)


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """The same for what writes files itself: yields the name to write to, in a folder of its own,
    where temporary files of the writer's may lie too."""
    folder = path.with_name(path.name + TEMPORARY)
    try:
        folder.mkdir(exist_ok=True)
        yield folder / path.name
        _sync(folder / path.name)
        os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
