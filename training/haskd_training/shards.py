"""Shards of a cache: files of rows and their tensors, each whole or not there at all."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from haskd_ros.errors import InputError
from haskd_ros.files import TEMPORARY, write_atomically

SHARD_BYTES = 64 * 1024 * 1024

# One metadata entry: safetensors writes several in random order, and equal input is to give
# equal files.
_METADATA = "haskd_shard"


class ShardStream:
    """Rows of one kind, written to numbered shards as they come.

    The source is a sequence of messages; `take` counts them. Every shard says how many had been
    taken when it was written and how many of them were skipped for which reason, so that a later
    run passes over those and goes on with the next, and its shards come out the same.

    rows: those in the shards and the pending ones, in order.
    skipped: messages left out, by reason.
    """

    def __init__(
        self, folder: Path, kind: str, row_type: type, fingerprint: str, shard_bytes: int
    ) -> None:
        self.rows: list[Any] = []
        self.skipped: Counter[str] = Counter()
        self._folder = folder
        self._kind = kind
        self._fingerprint = fingerprint
        self._shard_bytes = shard_bytes
        self._taken = 0
        self._stored = 0
        self._shards = 0
        self._pending: dict[str, np.ndarray] = {}
        self._pending_bytes = 0
        self._written_rows = 0
        self._resume(row_type)

    def take(self) -> bool:
        """Count one message of the source; False where an earlier run's shards account for it."""
        self._taken += 1
        return self._taken > self._stored

    def skip(self, reason: str) -> None:
        self.skipped[reason] += 1

    @property
    def next_place(self) -> dict[str, str]:
        """shard and key of the row that is added next."""
        return {"shard": self._name(), "key": f"{len(self.rows):08d}"}

    def add(self, row: Any, tensors: dict[str, np.ndarray]) -> None:
        """Add a row made with `next_place`; tensors by name within the row."""
        self.rows.append(row)
        for name, tensor in tensors.items():
            self._pending[f"{row.key}/{name}"] = np.ascontiguousarray(tensor)
            self._pending_bytes += tensor.nbytes
        if self._pending_bytes >= self._shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Write the pending rows as a shard."""
        if not self._pending:
            return
        content = {
            "fingerprint": self._fingerprint,
            "taken": self._taken,
            "skipped": dict(sorted(self.skipped.items())),
            "rows": [asdict(row) for row in self.rows[self._written_rows :]],
        }
        octets = save(self._pending, {_METADATA: json.dumps(content)})
        write_atomically(self._folder / self._name(), octets)
        self._pending, self._pending_bytes = {}, 0
        self._written_rows = len(self.rows)
        self._shards += 1

    def _name(self) -> str:
        return f"{self._kind}-{self._shards:05d}.safetensors"

    def _resume(self, row_type: type) -> None:
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


def read_shard_content(path: Path) -> dict[str, Any]:
    """What a shard says about itself: fingerprint, taken, skipped, rows.

    Raises:
        InputError: the file is damaged or no shard.
    """
    try:
        with safe_open(path, framework="numpy") as shard:
            return json.loads((shard.metadata() or {})[_METADATA])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged or no shard of a cache: {error}") from error


def remove_temporary(folder: Path) -> None:
    """Remove what a killed run was writing."""
    for file in folder.glob(f"*{TEMPORARY}"):
        file.unlink()
