"""`haskd`, the command line of the training half."""

from __future__ import annotations

import logging
from typing import Annotated, NoReturn

import typer

import haskd_ros
from haskd_ros.errors import InputError
from haskd_ros.text import shown
from haskd_training.commands import deploy, inspect, prepare, train
from haskd_training.core.progress import TextConsole, console

app = typer.Typer(
    help="From recorded camera and LiDAR bags to a segmentation network for a robot.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    train.demo,
    prepare.simulate,
    inspect.inspect,
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


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"haskd_ros {haskd_ros.__version__}")
        raise typer.Exit


@app.callback()
def _before_a_command(
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    # Not for --help, --version and completion: it takes a third of their time to import.
    from rich.logging import RichHandler

    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False, show_time=False)],
    )
    # A line for each file of curves that it reads to the end.
    logging.getLogger("tensorboard").setLevel(logging.WARNING)


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2."""
    try:
        app(prog_name="haskd")
    except InputError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a folder without permission
        _fail(f"{error.filename or 'file system'}: {error.strerror}")


def _fail(message: str) -> NoReturn:
    TextConsole(stderr=True).print(f"error: {shown(message)}", style="red", soft_wrap=True)
    raise SystemExit(2)
