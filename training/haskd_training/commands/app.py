"""`haskd`, the command line of the training half."""

from __future__ import annotations

import logging
from typing import NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler

from haskd_ros.errors import InputError
from haskd_training.commands import deploy, prepare, train
from haskd_training.core.progress import console

app = typer.Typer(
    help="From recorded camera and LiDAR bags to a segmentation network for a robot.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    train.demo,
    prepare.simulate,
    train.run,
    deploy.view,
    deploy.segment,
    deploy.evaluate,
    deploy.benchmark,
    deploy.export,
    prepare.prepare,
    prepare.select,
    train.baseline,
    train.ablate,
):
    app.command()(command)


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False, show_time=False)],
    )
    # A line for each file of curves that it reads to the end.
    logging.getLogger("tensorboard").setLevel(logging.WARNING)
    try:
        app()
    except InputError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a folder without permission
        _fail(f"{error.filename or 'file system'}: {error.strerror}")


def _fail(message: str) -> NoReturn:
    Console(stderr=True).print(f"error: {message}", style="red", markup=False, soft_wrap=True)
    raise SystemExit(2)
