"""Faults at every write of a job: at the n-th thing that it does to the files of a folder, its
process is killed, or is told that the disk is full, or is interrupted.

What a job does is seen by Python's audit events: files that are opened, renamed and removed,
folders that are made. What a library in another language does in between is not.
"""

from __future__ import annotations

import errno
import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

KILL, TORN, FULL, INTERRUPT = "kill", "torn", "full", "interrupt"
FAULTS = (KILL, TORN, FULL, INTERRUPT)
"""KILL: before the event. TORN: a file that is opened to be written has half of a content that is
not its own when the process is killed. FULL: from the event on nothing that takes space succeeds.
INTERRUPT: Ctrl-C."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_TAKES_SPACE = ("write", "os.mkdir")

Job = Callable[[Path], Any]
"""folder -> what is to be the same whatever happened before."""


@dataclass(frozen=True)
class Attempt:
    """A call of a job.

    Attributes:
        ended: "done", "killed", "refused" (a user's error, or the disk's), "interrupted" or
            "broken" (any other exception).
        result: of the job, where it is done.
        message: of the exception; with its traceback, where it is broken.
        events: (kind, path below the folder) of all that it did to files.
    """

    ended: str
    result: Any = None
    message: str = ""
    events: Sequence[tuple[str, str]] = ()


@dataclass
class _Injector:
    """Counts events below a folder, and makes the fault at the event `at`, from 0."""

    folder: Path | None = None
    fault: str = ""
    at: int = 0
    events: list[tuple[str, str]] = field(default_factory=list)
    state: threading.local = field(default_factory=threading.local)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or getattr(self.state, "is_busy", False):
            return
        self.state.is_busy = True
        try:
            found = self._event(event, arguments)
            if found is not None:
                self.events.append(found)
                self._make_fault(len(self.events) - 1, *found)
        finally:
            self.state.is_busy = False

    def _event(self, event: str, arguments: tuple[Any, ...]) -> tuple[str, str] | None:
        kind, folder = event, ""
        if event == "open":
            path, mode, flags = arguments
            writing = any(letter in mode for letter in "wax+") if mode else flags & _WRITING
            if not writing and mode:
                return None  # of os.open it is a file or folder that is flushed to the disk
            kind = "write" if writing else "flush"
        elif event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "sqlite3.connect"):
            path = arguments[0]
            descriptor = arguments[-1] if event in ("os.remove", "os.rmdir") else -1
            if isinstance(descriptor, int) and descriptor >= 0:
                folder = os.readlink(f"/proc/self/fd/{descriptor}")
        else:
            return None
        if not isinstance(path, (str, bytes, os.PathLike)):
            return None
        whole = os.path.abspath(os.path.join(folder, os.fsdecode(path)))
        below = os.path.relpath(whole, self.folder)
        return None if below.startswith("..") else (kind, below)

    def _make_fault(self, number: int, kind: str, below: str) -> None:
        if number < self.at or not self.fault:
            return
        path = os.path.join(self.folder or "", below)
        if self.fault == FULL:
            if kind in _TAKES_SPACE and not (kind == "os.mkdir" and os.path.isdir(path)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        elif number == self.at:
            if self.fault == INTERRUPT:
                raise KeyboardInterrupt
            if self.fault == TORN and kind == "write":
                with open(path, "wb") as file:
                    file.write(b"\0torn\xff" * 7)
            os.kill(os.getpid(), signal.SIGKILL)


def attempt(job: str, folder: Path, fault: str = "", at: int = 0, seconds: int = 600) -> Attempt:
    """Call a job in a process of its own.

    Args:
        job: `module:function`, a `Job`; called with `folder`.
        fault: of `FAULTS`, made at the event `at`; none by default.
        seconds: after which the process is killed.
    """
    return attempts(job, [(folder, fault, at)], seconds)[0]


def attempts(job: str, calls: Sequence[tuple[Path, str, int]], seconds: int = 600) -> list[Attempt]:
    """Several calls of a job, one after the other, each in a process of its own; each is
    (folder, fault, at)."""
    module, _, function = job.partition(":")
    loaded = _loaded(module)
    loaded.send((function, calls, seconds))
    return [loaded.recv() for _ in calls]


@cache
def _loaded(module: str) -> Connection:
    """The way to a process that has loaded a module, which takes seconds, and forks for each call.
    It ends with this one."""
    ours, theirs = multiprocessing.Pipe()
    subprocess.Popen(
        [sys.executable, "-c", f"import injection; injection.serve({theirs.fileno()}, {module!r})"],
        pass_fds=[theirs.fileno()],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    theirs.close()
    return ours


@dataclass(frozen=True)
class Injected:
    """What came of faults at the writes of a job.

    Attributes:
        tried: faults made.
        events: of the undisturbed job.
        faults: a line for each that did harm.
    """

    tried: int
    events: int
    faults: list[str]


def inject(
    job: str,
    root: Path,
    faults: Sequence[str] = FAULTS,
    *,
    most: int | None = None,
    begin: Callable[[Path], None] = lambda _: None,
    check: Callable[[Path], str] = lambda _: "",
) -> Injected:
    """Disturb a job at each of its writes, and call it again each time: it must then do what it
    does undisturbed, and leave nothing behind.

    Args:
        root: empty; the job works in folders below it.
        most: of the faults of a kind, spread evenly; None: at every write.
        begin: fills a folder before the job is called.
        check: called after the fault; what is wrong with the folder as it was left.
    """
    whole = root / "whole"
    begin(whole)
    expected = attempt(job, whole)
    if expected.ended != "done":
        return Injected(1, 0, [f"undisturbed: {expected.ended}: {expected.message}"])
    undisturbed = json.dumps(expected.result)
    planned: list[tuple[Path, str, int]] = []
    made: list[tuple[str, Path, Attempt]] = []
    for fault in faults:
        numbers = [
            number
            for number, (kind, _) in enumerate(expected.events)
            if (fault != TORN or kind == "write") and (fault != FULL or kind in _TAKES_SPACE)
        ]
        step = 1 if most is None else max(1, -(-len(numbers) // most))
        calls = [(root / f"{fault}-{number}", fault, number) for number in numbers[::step]]
        for folder, *_ in calls:
            begin(folder)
        planned += calls
    for (folder, fault, number), one in zip(planned, attempts(job, planned), strict=True):
        kind, path = expected.events[number]
        made.append((f"{fault} at {number}, {kind} {path}", folder, one))
    found = []
    for name, folder, one in made:
        if one.ended == "broken":
            found.append(f"{name}: {one.message}")
        if wrong := check(folder):
            found.append(f"{name}: {wrong}")
    again = attempts(job, [(folder, "", 0) for _, folder, _ in made])
    for (name, folder, _), one in zip(made, again, strict=True):
        if one.ended != "done":
            found.append(f"{name}: the next call: {one.ended}: {one.message}")
        elif json.dumps(one.result) != undisturbed:
            found.append(f"{name}: the next call came to another result")
        elif left := [path.name for path in folder.rglob("*") if _is_leftover(path)]:
            found.append(f"{name}: the next call left {', '.join(left)}")
    return Injected(len(made), len(expected.events), found)


def _is_leftover(path: Path) -> bool:
    return path.name.endswith((".partial", ".in-use"))


def serve(descriptor: int, module: str) -> None:
    """Call jobs of a module as they are asked for, until nobody can ask any more."""
    loaded = importlib.import_module(module)
    asking = Connection(descriptor)
    with suppress(EOFError):
        while True:
            function, calls, seconds = asking.recv()
            for call in calls:
                if child := os.fork():
                    _, status = os.waitpid(child, 0)
                    if status:  # it could not answer itself
                        asking.send(Attempt("killed"))
                    continue
                signal.alarm(seconds)
                asking.send(_call(getattr(loaded, function), *call))
                os._exit(0)


def _call(work: Job, folder: Path, fault: str, at: int) -> Attempt:
    injector = _Injector(folder.resolve(), fault, at)
    sys.addaudithook(injector)
    try:
        made = Attempt("done", work(folder))
    except KeyboardInterrupt:
        made = Attempt("interrupted")
    except Exception as error:
        made = _failed(error)
    injector.folder = None
    return Attempt(made.ended, made.result, made.message, tuple(injector.events))


def _failed(error: Exception) -> Attempt:
    from haskd_ros.errors import InputError

    if isinstance(error, InputError):
        return Attempt("refused", message=str(error))
    if isinstance(error, OSError):  # as the command line says it
        return Attempt("refused", message=f"{error.filename}: {error.strerror}")
    return Attempt("broken", message="".join(traceback.format_exception(error)))
