"""Writing files that are whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".partial"
"""Ending of a folder in which a file is being written."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file: whenever the process is killed, all of it is there, or what was before."""
    with written_atomically(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """The same for writers that open the file themselves: yields the path to write to, in a folder
    of its own, where the writer's temporary files may lie too."""
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
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
