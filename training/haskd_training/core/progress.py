"""What a command shows on the screen while it works."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as ProgressBar

Progress = Callable[[int, int, str], None]
"""Called after each step with steps done, steps in all, and a line on how it goes."""

Steps = Callable[[str], AbstractContextManager[Callable[..., None]]]
"""Shows a step while it runs: title -> context that yields a progress callback."""

# Of several processes that train together, the first one talks.
console = Console(quiet=os.environ.get("RANK", "0") != "0")


@contextmanager
def step(title: str) -> Iterator[Callable[..., None]]:
    """A progress bar; yields what to call with (done, total, remark)."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}"),
    )
    with ProgressBar(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, remark="")

        def advance(done: int, total: int, remark: str = "") -> None:
            bar.update(task, completed=done, total=total, remark=remark)

        yield advance
        finished = bar.tasks[task]
        bar.update(task, total=finished.completed or 1, completed=finished.completed or 1)
