"""`haskd`, the command line of the training half."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from typing import Annotated, NoReturn

import typer

import haskd_ros
from haskd_ros.errors import InputError
from haskd_ros.files import is_full
from haskd_ros.text import shown
from haskd_training.commands import deploy, inspect, prepare, submit, suggest, train
from haskd_training.core.peers import Peers
from haskd_training.core.processes import peers, processes_and_machines
from haskd_training.core.progress import TextConsole, console

_INTERRUPTED = 128 + signal.SIGINT
_GOES_ON = "it goes on where it was"
_TOGETHER = ("run", "baseline", "select", "evaluate")
"""Commands that several processes share."""

_RESUMING = {
    "run",
    "prepare",
    "ablate",
    "benchmark-drives",
    "demo",
    "baseline",
    "select",
    "label-images",
    "suggest",
}

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
    deploy.assemble,
    deploy.segment,
    deploy.evaluate,
    submit.submit,
    deploy.benchmark,
    deploy.export,
    prepare.prepare,
    prepare.select,
    prepare.label_images,
    suggest.suggest,
    train.baseline,
    train.ablate,
    train.benchmark_drives,
):
    app.command()(command)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"haskd_ros {haskd_ros.__version__}")
        raise typer.Exit


@app.callback()
def _before_a_command(
    context: typer.Context,
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    if processes_and_machines() != (1, 1) and context.invoked_subcommand not in _TOGETHER:
        raise InputError(
            f"torchrun started several processes, and {context.invoked_subcommand} works in one; "
            f"those that share their work: {', '.join(_TOGETHER)}"
        )
    # Not for --help, --version and completion: it takes a third of their time to import.
    from rich.logging import RichHandler

    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False, show_time=False)],
    )
    # A line for each file of curves that it reads to the end.
    logging.getLogger("tensorboard").setLevel(logging.WARNING)
    # A traceback for each request that fails, which is repeated, and told of in the end.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2; a command that is stopped says how
    it goes on, and exits with 130 after Ctrl-C, 143 after SIGTERM. Of several processes the first
    one to go wrong tells it."""
    ended_by = signal.SIGINT

    def terminate(*_: object) -> NoReturn:
        nonlocal ended_by
        ended_by = signal.SIGTERM
        raise KeyboardInterrupt  # what is being written is removed, what was started ends

    signal.signal(signal.SIGTERM, terminate)
    try:
        app(prog_name="haskd")
    except InputError as error:
        _fail(str(error), error)
    except OSError as error:  # a full disk, a folder without permission
        _fail(f"{error.filename or 'file system'}: {error.strerror}", error)
    except SystemExit as end:
        if end.code != _INTERRUPTED:
            raise
        _stop(ended_by)
    except Exception as error:
        if (others := peers()) is None:
            raise
        # torchrun ends the others as soon as one has ended.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if isinstance(error, RuntimeError) and (lost := others.sudden_loss()) is not None:
            _end_with(others, lost)
        traceback.print_exc()
        _fail(f"{type(error).__name__}: {shown(error)}", error)


def _stop(ended_by: signal.Signals) -> NoReturn:
    """End a command that was told to."""
    others, is_first = peers(), True
    if others is not None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # By torchrun, where another process has ended; Ctrl-C reaches all of them.
        if ended_by == signal.SIGTERM and (lost := others.sudden_loss()) is not None:
            _end_with(others, lost)
        is_first = others.leave(interrupted=True)
    if is_first:
        _say("interrupted" + (f"; run the same command again: {_GOES_ON}" if _resumes() else ""))
    raise SystemExit(128 + ended_by) from None


def _end_with(others: Peers, lost: str) -> NoReturn:
    """End since another process is lost."""
    others.tell(lost)
    others.leave(failed=True)
    raise SystemExit(1) from None


def _resumes() -> bool:
    """Whether the command that was given goes on where an earlier call stopped."""
    return bool(set(sys.argv[1:2]) & _RESUMING)


def _fail(message: str, error: Exception) -> NoReturn:
    if is_full(error):
        message += "; free some space and run the same command again"
        message += f": {_GOES_ON}" if _resumes() else ""
    if (others := peers()) is not None:
        message += f" ({others.here()})"
        if not others.leave(failed=True):
            raise SystemExit(2)
    _say(f"error: {message}", style="red")
    raise SystemExit(2)


def _say(line: str, style: str = "yellow") -> None:
    TextConsole(stderr=True).print(shown(line), style=style, soft_wrap=True)
