"""What is compressed in recordings is inflated within limits."""

from __future__ import annotations

import bz2
from types import SimpleNamespace

import lz4.frame
import pytest
from hostile_files import zstd
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import storage_mcap

from haskd_training.recordings.readers import inflate
from haskd_training.recordings.reading import TooLarge

CONTENT = bytes(range(256)) * 40
KINDS = {
    "zstd": (inflate.inflate_zstd, zstd.compress),
    "lz4": (inflate.inflate_lz4, lz4.frame.compress),
    "bz2": (inflate.inflate_bz2, bz2.compress),
}


@pytest.mark.parametrize("kind", KINDS)
def test_content_comes_back_whole_and_never_more_than_was_said(kind: str) -> None:
    inflated, compress = KINDS[kind]
    packed = compress(CONTENT)
    assert inflated(packed, len(CONTENT)) == CONTENT
    assert inflated(packed) == CONTENT
    with pytest.raises(TooLarge, match="holds more than the 10,239 bytes that are allowed"):
        inflated(packed, len(CONTENT) - 1)
    with pytest.raises(TooLarge, match="a chunk says to hold"):
        inflated(packed, inflate.LARGEST_CHUNK + 1)
    with pytest.raises(EOFError):
        inflated(packed[:-3])


def test_frames_behind_each_other_count_together() -> None:
    packed = zstd.compress(CONTENT) * 2
    assert inflate.inflate_zstd(packed, 2 * len(CONTENT)) == CONTENT * 2
    with pytest.raises(TooLarge):
        inflate.inflate_zstd(packed, len(CONTENT))


def test_the_readers_of_bags_inflate_so() -> None:
    assert storage_mcap.DECOMPRESSORS["zstd"] is inflate.inflate_zstd
    assert storage_mcap.DECOMPRESSORS["lz4"] is inflate.inflate_lz4
    assert rosbag1_reader.decompressors["bz2"] is inflate.inflate_bz2
    assert rosbag1_reader.decompressors["lz4"] is inflate.inflate_lz4


def chunk(start: int, end: int, size: int) -> SimpleNamespace:
    return SimpleNamespace(
        message_start_time=start, message_end_time=end, uncompressed_size=size, compressed_size=1
    )


def test_chunks_that_are_held_at_once_have_a_limit_together() -> None:
    half = inflate.LARGEST_CHUNK // 2
    # One behind the other, each 0.5 GiB: any number. Over one moment: 8 are 4 GiB, the limit.
    inflate.check_chunks([chunk(10 * k, 10 * k + 9, half) for k in range(100)])
    inflate.check_chunks([chunk(0, 9, half)] * 8)
    with pytest.raises(TooLarge, match="overlap in time"):
        inflate.check_chunks([chunk(k, 20, half) for k in range(9)])
    with pytest.raises(TooLarge, match="a chunk says to hold"):
        inflate.check_chunks([chunk(0, 1, inflate.LARGEST_CHUNK + 1)])
