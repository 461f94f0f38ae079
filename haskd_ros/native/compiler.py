"""The C++ compiler, and what it says when it fails."""

from __future__ import annotations

import os
import re
import selectors
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from haskd_ros.text import QUOTED_CHARACTERS, quoted, shown

TIME_LIMIT_S = 300.0
"""For all that is compiled together: 5 to 10 s on a desktop."""

_LINE_BYTES = 4096
"""How much of a line of its output is looked at."""

_ERROR = re.compile(r"(?i)\b(error|fatal)\b ?:")
_FAILURE = re.compile(r"(?i)\b(error|fatal|failed|cannot|undefined reference|no space left)\b")
_TELLING = re.compile(rb"(?i)error|fatal|failed|cannot|undefined|no space")
_BESIDE = re.compile(r"(?i)\b(warning|note) ?:|^\s*from |^In file included from|exit status")
"""Lines that don't tell the reason, whatever else stands in them."""


class Unavailable(Exception):
    """Why there are no compiled kernels here."""


def compiler_command() -> list[str]:
    """The compiler that CXX names, with its arguments if any (`ccache g++`), or g++. The first word
    is a path to a program that is there.

    Raises:
        Unavailable: there is no such program, or CXX is no command.
    """
    value = os.environ.get("CXX", "").strip() or "g++"
    if whole := shutil.which(value):
        return [whole]
    try:
        name, *arguments = shlex.split(value)
    except ValueError as error:
        raise Unavailable(f"CXX={quoted(value)} is no command: {error}") from error
    program = shutil.which(name)
    if program is None:
        raise Unavailable(f"no C++ compiler {shown(name[:QUOTED_CHARACTERS])}")
    return [program, *arguments]


class _Output:
    """What a compiler prints. Only what could be the reason of a failure is kept: it may print
    gigabytes."""

    def __init__(self) -> None:
        self._line = b""
        self._error = self._failure = self._other = self._first = ""

    def feed(self, data: bytes) -> None:
        if self._error or (self._other and not _TELLING.search(self._line + data)):
            # Nothing to be learnt from these lines; the last may go on.
            self._line = (self._line + data).rpartition(b"\n")[2][:_LINE_BYTES]
            return
        first, *further = data.split(b"\n")
        self._line = (self._line + first[:_LINE_BYTES])[:_LINE_BYTES]
        for line in further:
            self._end_line()
            self._line = line[:_LINE_BYTES]

    def reason(self) -> str:
        """In one short line; empty where it printed nothing."""
        self._end_line()
        reason = self._error or self._failure or self._other or self._first
        return shown(reason[:QUOTED_CHARACTERS])

    def _end_line(self) -> None:
        text = self._line.decode(errors="replace").strip()
        self._line = b""
        self._first = self._first or text
        if self._error or not text or _BESIDE.search(text):
            return
        self._other = self._other or text
        if _ERROR.search(text):
            self._error = text
        elif not self._failure and _FAILURE.search(text):
            self._failure = text


def run(commands: Sequence[Sequence[str]], scratch: Path) -> None:
    """Run commands of the compiler, as many at once as there are cores.

    Args:
        scratch: folder for its temporary files.

    Raises:
        Unavailable: one failed, or they didn't end in `TIME_LIMIT_S` together. The others are
            ended.
        OSError: one can't be started.
    """
    # Its messages are searched for English words.
    environment = {**os.environ, "TMPDIR": str(scratch), "LC_ALL": "C"}
    deadline = time.monotonic() + TIME_LIMIT_S
    waiting = list(reversed(commands))
    running: dict[subprocess.Popen[bytes], _Output] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < (os.cpu_count() or 1):
                    process = subprocess.Popen(
                        waiting.pop(),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        env=environment,
                    )
                    running[process] = _Output()
                    assert process.stdout is not None
                    selector.register(process.stdout, selectors.EVENT_READ, process)
                events = selector.select(max(0.0, deadline - time.monotonic()))
                if not events or time.monotonic() > deadline:
                    raise Unavailable(f"{_name(commands[0])} did not end in {TIME_LIMIT_S:g} s")
                for key, _ in events:
                    process = key.data
                    if data := os.read(key.fd, 1 << 16):
                        running[process].feed(data)
                        continue
                    selector.unregister(key.fileobj)
                    _expect_success(process, running[process], deadline)
                    _end(process)
                    del running[process]
        finally:
            for process in running:
                _end(process)


def _expect_success(process: subprocess.Popen[bytes], output: _Output, deadline: float) -> None:
    """Of a process that has closed its output."""
    assert isinstance(process.args, list)
    name = _name(process.args)
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{name} did not end in {TIME_LIMIT_S:g} s") from error
    if code:
        ended = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
        raise Unavailable(f"{name} failed: {output.reason() or ended}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process if it still runs. What it has started itself may go on, and is not waited
    for."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _name(command: Sequence[str]) -> str:
    return shown(command[0][:QUOTED_CHARACTERS])
