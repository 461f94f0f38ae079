"""Starts of `python -m haskd_ros` that find torch imported.

Most of what a start costs is the import of torch, several seconds on a busy machine, and the tests
start a node dozens of times. Here one process imports it once and is forked for each start: what a
node does from its first line on it does in a process of its own. Run as a program it is the process
that is forked: it reads one start a line, as JSON, and answers with the id of the process."""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_POLL_S = 0.02


class WarmProcess:
    """What a `subprocess.Popen` is to its user, of a process that is another one's child."""

    def __init__(self, pid: int, exit_code: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._exit_code = exit_code

    def poll(self) -> int | None:
        if self.returncode is None and self._exit_code.exists():
            self.returncode = int(self._exit_code.read_text())
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(_POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class WarmStarts:
    """The process that is forked, from this one's side."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> WarmProcess:
        """Start `python -m haskd_ros ARGUMENTS...` in this environment, its output in a file."""
        assert self._server.stdin is not None and self._server.stdout is not None
        log.write_text("")  # there is one from the start on, if nothing is in it
        start = {"arguments": arguments, "env": dict(env), "log": str(log)}
        self._server.stdin.write(json.dumps(start) + "\n")
        self._server.stdin.flush()
        pid = int(self._server.stdout.readline())
        return WarmProcess(pid, self._folder / str(pid))

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()


def serve(folder: Path) -> None:
    """Fork for each line of the standard input until it ends; `folder/ID` gets the exit code of the
    process with that id, negative after a signal."""
    # Not rclpy, which belongs to each start's own environment.
    import haskd_ros.segmenter  # noqa: F401

    running: set[int] = set()
    while True:
        readable, _, _ = select.select([0], [], [], _POLL_S)
        if readable:
            line = _read_line()
            if not line:
                break
            pid = os.fork()
            if pid == 0:
                _become_node(**json.loads(line))
            running.add(pid)
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
        running -= _note_ends(folder)
    for pid in running:  # of a test that has failed
        os.kill(pid, signal.SIGKILL)
    os._exit(0)  # torch takes seconds to be taken apart


def _read_line() -> str:
    """Without Python's buffer, of which `select` knows nothing."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 1)
        if not part:
            break
        line += part
    return line.decode()


def _note_ends(folder: Path) -> set[int]:
    """Ids of processes that have ended, each noted in its file."""
    noted = set()
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            pid, status = ended
            part = folder / f"{pid}.part"
            part.write_text(str(os.waitstatus_to_exitcode(status)))
            part.rename(folder / str(pid))
            noted.add(pid)
    return noted


def _become_node(arguments: list[str], env: dict[str, str], log: str) -> Any:
    """In the forked process: what a fresh interpreter would find, but for its imports."""
    output = os.open(log, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(output, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["haskd_ros", *arguments]
    code = 1
    try:
        runpy.run_module("haskd_ros", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    # As a shell leaves them, whatever has started the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    serve(Path(sys.argv[1]))
