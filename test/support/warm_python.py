"""A `python` that finds torch imported, for tests that start many processes.

Most of what a command of a second costs is that import. Here one process imports it once and is
forked for each start: what a program does from its first line on it does in a process of its own,
with its own arguments, environment, folder and streams. What is about the start itself, or is
killed from outside, takes the true one.

Run as a program, it is that `python` (`call`), or the process that is forked (`serve`)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_NUMBER = 8
"""Bytes of a number on the wire."""


class WarmPython:
    """The process that is forked, from the side of who started it.

    Attributes:
        executable: called as `python` is, with `-c`, `-m` or a script.
    """

    def __init__(self, folder: Path) -> None:
        address = folder / "socket"
        self.executable = folder / "python"
        self.executable.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" call "{address}" "$@"\n'
        )
        self.executable.chmod(0o755)
        self._server = subprocess.Popen(
            [sys.executable, __file__, "serve", str(address)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self._server.stdout is not None
        if not self._server.stdout.readline():
            raise RuntimeError("the process that is to be forked did not start")

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()


def call(address: str, arguments: list[str]) -> int:
    """Have a program run, as if it were this process; its exit code."""
    import json

    forwarded = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)  # until there is whom to forward them to
    given = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    asked = json.dumps(given).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [len(asked).to_bytes(_NUMBER, "big")], [0, 1, 2])
        server.sendall(asked)
        pid = _receive_number(server)
        for number in forwarded:
            signal.signal(number, lambda number, _: os.kill(pid, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
        code = os.waitstatus_to_exitcode(_receive_number(server))
    if code < 0:
        with suppress(OSError):  # SIGKILL has nothing else
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def serve(address: str) -> None:
    """Fork for each call, until this process is killed."""
    import gc

    import lightning_fabric.loggers.tensorboard  # noqa: F401
    import torch

    # Not that of a whole run: onnxruntime has a thread.
    import haskd_training.experiments.evaluate  # noqa: F401

    torch.set_num_threads(1)
    if len(threads := os.listdir("/proc/self/task")) > 1:
        raise RuntimeError(f"{len(threads)} threads, of which a forked process would have one")
    gc.freeze()  # a forked process need not look for garbage in it
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            caller, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _watch(caller)
            caller.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _watch(caller: socket.socket) -> None:
    """Fork once more for the program, and tell the caller what becomes of it."""
    import json

    length, streams, _, _ = socket.recv_fds(caller, _NUMBER, 3)
    asked = b""
    while len(asked) < int.from_bytes(length, "big"):
        asked += caller.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        caller.close()
        _become(streams, **json.loads(asked))
    for stream in streams:  # or who reads what the program writes would never see its end
        os.close(stream)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    caller.sendall(pid.to_bytes(_NUMBER, "big"))
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):
        caller.sendall(status.to_bytes(_NUMBER, "big"))
    os._exit(0)


def _become(
    streams: list[int], arguments: list[str], folder: str, environment: dict[str, str]
) -> None:
    """In the forked process: what a fresh interpreter would find, but for its imports."""
    import atexit
    import threading
    import traceback

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code: Any = 1
    try:
        _run(arguments)
        code = 0
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            sys.stderr.write(f"{code}\n")
    except BaseException:
        traceback.print_exc()
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Not by the interpreter's end: torch takes seconds to be taken apart.
    os._exit(code if isinstance(code, int) else int(code is not None))


def _run(arguments: list[str]) -> None:
    import runpy

    kind, *rest = arguments
    first = "" if kind in ("-c", "-m") else str(Path(kind).resolve().parent)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    # In the place of this file's own folder.
    sys.path[:1] = [first, *filter(None, paths)]
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(kind, run_name="__main__")


def _receive_number(server: socket.socket) -> int:
    number = server.recv(_NUMBER, socket.MSG_WAITALL)
    if len(number) < _NUMBER:
        raise RuntimeError("the process that was to run this has gone")
    return int.from_bytes(number, "big")


if __name__ == "__main__":
    if sys.argv[1] == "call":
        sys.exit(call(sys.argv[2], sys.argv[3:]))
    # As a shell leaves them, whatever has started the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    serve(sys.argv[2])
