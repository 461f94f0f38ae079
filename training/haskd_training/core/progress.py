"""What a command shows on the screen while it works."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as ProgressBar
from rich.segment import Segment
from rich.text import Text

from haskd_ros.text import shown_lines
from haskd_training.core.peers import working_on


class Progress(Protocol):
    """Called after each step of a job."""

    def __call__(self, done: int, total: int, remark: str = "", /) -> None:
        """
        Args:
            done: steps done.
            total: steps in all.
            remark: one line on the current state, such as the loss.
        """


Steps = Callable[[str], AbstractContextManager[Progress]]
"""Shows a job's progress while it runs: title -> context that yields a progress callback."""


def no_progress(done: int, total: int, remark: str = "", /) -> None:
    """Show nothing."""


@contextmanager
def silent(title: str) -> Iterator[Progress]:
    """A step of which nothing is shown."""
    with working_on(title):
        yield no_progress


class TextConsole(Console):
    """A console that shows text from files as text: neither markup, emoji codes and links nor what
    steers a terminal means anything in it, whichever table, bar or log it stands in."""

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, markup=False, emoji=False)

    def render_str(self, text: str, **how: Any) -> Text:
        # Before a table is laid out: an escape is wider than what it stands for.
        return super().render_str(shown_lines(text), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else shown_lines(text), style, control)


# Of several processes that train together, only the first one prints.
console = TextConsole(quiet=os.environ.get("RANK", "0") != "0")


@contextmanager
def step(title: str) -> Iterator[Progress]:
    """A progress bar with a title."""
    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}", markup=False),
    )
    with working_on(title), ProgressBar(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, remark="")

        def advance(done: int, total: int, remark: str = "", /) -> None:
            bar.update(task, completed=done, total=total, remark=remark)

        yield advance
        finished = bar.tasks[task]
        bar.update(task, total=finished.completed or 1, completed=finished.completed or 1)
