"""The command that looks at recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from haskd_training.commands.options import LABEL_MAP, Assignments, ConfigFile, Strict
from haskd_training.core.progress import console, step


def inspect(
    bags: Annotated[list[Path], typer.Argument(help="bag folders or files")],
    labels: Annotated[str | None, LABEL_MAP] = None,
    model: Annotated[
        Path | None, typer.Option(help="to compare the sensor with; default: the shipped one")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON, for programs")] = False,
    config: ConfigFile = None,
    set_: Assignments = None,
    strict: Strict = False,
) -> None:
    """Look at recordings before anything is computed: what is there, and what is wrong with it."""
    from haskd_ros.segmentation import DEFAULT_MODEL
    from haskd_training.commands.findings import say
    from haskd_training.core.progress import silent
    from haskd_training.core.settings import load_settings
    from haskd_training.data.preparing.inputs import PrepareConfig
    from haskd_training.experiments.inspection import inspect as work
    from haskd_training.experiments.inspection_table import tables
    from haskd_training.recordings.findings import refuse

    settings = load_settings(PrepareConfig, config, set_ or ())
    steps = silent if as_json else step
    inspection = work(bags, labels, model or DEFAULT_MODEL, settings, steps)
    if as_json:
        typer.echo(json.dumps(inspection.to_json(), indent=1))
    else:
        for finding in inspection.findings:
            say(finding)
        for table in tables(inspection):
            console.print(table)
    refuse(inspection.findings, strict)
