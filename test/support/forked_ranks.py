"""Processes of one command as torchrun would start them, forked from the tests: nobody ends the
others when one has ended, as between machines."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed
import typer

from haskd_training.commands import app as command_line


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code, and what it printed."""

    code: int | None
    printed: str


def run_ranks(
    folder: Path,
    job: Callable[[int], None] | Sequence[object],
    count: int = 2,
    timeout_s: float = 60,
    **environment: str,
) -> list[Ended]:
    """What became of `count` processes of a command of `haskd`, by its arguments, or of a job of
    their rank that is run as such a command is."""
    store = torch.distributed.TCPStore(
        "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=30)
    )
    shared = {
        "TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "True",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), **environment,
    }  # fmt: skip
    context = multiprocessing.get_context("fork")
    files = [folder / f"rank-{rank}.txt" for rank in range(count)]
    started = [
        context.Process(target=_run, args=(job, rank, files[rank], shared)) for rank in range(count)
    ]
    for process in started:
        process.start()
    until = time.monotonic() + timeout_s
    for process in started:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    return [Ended(one.exitcode, file.read_text()) for one, file in zip(started, files, strict=True)]


def _run(
    job: Callable[[int], None] | Sequence[object],
    rank: int,
    printed: Path,
    environment: dict[str, str],
) -> None:
    # What the tests' process is to do at its end is not this one's: other tests loaded much.
    atexit._clear()
    gc.freeze()  # a command looks for garbage at its end, but not among their millions of objects
    os.environ.update(environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    torch.set_num_threads(1)  # a fork has none of its parent's threads, and would wait for them
    sys.argv = ["haskd"]
    if callable(job):
        app = typer.Typer(pretty_exceptions_enable=False)
        app.command()(lambda: job(rank))
        command_line.app = app
    else:
        sys.argv += map(str, job)
    code = 0
    try:
        command_line.main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        atexit._run_exitfuncs()
        os._exit(code)
