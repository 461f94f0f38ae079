"""Decompressing what a recording holds, within limits: a few bytes may stand for any number."""

from __future__ import annotations

import bz2
import heapq
import shutil
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lz4.frame
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import storage_mcap

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from haskd_training.recordings.reading import TooLarge

LARGEST_CHUNK = 1 << 30
"""Bytes of a chunk or message; recorders write chunks of about 1 MB, or of one message."""

LARGEST_TOGETHER = 4 << 30
"""Bytes of the chunks of an MCAP that lie over one moment: they are held at once."""

DAMAGE = (TooLarge, EOFError, zstd.ZstdError, zlib.error)
"""What is raised of bytes that can't be decompressed."""

_PIECE = 1 << 20
_SPARED = 1 << 30
"""Bytes of the disk that a decompressed file leaves free."""


def inflate_zstd(data: bytes, size: int = LARGEST_CHUNK) -> bytes:
    """Decompress Zstandard frames.

    Args:
        size: bytes that it has at most.

    Raises:
        TooLarge: it has more.
    """
    _check(size)
    inflated, rest = b"", bytes(data)
    while rest:
        one = zstd.ZstdDecompressor()
        inflated += one.decompress(rest, max_length=size + 1 - len(inflated))
        _check_end(len(inflated), size)
        if not one.eof:
            raise EOFError("compressed data ends before its end was reached")
        rest = one.unused_data
    return inflated


def inflate_lz4(data: bytes, size: int = LARGEST_CHUNK) -> bytes:
    """The same of an LZ4 frame."""
    return _inflate(lz4.frame.LZ4FrameDecompressor(), data, size)


def inflate_bz2(data: bytes, size: int = LARGEST_CHUNK) -> bytes:
    """The same of bzip2."""
    return _inflate(bz2.BZ2Decompressor(), data, size)


def inflate_zlib(data: bytes, size: int = LARGEST_CHUNK) -> bytes:
    """The same of zlib's stream, with its own header or gzip's."""
    return _inflate(zlib.decompressobj(zlib.MAX_WBITS | 32), data, size)


def _inflate(one: Any, data: bytes, size: int) -> bytes:
    _check(size)
    inflated = bytes(one.decompress(data, size + 1))
    _check_end(len(inflated), size)
    if not one.eof:
        raise EOFError("compressed data ends before its end was reached")
    return inflated


def _check(size: int) -> None:
    if size > LARGEST_CHUNK:
        raise TooLarge(f"a chunk says to hold {size:,} bytes; at most {LARGEST_CHUNK:,} are read")


def _check_end(length: int, size: int) -> None:
    if length > size:
        raise TooLarge(f"a chunk holds more than the {size:,} bytes that are allowed")


def check_chunks(chunks: Iterable[storage_mcap.ChunkInfo]) -> None:
    """Check what an MCAP's index says of its chunks: rosbags holds those that overlap in time at
    once, decompressed.

    Raises:
        TooLarge: one, or those that lie over one moment, are too large together.
    """
    held: list[tuple[int, int]] = []
    together = 0
    for chunk in sorted(chunks, key=lambda chunk: chunk.message_start_time):
        _check(max(chunk.uncompressed_size, chunk.compressed_size))
        while held and held[0][0] < chunk.message_start_time:
            together -= heapq.heappop(held)[1]
        heapq.heappush(held, (chunk.message_end_time, chunk.uncompressed_size))
        together += chunk.uncompressed_size
        if together > LARGEST_TOGETHER:
            raise TooLarge(
                f"chunks of more than {LARGEST_TOGETHER:,} bytes overlap in time; they would be "
                "held at once"
            )


def inflate_file(source: Path, target: Path) -> None:
    """Decompress a file of Zstandard frames onto the disk.

    Raises:
        TooLarge: the disk has no room for it.
    """
    room = shutil.disk_usage(target.parent).free - _SPARED
    with zstd.open(source, "rb") as inside, target.open("wb") as outside:
        while piece := inside.read(_PIECE):
            room -= len(piece)
            if room < 0:
                raise TooLarge(f"{target.parent} has no room for it decompressed")
            outside.write(piece)


# rosbags decompresses whatever comes, to any length, and takes no other decompressors.
storage_mcap.DECOMPRESSORS.update(zstd=inflate_zstd, lz4=inflate_lz4)
rosbag1_reader.decompressors.update(bz2=inflate_bz2, lz4=inflate_lz4)
