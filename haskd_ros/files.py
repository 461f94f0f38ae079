"""Writing files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

TEMPORARY = ".partial"
"""Ending of a file that is being written."""


def write_atomically(path: Path, octets: bytes) -> None:
    """Write a file so that under its name there is all of it or nothing, whenever we are killed."""
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with open(temporary, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
