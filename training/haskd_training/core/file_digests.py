"""What identifies files: their content, read again only where it may have changed."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from haskd_ros.errors import InputError
from haskd_training.core.background import map_in_order
from haskd_training.core.checked_json import read_json, write_json
from haskd_training.core.progress import Progress, no_progress

PIECE_BYTES = 64 * 1024 * 1024
"""Of a file that is hashed in one thread; of a large one, several are."""

_BLOCK_BYTES = 1024 * 1024

_SHOWN_FROM = 16
"""Pieces from which on hashing takes a second and more, and its progress is shown."""

_SETTLED_NS = 2_000_000_000
"""A state younger than this may be that of two contents: file systems count time in steps, of 2 s
at most."""


class State(NamedTuple):
    """What the file system says of a file; no tool can set the time of its last change of status
    (`ctime`) as it can that of its content (`mtime`)."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class FileDigests:
    """Digests of files' content. A digest that was recorded still holds where the file system says
    of the file what it said then; else the file is read.

    Args:
        record: file of `save`; may be missing.
    """

    def __init__(self, record: Path) -> None:
        self._record = record
        self._settled: dict[str, tuple[State, str]] = {}
        self._used: dict[str, State] = {}
        self._is_new = False
        try:
            for name, (digest, *state) in read_json(record, "")["files"].items():
                self._settled[name] = State(*state), digest
        except (InputError, KeyError, TypeError, ValueError):
            self._settled = {}

    def of(self, paths: Sequence[Path], progress: Progress = no_progress) -> list[str]:
        """SHA-256 of the content of each file; of one of several pieces, that of theirs.

        Args:
            progress: counts pieces of `PIECE_BYTES`, where there is much to read.

        Raises:
            InputError: a file can't be read, or changes while it is.
        """
        names = [os.path.abspath(path) for path in paths]
        digests: dict[str, str] = {}
        try:
            states = {name: _state(name) for name in names}
            for name, state in states.items():
                if name in self._settled and self._settled[name][0] == state:
                    digests[name] = self._settled[name][1]
            unknown = [name for name in states if name not in digests]
            now = time.time_ns()
            for name, digest in zip(unknown, _digests(unknown, states, progress), strict=True):
                digests[name] = digest
                if now - max(states[name].mtime_ns, states[name].ctime_ns) >= _SETTLED_NS:
                    self._settled[name] = states[name], digest
                    self._is_new = True
        except OSError as error:
            raise InputError(f"{error.filename} can't be read: {error.strerror}") from error
        self._used |= states
        self.check_unchanged()
        return [digests[name] for name in names]

    def check_unchanged(self) -> None:
        """Check that the files are still those whose digests were taken.

        Raises:
            InputError: one has changed.
        """
        for name, state in self._used.items():
            try:
                same = _state(name) == state
            except OSError:
                same = False
            if not same:
                raise InputError(
                    f"{name} changed while it was read; run the command again when it is whole"
                )

    def save(self) -> None:
        """Record the digests of the files that were asked for, where one is new.

        Raises:
            OSError: they can't be written.
        """
        if not self._is_new:
            return
        files = {
            name: [digest, *state]
            for name, (state, digest) in sorted(self._settled.items())
            if self._used.get(name) == state
        }
        write_json(self._record, {"files": files})


def file_digest(path: Path) -> str | None:
    """The digest of a file, as `FileDigests` has it; None where there is no such file."""
    if not path.is_file():
        return None
    return next(_digests([str(path)], {str(path): _state(str(path))}, no_progress))


def _state(name: str) -> State:
    found = os.stat(name)
    return State(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _digests(names: Sequence[str], states: dict[str, State], progress: Progress) -> Iterator[str]:
    counts = [max(1, -(-states[name].size // PIECE_BYTES)) for name in names]
    pieces = ((name, k) for name, count in zip(names, counts, strict=True) for k in range(count))
    total = sum(counts)
    done = 0
    digests = map_in_order(lambda piece: _of_piece(*piece), pieces)
    for count in counts:
        of_file = []
        for digest in itertools.islice(digests, count):
            of_file.append(digest)
            done += 1
            if total >= _SHOWN_FROM:
                progress(done, total, "comparing what is in the files")
        yield of_file[0].hex() if count == 1 else hashlib.sha256(b"".join(of_file)).hexdigest()


def _of_piece(name: str, number: int) -> bytes:
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK_BYTES))
    with open(name, "rb", buffering=0) as file:
        file.seek(number * PIECE_BYTES)
        left = PIECE_BYTES
        while left and (count := file.readinto(block[: min(left, _BLOCK_BYTES)])):
            digest.update(block[:count])
            left -= count
    return digest.digest()
