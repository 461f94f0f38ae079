"""MCAP files that say less than ROS's recorder does, or hold something else (mcap.dev/spec)."""

from __future__ import annotations

import io
import struct
from collections.abc import Collection, Generator
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader

from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_training.recordings.readers.inflate import check_chunks, inflate_zstd

FOREIGN_SCHEMAS = ("ros1msg", "protobuf", "jsonschema", "flatbuffer")
"""Encodings of MCAP schemas that are none of ROS 2's."""

_MAGIC = b"\x89MCAP0\r\n"
_HEADER = 0x01
_PROFILE_AT = len(_MAGIC) + 9
_PROFILE = b"ros2"
_LONGEST = 4096


def profile(path: Path) -> str | None:
    """Which messages the file says to hold: `ros1`, `ros2`, empty where it doesn't say; None where
    it has no header."""
    header = _header(path)
    return header and header[0]


def check_profile(path: Path) -> None:
    """Check that a file may hold ROS 2 messages.

    Raises:
        InputError: it holds others, with what mends that.
    """
    found = profile(path)
    if found == "ros1":
        raise InputError(
            f"{path} holds ROS 1 messages in MCAP (profile ros1), which are not read; convert the "
            f".bag that it was made of: `rosbags-convert --src {path.stem}.bag --dst {path.stem}`"
        )
    if found not in (None, "", "ros2"):
        raise InputError(
            f"{path} is an MCAP of profile {quoted(found)}; only those of ROS 2 are read"
        )


def check_end(path: Path) -> None:
    """Check that a file was closed: it ends as it begins.

    Raises:
        InputError: its recorder was stopped, or it was not copied as a whole.
    """
    with open(path, "rb") as file:
        head = file.read(len(_MAGIC))
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - len(_MAGIC)))
        tail = file.read()
    if head == _MAGIC and tail != _MAGIC:
        whole = path.with_name(f"{path.stem}_whole.mcap")
        raise InputError(
            f"{path} is cut off: its end is missing; `mcap recover {path} -o {whole}` saves what "
            "was recorded (put it in its place, then `ros2 bag reindex` on its folder)"
        )


class _Mcap(McapReader):
    def open(self) -> None:
        header = _header(Path(str(self.path)))
        if header is not None and header[0] == "" and len(header[1]) >= len(_PROFILE):
            self.path = _Told(Path(str(self.path)), header[1])  # type: ignore[assignment]
        super().open()
        check_chunks(self.chunks)


class _Directory(DirectoryReader):
    STORAGE_PLUGINS = {**DirectoryReader.STORAGE_PLUGINS, "mcap": _Mcap}

    _by_message = False

    def open(self) -> None:
        super().open()
        # Messages that are compressed one by one are decompressed here, within limits.
        self._by_message = self.metadata.compression_mode == "message"
        if self._by_message:
            self.metadata = self.metadata._replace(compression_mode=None)

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        for connection, time_ns, data in super().messages(connections, start, stop):
            yield connection, time_ns, inflate_zstd(data) if self._by_message else data


class Reader2(Reader):
    """Reads rosbag2 recordings, MCAP without a profile among them: those of other recorders than
    ROS's, which write the same messages."""

    STORAGE_PLUGINS = {**Reader.STORAGE_PLUGINS, "dir": _Directory, ".mcap": _Mcap}


class _Told:
    """A file that reads as if its header named the profile: what names the writer is as much
    shorter, so that everything behind stays at its place."""

    def __init__(self, path: Path, library: bytes) -> None:
        self._path = path
        library = library[len(_PROFILE) :]
        self._patch = b"".join(struct.pack("<I", len(text)) + text for text in (_PROFILE, library))

    def open(self, mode: str) -> Any:
        return io.BufferedReader(_Patched(self._path, self._patch))

    def __str__(self) -> str:
        return str(self._path)


class _Patched(io.FileIO):
    """A file with other bytes from `_PROFILE_AT` on."""

    def __init__(self, path: Path, patch: bytes) -> None:
        super().__init__(path)
        self._patch = patch

    def readinto(self, buffer: Any, /) -> int:
        at = self.tell()
        count = super().readinto(buffer) or 0
        start, stop = max(at, _PROFILE_AT), min(at + count, _PROFILE_AT + len(self._patch))
        if start < stop:
            part = self._patch[start - _PROFILE_AT : stop - _PROFILE_AT]
            memoryview(buffer).cast("B")[start - at : stop - at] = part
        return count


def _header(path: Path) -> tuple[str, bytes] | None:
    """Profile and name of the writing library; None without a whole header."""
    with open(path, "rb") as file:
        head = file.read(_LONGEST)
    if not head.startswith(_MAGIC) or head[len(_MAGIC) : len(_MAGIC) + 1] != bytes([_HEADER]):
        return None
    texts = []
    at = _PROFILE_AT
    for _ in range(2):
        if len(head) < at + 4:
            return None
        (length,) = struct.unpack_from("<I", head, at)
        texts.append(head[at + 4 : at + 4 + length])
        at += 4 + length
    return texts[0].decode("utf-8", "replace"), texts[1]
