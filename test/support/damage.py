"""What disks, copies and people do to files."""

from __future__ import annotations

import os
from pathlib import Path


def with_flipped_bit(content: bytes, bit: int) -> bytes:
    """The content with one bit changed; bits count from the first byte's lowest."""
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def change_in_place(path: Path, place: int, mask: int = 0xFF) -> None:
    """Change one byte, and set back when the file was modified, as `cp -p` and `touch -r` do.

    Args:
        mask: bits of the byte to change.
    """
    state = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ mask]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
