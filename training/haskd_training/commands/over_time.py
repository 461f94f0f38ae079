"""`haskd view --rerun`: its options, and what it says when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_training.core.progress import console, step


def show(
    path: Path | None,
    models: Sequence[Path],
    save: Path | None,
    topic: str | None,
    labels: str | None,
    clouds: str | None,
    every: int,
    device: str,
    strict: bool,
) -> None:
    """Show a recording, or the running node where there is no path.

    Raises:
        InputError: no rerun-sdk, no display, or as of `view_recording` and `view_node`.
    """
    try:
        import rerun  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--rerun needs rerun-sdk ({error}); pip install 'haskd_ros[view]'"
        ) from error
    from haskd_training.commands.cloud_files import is_clouds
    from haskd_training.commands.findings import say, say_of_cache
    from haskd_training.data.caches.index import is_cache
    from haskd_training.robot.views.over_time.recording_view import view_recording
    from haskd_training.robot.views.view import has_display

    if save is None and not has_display():
        raise InputError("there is no display; --save FILE.rrd writes a file for `rerun FILE.rrd`")
    if path is None:
        _show_node(models, save, topic, labels, clouds, every)
        return
    if path.is_file() and is_clouds(path):
        raise InputError(f"{path} is one cloud, and nothing changes over time; leave --rerun out")
    if is_cache(path):
        say_of_cache(path, strict)
    with step(f"showing {path.name}") as progress:
        shown = view_recording(
            path, models, save,
            topic=topic, labels=labels, clouds=clouds, every=every, device=device,
            progress=progress, say=say, strict=strict,
        )  # fmt: skip
    for reason, count in shown.skipped.items():
        console.print(f"{count} clouds or images not shown: {reason}", style="yellow")
    for name in shown.not_compared:
        console.print(f"{name} has other classes than the labels: not compared", style="yellow")
    console.print(f"{shown.clouds} clouds, {shown.images} images{_written(save)}")


def _show_node(
    models: Sequence[Path],
    save: Path | None,
    topic: str | None,
    labels: str | None,
    clouds: str | None,
    every: int,
) -> None:
    from haskd_training.robot.views.over_time.node_view import view_node

    if models or labels:
        raise InputError("--model and --labels are for recordings; a node labels by its own model")
    if topic is None:
        raise InputError(
            "name a bag, a folder made by prepare or run, or the topic of a running node: "
            "--topic /segment/output/segmentation"
        )
    console.print(f"showing {topic} until Ctrl-C")
    shown, dropped = view_node(topic, save, clouds=clouds, every=every)
    if dropped:
        console.print(
            f"{dropped} clouds dropped: they came faster than they were shown", style="yellow"
        )
    console.print(f"{shown} clouds{_written(save)}")


def _written(save: Path | None) -> str:
    return "" if save is None else f": {save} ({save.stat().st_size / 1e6:,.1f} MB)"


def check_over_time(**given: bool) -> None:
    """Check that nothing is asked for that --rerun doesn't do.

    Args:
        given: whether an option is given, by its name.

    Raises:
        InputError: one is.
    """
    for name, is_given in given.items():
        if is_given:
            raise InputError(f"--{name.replace('_', '-')} does not go with --rerun")


def check_one(
    path: Path | None,
    models: Sequence[Path],
    save: Path | None,
    labels: str | None,
    clouds: str | None,
    every: int,
) -> Path:
    """The path, where nothing is asked for that only --rerun does.

    Raises:
        InputError: an option that goes with --rerun, or no path.
    """
    for option, given in (
        ("--save", save is not None),
        ("--labels", labels is not None),
        ("--clouds", clouds is not None),
        ("--every", every != 1),
        ("a second --model", len(models) > 1),
    ):
        if given:
            raise InputError(f"{option} goes with --rerun")
    if path is None:
        raise InputError("name a bag, a folder made by prepare, or a model file")
    return path
