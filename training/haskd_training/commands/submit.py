"""The command that hands predictions to a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from haskd_training.commands.options import Device, NodeParameters, ViewCount
from haskd_training.core.progress import console, step


def submit(
    model: Annotated[
        Path | None, typer.Argument(help="model file of the benchmark's classes")
    ] = None,
    root: Annotated[Path | None, typer.Argument(help="the data set's folder")] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder to write; must not exist", show_default=False)
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="the benchmark: semantickitti, nuscenes, scannet")
    ] = "semantickitti",
    split: Annotated[str, typer.Option(help="of the data set, as published")] = "test",
    sequences: Annotated[
        str | None,
        typer.Option(help="these of the split alone, as 11,12", show_default=False),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(help="instead of writing: a folder to check", show_default=False),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="with --check: the data set's folder", show_default=False)
    ] = None,
    device: Device = "auto",
    views: ViewCount = 1,
    set_: NodeParameters = None,
) -> None:
    """Write predictions in the form that a benchmark takes, or check such files."""
    from haskd_ros.errors import InputError
    from haskd_training.data.preparing.dataset import DatasetPart
    from haskd_training.experiments.submit import check_submission
    from haskd_training.experiments.submit import submit as work
    from haskd_training.metrics.protocols import protocol_of
    from haskd_training.robot.offline.segment_bag import parse

    rule = protocol_of(protocol)
    names = None if sequences is None else tuple(sequences.split(","))
    if check is not None:
        if against is None or model is not None or out is not None:
            raise InputError("--check FOLDER needs --against ROOT, and nothing is written then")
        with step(f"checking {check.name}") as progress:
            files = check_submission(
                check, rule, DatasetPart(rule.reader, against, split, names), progress
            )
        console.print(f"{check}: {files} files, one for each sweep, every point with a known id")
        return
    if model is None or root is None or out is None or against is not None:
        raise InputError("a MODEL, the data set's ROOT and --out are needed; or --check, --against")
    part = DatasetPart(rule.reader, root, split, names)
    with step("predicting") as progress:
        done = work(model, rule, part, out, device, parse(set_ or ()), progress, views=views)
    share = done.unlabelled / max(1, done.points)
    console.print(
        f"{done.sweeps} sweeps, {done.points:,} points, {share:.2%} of them without a prediction"
        + (f"; the mean of {views} views of each" if views > 1 else "")
    )
    console.print(f"predictions: {out}")
