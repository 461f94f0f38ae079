"""The folder of a stage's run: its settings, the code's state, whether it is finished, its result.

code.json      state of the code that started it
config.json    settings and inputs; makes the folder the run's
seconds.json   computing spent on it, see `pipeline.stage_folders`
result.json    the result, once it is finished
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from haskd_ros.errors import InputError
from haskd_ros.file_lock import LOCK, locked
from haskd_ros.files import TEMPORARY, remove_leftovers, write_atomically
from haskd_training.core.checked_json import read_json, write_json
from haskd_training.core.processes import is_first, wait
from haskd_training.core.storage.location import check_is_folder

CONFIG = "config.json"
RESULT = "result.json"
SECONDS = "seconds.json"

_CODE = "code.json"

_UNCLAIMED = {
    LOCK, _CODE, SECONDS, *(f"{name}{TEMPORARY}" for name in (CONFIG, _CODE, SECONDS))
}  # fmt: skip
"""What a run leaves that was stopped before its folder was its own."""

_SOURCES = ("*.py", "*.cpp", "*.h")

UNRECORDED = "unrecorded"
"""The state of the code where none was recorded."""


class RunFolder:
    """Ties a folder to a stage's inputs and settings, so that calling the stage again resumes it
    or returns its result. Of several processes all call the same; the first one looks and writes.

    Args:
        path: new, empty, or of an earlier run with the same settings.
        settings: all that the result depends on, as plain JSON values.

    Raises:
        InputError: the folder holds something else.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self._text = json.dumps(settings, indent=2, sort_keys=True)
        if not is_first():
            return
        config = path / CONFIG
        if config.exists():
            if config.read_text(encoding="utf-8") != self._text:
                raise InputError(
                    f"{path} holds a run with other inputs or settings (see {config}); "
                    "choose another folder"
                )
            remove_leftovers(path)
        elif path.exists() and any(entry.name not in _UNCLAIMED for entry in path.iterdir()):
            raise InputError(f"{path} is neither empty nor a run of this command")

    def result(self) -> dict[str, Any] | None:
        """What `finish` recorded; None while the run is not finished."""
        path = self.path / RESULT
        if not path.exists():
            return None
        return read_json(path, "delete it and run the command again")

    def claim(self) -> None:
        """Make the folder this run's, unless it is already.

        Raises:
            InputError: it can't be written.
        """
        if is_first() and not (self.path / CONFIG).exists():
            self._write_claim()
        wait(self.path / CONFIG)

    def _write_claim(self) -> None:
        remove_leftovers(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / _CODE, json.dumps(code_state()).encode())
            # Last: it makes the folder the run's.
            write_atomically(self.path / CONFIG, self._text.encode())
        except OSError as error:
            raise InputError(f"{self.path} can't be written: {error.strerror}") from error

    def finish(self, result: dict[str, Any]) -> None:
        """Mark the run as finished; `result` as plain JSON values."""
        if is_first():
            write_json(self.path / RESULT, result, indent=2)
        wait(self.path / RESULT)


@contextmanager
def only_user(path: Path) -> Iterator[None]:
    """Keeps other processes out of a folder while within it. Of several processes that work in it
    together, under torchrun, the first one does.

    Raises:
        InputError: another process is within, or the folder can't be written, or is in a store.
    """
    check_is_folder(path)
    with ExitStack() as stack:
        if os.environ.get("RANK", "0") == "0":
            try:
                stack.enter_context(locked(path / LOCK, path))
            except OSError as error:
                raise InputError(f"{path} can't be written: {error.strerror}") from error
        yield


@cache
def code_state() -> str:
    """Digest of this package's sources, the robot's half included, at the first call."""
    digest = hashlib.sha256()
    for package in ("haskd_ros", "haskd_training"):
        root = Path(str(files(package)))
        for path in sorted(path for kind in _SOURCES for path in root.rglob(kind)):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:10]


def code_of(path: Path) -> str:
    """The state of the code that started the run in a folder."""
    recorded = path / _CODE
    return (
        str(json.loads(recorded.read_text(encoding="utf-8"))) if recorded.exists() else UNRECORDED
    )
