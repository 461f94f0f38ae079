"""Commands that train."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from haskd_training.commands.options import (
    Assignments,
    Attribution,
    Caches,
    ConfigFile,
    Strict,
    Whole,
)
from haskd_training.core.progress import console, step
from haskd_training.core.run_folder import only_user


def baseline(
    caches: Caches,
    out: Annotated[Path, typer.Option(help="folder of the run")],
    attribution: Attribution = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """Train the LiDAR-only student on labels alone."""
    from haskd_ros.errors import InputError
    from haskd_training.core.settings import load_settings
    from haskd_training.data.caches.cache import Cache
    from haskd_training.data.splits import make_split
    from haskd_training.data.stacked_sweeps import stacked
    from haskd_training.learning.baseline import baseline as run
    from haskd_training.learning.student import StudentConfig

    settings = load_settings(StudentConfig, config, set_ or ())
    if settings.split.folds:
        raise InputError("split.folds is for haskd run: nothing here is trained out of fold")
    split = make_split(
        [Cache.open(path) for path in caches],
        settings.split,
        channels=settings.channels,
        channels_required=settings.channels_required,
    )
    split = stacked(split.labelled(), settings.sweeps)
    with only_user(out), step("training") as progress:
        result = run(split, out, settings, attribution=attribution, progress=progress)
    score = (
        "no validation split"
        if result.validation_miou is None
        else f"validation mIoU {100 * result.validation_miou:.1f} %"
    )
    console.print(
        f"{result.model}: epoch {result.best_epoch}, {score}, "
        f"{result.seconds / 60:.1f} minutes of training"
    )


def run(
    bags: Annotated[
        list[str],
        typer.Argument(
            metavar="BAGS...",
            help="labelled bags, camera and LiDAR, or caches made by prepare, or their URLs",
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder of the run")],
    labels: Annotated[
        str | None,
        typer.Option(
            help="label map of bags: a YAML file, or pandaset, semantickitti, simulation; none: "
            "learn from --images-know alone; caches have their own labels",
            show_default=False,
        ),
    ] = None,
    images_know: Annotated[
        Path | None,
        typer.Option(
            help="labels from images, made by label-images: for sweeps without labels of their own"
        ),
    ] = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(metavar="BAG", help="a bag or cache without labels to learn from"),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BAG",
            help="a labelled bag or cache to score on; nothing of the others is held back for it "
            "then",
        ),
    ] = None,
    copy_to: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="folder or URL to copy the model and the report to in the end"
        ),
    ] = None,
    attribution: Attribution = None,
    config: ConfigFile = None,
    set_: Assignments = None,
    strict: Strict = False,
) -> None:
    """From bags to a distilled model and a report on it; what is finished is not done again."""
    from haskd_training.commands.findings import say
    from haskd_training.core.settings import load_settings
    from haskd_training.core.storage import outgoing
    from haskd_training.core.storage.files import names_in
    from haskd_training.core.storage.location import location
    from haskd_training.experiments.run import PICTURES, RunConfig, score_table
    from haskd_training.experiments.run import run as work

    settings = load_settings(RunConfig, config, set_ or ())
    copies = None if copy_to is None else location(copy_to)
    if copies is not None:
        names_in(copies)  # a store that can't be reached is told now, not in the end
    result = work(
        [location(bag) for bag in bags],
        out,
        labels,
        settings,
        step,
        [location(bag) for bag in unlabelled or ()],
        [location(bag) for bag in test or ()],
        attribution,
        images_know=images_know,
        say=say,
        strict=strict,
    )
    if result is not None:
        console.print(score_table(result))
        console.print(f"model: {result.model}; report: {result.report}")
        if copies is not None:
            with step(f"copying to {copies}"):
                outgoing.copy_to(copies, [result.model, result.report, out / PICTURES])


def ablate(
    caches: Caches,
    out: Annotated[Path, typer.Option(help="folder of all runs")],
    calibration: Whole = None,
    validation: Whole = None,
    test: Whole = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(metavar="CACHE", help="a cache to learn from without its labels"),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="folder for ablation.json and ablation.md")
    ] = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """What each part of the method is worth: every row of the table on every seed."""
    from rich.markdown import Markdown

    from haskd_training.core.settings import load_settings
    from haskd_training.data.caches.cache import Cache
    from haskd_training.data.splits import make_split
    from haskd_training.experiments import ablation_table
    from haskd_training.experiments.ablation import ablate as work
    from haskd_training.experiments.ablation_rows import AblationConfig
    from haskd_training.experiments.run import held_back

    started = time.perf_counter()
    settings = load_settings(AblationConfig, config, set_ or ())
    whole = {
        role: [Cache.open(path) for path in given or ()]
        for role, given in (
            ("calibration", calibration), ("validation", validation), ("test", test)
        )
    }  # fmt: skip
    shares = held_back(settings.method.student.split, **whole)
    opened = [Cache.open(path) for path in caches]
    unlabelled_caches = [Cache.open(path) for path in unlabelled or ()]
    split = make_split(
        opened,
        shares,
        **whole,
        unlabelled=unlabelled_caches,
        channels=settings.method.student.channels,
        channels_required=settings.method.student.channels_required,
    )
    scores = work(split, out, settings, step)
    with step("measuring the students"):
        summary = ablation_table.summarise(scores, split, settings)
    command = shlex.join(["haskd", *sys.argv[1:]])
    summary |= ablation_table.circumstances(command, time.perf_counter() - started)
    console.print(Markdown(ablation_table.markdown(summary)))
    if results is not None:
        ablation_table.write(summary, results)
        console.print(f"wrote {results / 'ablation.md'}")


def benchmark_drives(
    caches: Caches,
    out: Annotated[Path, typer.Option(help="folder of all runs")],
    results: Annotated[
        Path | None, typer.Option(help="folder for drives.json and drives.md")
    ] = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """What each part of the method is worth on drives that no training saw: a cache each."""
    from rich.markdown import Markdown

    from haskd_training.core.machine import machine
    from haskd_training.core.settings import load_settings
    from haskd_training.data.caches.cache import Cache
    from haskd_training.experiments import drives_table
    from haskd_training.experiments.drives import DriveBenchmarkConfig
    from haskd_training.experiments.drives import benchmark_drives as work

    settings = load_settings(DriveBenchmarkConfig, config, set_ or ())
    opened = [Cache.open(path) for path in caches]
    drives = work(opened, out, settings, step)
    with step("drawing drives and seeds"):
        summary = drives_table.summarise(drives, opened[0].taxonomy.names, settings)
    summary |= {"command": shlex.join(["haskd", *sys.argv[1:]]), "machine": machine()}
    console.print(Markdown(drives_table.markdown(summary)))
    if results is not None:
        drives_table.write(summary, results)
        console.print(f"wrote {results / 'drives.md'}")


def demo(
    out: Annotated[Path, typer.Option(help="folder for everything the demo makes")] = Path("demo"),
    bag: Annotated[
        Path | None, typer.Option(help="a recorded bag instead of a simulated one")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="label map of the recorded bag")] = None,
    indoor: Annotated[
        bool, typer.Option("--indoor", help="flats and an RGB-D camera instead of a drive")
    ] = False,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """The whole path: bag, training, live node, scores, picture."""
    from haskd_ros.errors import InputError
    from haskd_training.commands.findings import say
    from haskd_training.experiments.demo import demo as work
    from haskd_training.experiments.demo import latency_table, load_demo_settings
    from haskd_training.experiments.evaluate import table
    from haskd_training.experiments.indoor_demo import indoor_demo, load_indoor_settings
    from haskd_training.experiments.run import score_table

    if indoor:
        if bag is not None or labels is not None:
            raise InputError("--indoor simulates flats; --bag and --labels are of a recorded drive")
        result = indoor_demo(out, step, load_indoor_settings(config, set_ or []), say=say)
    else:
        result = work(out, bag, labels, step, load_demo_settings(config, set_ or ()), say=say)
    console.print(score_table(result.run))
    console.print(table(result.evaluation))
    console.print(latency_table(result.replay))
    console.print(f"picture: {result.picture}; report: {result.run.report}")
