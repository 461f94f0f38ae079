"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file with settings", show_default=False)
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="one setting; a wrong KEY is answered with those there are",
    ),
]
Caches = Annotated[
    list[str], typer.Argument(metavar="CACHES...", help="folders made by prepare, or their URLs")
]
LABEL_MAP = typer.Option(help="label map: a YAML file, or pandaset, semantickitti, simulation")
Whole = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CACHE",
        help="a cache that serves this alone; nothing else is held back for it then",
    ),
]
CloudTopic = Annotated[str | None, typer.Option(help="topic of the clouds; default: the only one")]
NodeParameters = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="a parameter of the node"),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda:N")]
ViewCount = Annotated[
    int,
    typer.Option(
        "--views",
        help="label by the mean over so many turned, mirrored and scaled copies of each cloud: "
        "better, and as many times slower",
    ),
]
VoteSeconds = Annotated[
    float,
    typer.Option(
        "--votes",
        help="add what other clouds within so many seconds, later ones too, say of the same "
        "places: better where the model does not know the street; poses by TF",
    ),
]
Attribution = Annotated[
    str | None,
    typer.Option(help="whom the data's licence wants credited, for the model file"),
]
RerunFile = Annotated[
    Path | None, typer.Option("--save", help="with --rerun: .rrd file to write; default: a viewer")
]
RerunLabels = Annotated[
    str | None, typer.Option("--labels", help="with --rerun: label map for the labels in a bag")
]
RerunClouds = Annotated[
    str | None,
    typer.Option("--clouds", metavar="FIRST:LAST", help="with --rerun: which; LAST is left out"),
]
RerunEvery = Annotated[int, typer.Option("--every", help="with --rerun: every how many clouds")]
SensorHeight = Annotated[
    float,
    typer.Option(
        help="of cloud files: m of the sensor above their origin; default: the origin is the sensor"
    ),
]
Up = Annotated[str, typer.Option(help="of cloud files: the axis that points up: z, -y, ...")]
Forward = Annotated[str, typer.Option(help="of cloud files: the axis that points ahead")]
Origin = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y,Z",
        help="of cloud files: the sensor's position, or the ground below it with --sensor-height; "
        "center: the middle of the points, on the ground",
        show_default=False,
    ),
]
Export = Annotated[
    str | None,
    typer.Option(
        metavar="labels",
        help="write a folder of .label files and a label map instead",
        show_default=False,
    ),
]
Only = Annotated[
    Path | None,
    typer.Option(
        metavar="SUGGEST.JSON",
        help="with --export: only the sweeps that suggest names there",
        show_default=False,
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="what would be a warning about a recording is an error")
]
