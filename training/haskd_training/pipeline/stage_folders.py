"""Stages, each done once for what it depends on, in a folder of its own.

ROOT/NAME-DIGEST/                the digest is of the stage's inputs
ROOT/NAME-DIGEST/seconds.json    computing spent on it, over all calls that added to it
ROOT/.NAME-DIGEST.in-use         held while somebody works on it

Running a stage whose folder is finished costs nothing, an unfinished one goes on, and changed
inputs lead to another folder beside the old one. Runs with other settings under the same root share
the stages in which they agree.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import torch

from haskd_ros.file_lock import LOCK, locked
from haskd_ros.files import remove_leftovers, write_atomically
from haskd_training.core.progress import Progress, Steps
from haskd_training.core.run_folder import SECONDS

if TYPE_CHECKING:  # takes two seconds
    from lightning_fabric import Fabric

_SAVE_EVERY_S = 10.0

Result = TypeVar("Result")


@dataclass(frozen=True)
class Stage(Generic[Result]):
    """A stage that has not run yet.

    Attributes:
        name: of the stage.
        title: shown while it runs.
        inputs: all that its result depends on, as JSON values.
        run: (folder, progress) -> its result; goes on where an earlier call was interrupted, and
            returns what a finished one left. Of several processes each does its part of it, and
            all have the result.
    """

    name: str
    title: str
    inputs: Mapping[str, Any]
    run: Callable[[Path, Progress], Result]

    @property
    def folder(self) -> str:
        """Name of its folder."""
        text = json.dumps(self.inputs, sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


class StageCost(NamedTuple):
    """s of computing spent on a stage, over all calls that worked on its folder."""

    stage: str
    folder: str
    seconds: float


class StageRunner:
    """Runs stages under one root, and keeps their results and costs.

    One runner serves one split and one configuration: what is computed for each sweep alone has a
    folder that the sweeps are no part of, and its result is kept by folder.

    Args:
        root: parent of the stages' folders.
        fabric: launched; under torchrun all processes run the same stages in the same order.
        steps: shows the progress.
    """

    def __init__(self, root: Path, fabric: Fabric, steps: Steps) -> None:
        self.fabric = fabric
        self._root, self._steps = root, steps
        self._about = ""
        self._stages: dict[str, str] = {}
        self._results: dict[str, Any] = {}

    @property
    def device(self) -> torch.device:
        """That the stages compute on."""
        return self.fabric.device

    @property
    def costs(self) -> list[StageCost]:
        """Of the stages that this runner was given, in their order."""
        return [
            StageCost(stage, folder, _seconds_spent(self._root / folder))
            for folder, stage in self._stages.items()
        ]

    @contextmanager
    def about(self, what: str) -> Iterator[None]:
        """Titles of the stages that run within it begin with that; empty: as they are."""
        before, self._about = self._about, f"{what}: " if what else self._about
        try:
            yield
        finally:
            self._about = before

    def run(self, stage: Stage[Result]) -> Result:
        """Run a stage; one that this runner has run before is not run again.

        Raises:
            InputError: as of the stage, or another process works on it.
        """
        if stage.folder not in self._results:
            self._stages[stage.folder] = stage.name
            self._results[stage.folder] = self._run(stage, self._root / stage.folder)
        result: Result = self._results[stage.folder]
        return result

    def _run(self, stage: Stage[Result], folder: Path) -> Result:
        held: AbstractContextManager[None] = nullcontext()
        if self.fabric.is_global_zero:
            held = locked(self._root / f".{stage.folder}{LOCK}", folder)
        with (
            held,
            self._timed(folder) as save,
            self._steps(self._about + stage.title) as progress,
        ):
            saved = time.perf_counter()
            if self.fabric.is_global_zero:
                remove_leftovers(folder)

            def advance(done: int, total: int, remark: str = "") -> None:
                # Now and then, for a stage that is killed: a later call counts on.
                nonlocal saved
                progress(done, total, remark)
                if time.perf_counter() - saved > _SAVE_EVERY_S:
                    save()
                    saved = time.perf_counter()

            return stage.run(folder, advance)

    @contextmanager
    def _timed(self, folder: Path) -> Iterator[Callable[[], None]]:
        """Adds the time within it to what was spent on a folder, unless nothing became of it: the
        folder has no new file. Yields what saves it so far."""
        before, started = _seconds_spent(folder), time.perf_counter()
        unchanged = _changed_ns(folder)

        def save() -> None:
            if self.fabric.is_global_zero and _changed_ns(folder) != unchanged:
                total = before + time.perf_counter() - started
                write_atomically(folder / SECONDS, json.dumps(total).encode())

        try:
            yield save
        except BaseException:
            with suppress(OSError):  # a disk that is full is known by what did not fit on it
                save()
            raise
        save()


def _changed_ns(folder: Path) -> int | None:
    """When a file of it was last made, replaced or removed; None where there is no folder."""
    return folder.stat().st_mtime_ns if folder.exists() else None


def _seconds_spent(folder: Path) -> float:
    path = folder / SECONDS
    return float(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else 0.0
