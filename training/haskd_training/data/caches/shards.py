"""Shards of a cache: files of rows and their tensors, each written atomically."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from haskd_ros.errors import InputError
from haskd_ros.files import written_atomically
from haskd_ros.text import shown
from haskd_training.core.background import BackgroundCalls
from haskd_training.core.checked_json import from_text, to_text
from haskd_training.core.storage.files import discard_copy, local_file
from haskd_training.core.storage.location import Location
from haskd_training.core.tensor_file import DAMAGE, METADATA, check, checksum

SHARD_BYTES = 64 * 1024 * 1024

_TRIES = 3
"""Of a store's shard: to make room another process may remove its copy just before it is opened,
and a damaged copy is fetched again."""

REMEDY = "delete it and prepare the cache again, which makes it anew"
"""Of a damaged shard."""


class ShardRow(Protocol):
    """A row of a cache's index, a dataclass.

    shard, key: where its tensors are. checksums: of them, by name, see `tensor_file.checksum`.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def shard(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def checksums(self) -> Mapping[str, int]: ...


Row = TypeVar("Row", bound=ShardRow)


class ShardStream(Generic[Row]):
    """Rows of one kind, written to numbered shards as they come.

    The source is a sequence of messages; `next_is_new` counts them, and each new one is then added
    or skipped, in the same order. Every shard records how many messages had been handled when it
    was written, and how many of them were skipped for which reason, so that a later run passes over
    those and continues with the next, and its shards come out the same.

    A thread writes a shard while the next one fills; an error is raised when that one is full, or
    at the end.

    Args:
        row_type: makes a row of its fields by name.

    Attributes:
        rows: those in the shards and the pending ones, in order.
        skipped: messages left out, by reason.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        *,
        row_type: Callable[..., Row],
        fingerprint: str,
        shard_bytes: int,
    ) -> None:
        self.rows: list[Row] = []
        self.skipped: Counter[str] = Counter()
        self._folder = folder
        self._kind = kind
        self._fingerprint = fingerprint
        self._shard_bytes = shard_bytes
        self._stored = 0
        self._counted = 0
        self._handled = 0
        self._shards = 0
        self._pending: dict[str, np.ndarray] = {}
        self._pending_bytes = 0
        self._written_rows = 0
        # One at a time: shards count up without a gap, and memory stays bounded.
        self._writer = BackgroundCalls(1)
        self._resume(row_type)

    def next_is_new(self) -> bool:
        """Count one message of the source; False where an earlier run's shards account for it."""
        self._counted += 1
        return self._counted > self._stored

    def skip(self, reason: str) -> None:
        """Leave out a new message."""
        self._handled += 1
        self.skipped[reason] += 1

    def add(self, row: Row, tensors: dict[str, np.ndarray]) -> None:
        """Add the row of a new message; its shard, key and checksums are set here.

        Args:
            tensors: by name within the row.

        Raises:
            OSError: an earlier shard could not be written.
        """
        self._handled += 1
        key = f"{len(self.rows):08d}"
        checksums = {name: checksum(tensor) for name, tensor in tensors.items()}
        self.rows.append(replace(row, shard=self._name(), key=key, checksums=checksums))
        for name, tensor in tensors.items():
            self._pending[f"{key}/{name}"] = np.ascontiguousarray(tensor)
            self._pending_bytes += tensor.nbytes
        if self._pending_bytes >= self._shard_bytes:
            self._flush()

    def close(self) -> None:
        """Write the pending rows too; afterwards every shard is there.

        Raises:
            OSError: a shard could not be written.
        """
        if self._pending:
            self._flush()
        self._writer.finish()

    def cancel(self) -> None:
        """Write nothing more."""
        self._writer.cancel()

    def _flush(self) -> None:
        content = {
            "fingerprint": self._fingerprint,
            "taken": self._handled,
            "skipped": dict(sorted(self.skipped.items())),
            "rows": [vars(row) for row in self.rows[self._written_rows :]],
        }
        path = self._folder / self._name()
        self._writer.call(_write, path, self._pending, to_text(content))
        self._pending, self._pending_bytes = {}, 0
        self._written_rows = len(self.rows)
        self._shards += 1

    def _name(self) -> str:
        return f"{self._kind}-{self._shards:05d}.safetensors"

    def _resume(self, row_type: Callable[..., Row]) -> None:
        while (path := self._folder / self._name()).exists():
            content = read_shard_content(path)
            if content["fingerprint"] != self._fingerprint:
                raise InputError(
                    f"{self._folder} holds an unfinished cache of other bags, labels or settings; "
                    "delete it or choose another folder"
                )
            self.rows += [row_type(**row) for row in content["rows"]]
            self.skipped = Counter(content["skipped"])
            self._stored = content["taken"]
            self._shards += 1
        self._written_rows = len(self.rows)
        self._handled = self._stored


def _write(path: Path, tensors: dict[str, np.ndarray], content: str) -> None:
    size = len(content) + sum(tensor.nbytes for tensor in tensors.values())
    # Not by `save`, which copies all tensors first: that costs more than the writing.
    with written_atomically(path, size) as temporary:
        try:
            save_file(tensors, temporary, {METADATA: content})
        except SafetensorError as error:
            raise _as_os_error(error) from error


def _as_os_error(error: SafetensorError) -> OSError:
    """With the system's own number and text, which the library puts into its message."""
    told = re.search(r"os error (\d+)", str(error))
    number = int(told[1]) if told else errno.EIO
    return OSError(number, os.strerror(number) if told else str(error))


def check_shard(path: Path) -> None:
    """Check that a shard is there and as long as its header says; no tensor is read.

    Raises:
        InputError: it isn't.
    """
    try:
        with safe_open(path, framework="numpy"):
            pass
    except DAMAGE as error:
        raise InputError(f"{path} is missing or damaged: {shown(error)}; {REMEDY}") from error


def read_shard_content(path: Path) -> dict[str, Any]:
    """The metadata of a shard: `fingerprint`, `taken` (messages handled), `skipped`, `rows`.

    Raises:
        InputError: the file is damaged or no shard.
    """
    try:
        with safe_open(path, framework="numpy") as shard:
            return from_text((shard.metadata() or {})[METADATA])
    except DAMAGE as error:
        raise InputError(
            f"{path} is damaged or no shard of a cache: {shown(error)}; {REMEDY}"
        ) from error


def read_tensors(
    where: Location, siblings: Sequence[str], row: ShardRow, names: Sequence[str]
) -> list[np.ndarray]:
    """Tensors of a row, each compared with its checksum.

    Args:
        where: the row's shard.
        siblings: names of the cache's shards of that kind, for what is read ahead of a store.

    Raises:
        InputError: the shard is missing or damaged, or a store doesn't give it.
    """
    for left in reversed(range(_TRIES)):
        path = local_file(where, siblings)
        try:
            state = path.stat()
            shard = _open_shard(path, state.st_ino, state.st_mtime_ns, state.st_size)
            return [
                check(shard.get_tensor(f"{row.key}/{name}"), row.checksums.get(name), name)
                for name in names
            ]
        except DAMAGE as error:
            if not (left and discard_copy(where)):
                raise InputError(
                    f"{where} is missing or damaged: {shown(error)} (row {row.key}); {REMEDY}"
                ) from error
    raise AssertionError("the last try returns or raises")


@lru_cache(maxsize=4)
def _open_shard(path: Path, *state: int) -> Any:
    """A shard to read from. It is mapped into memory, which a fork may share; `state` distinguishes
    a new file of that name from an old one.

    Few stay open: a shard holds so few large clouds that the time to open it doesn't count; of
    small clouds it holds a thousand, and opening it, 3 ms, would take longer than reading one.
    """
    return safe_open(path, framework="numpy")
