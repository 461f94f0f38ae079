"""`haskd`, the command line of the training half."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markdown import Markdown

from haskd_ros.errors import InputError
from haskd_training.console import console, step

app = typer.Typer(
    help="From recorded camera and LiDAR bags to a segmentation network for a robot.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
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
Caches = Annotated[list[Path], typer.Argument(help="folders made by prepare")]
LABEL_MAP = typer.Option(help="label map: a YAML file, or pandaset, semantickitti, simulation")
Whole = Annotated[
    list[Path] | None,
    typer.Option(help="a cache that serves this alone; nothing else is held back for it then"),
]
CloudTopic = Annotated[str | None, typer.Option(help="topic of the clouds; default: the only one")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda:N")]
Attribution = Annotated[
    str | None,
    typer.Option(help="whom the data's licence wants credited, for the model file"),
]


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="the bag's folder; must not exist")],
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """Write a simulated camera + LiDAR bag with a label on every point."""
    from haskd_training.settings import load_settings
    from haskd_training.simulation import SimulationConfig
    from haskd_training.simulation import simulate as run

    settings = load_settings(SimulationConfig, config, set_ or ())
    with step("simulating") as progress:
        run(out, settings, progress)
    console.print(f"wrote {out}")


@app.command()
def prepare(
    bags: Annotated[list[Path], typer.Argument(help="bag folders or files")],
    out: Annotated[Path, typer.Option(help="folder of the cache")],
    labels: Annotated[str | None, LABEL_MAP] = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """Turn recorded bags into time-matched, calibrated samples."""
    from haskd_training.prepare import PrepareConfig
    from haskd_training.prepare import prepare as run
    from haskd_training.prepare_report import render
    from haskd_training.settings import load_settings

    settings = load_settings(PrepareConfig, config, set_ or ())
    with step("preparing") as progress:
        report = run(bags, labels, out, settings, progress)
    console.print(render(report))


@app.command()
def baseline(
    caches: Caches,
    out: Annotated[Path, typer.Option(help="folder of the run")],
    attribution: Attribution = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """Train the LiDAR-only student on labels alone."""
    from haskd_training.baseline import baseline as run
    from haskd_training.cache import Cache
    from haskd_training.settings import load_settings
    from haskd_training.splits import make_split
    from haskd_training.student import StudentConfig

    settings = load_settings(StudentConfig, config, set_ or ())
    split = make_split([Cache.open(path) for path in caches], settings.split).labelled()
    with step("training") as progress:
        result = run(split, out, settings, attribution, progress)
    score = (
        "no validation split"
        if result.validation_miou is None
        else f"validation mIoU {100 * result.validation_miou:.1f} %"
    )
    console.print(
        f"{result.model}: epoch {result.best_epoch}, {score}, "
        f"{result.seconds / 60:.1f} minutes of training"
    )


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="model file")],
    cache: Annotated[Path, typer.Argument(help="folder made by prepare")],
    out: Annotated[
        Path | None, typer.Option(help="folder for evaluation.json and the plots")
    ] = None,
    device: Device = "auto",
    max_range: Annotated[
        float | None, typer.Option(help="m; points further away don't count")
    ] = None,
) -> None:
    """Score a model on labelled sweeps: IoU by class and by distance."""
    from haskd_training.evaluate_model import evaluate_model, table

    with step("evaluating") as progress:
        evaluation = evaluate_model(model, cache, out, device, max_range, progress)
    console.print(table(evaluation))
    if out is not None:
        console.print(f"wrote {out}")


@app.command()
def run(
    bags: Annotated[list[Path], typer.Argument(help="labelled bags, camera and LiDAR")],
    out: Annotated[Path, typer.Option(help="folder of the run")],
    labels: Annotated[str, LABEL_MAP],
    unlabelled: Annotated[
        list[Path] | None, typer.Option(help="a bag without labels to learn from as well")
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(
            help="a labelled bag to score on; nothing of the other bags is held back for it then"
        ),
    ] = None,
    attribution: Attribution = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """From bags to a distilled model and a report on it; what is finished is not done again."""
    from haskd_training.pipeline import RunConfig, score_table
    from haskd_training.pipeline import run as work
    from haskd_training.settings import load_settings

    settings = load_settings(RunConfig, config, set_ or ())
    result = work(bags, out, labels, settings, step, unlabelled or (), test or (), attribution)
    if result is not None:
        console.print(score_table(result))
        console.print(f"model: {result.model}; report: {result.report}")


@app.command()
def select(
    caches: Caches,
    model: Annotated[Path, typer.Option(help="model file trained on labels alone")],
    out: Annotated[Path, typer.Option(help="folder of the selection")],
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """Choose the images that teach about each sweep, and show why."""
    from haskd_training.batches import SweepRef
    from haskd_training.cache import Cache
    from haskd_training.candidates import SelectionConfig
    from haskd_training.report import Report, write
    from haskd_training.selection import select as work
    from haskd_training.selection_report import table
    from haskd_training.settings import load_settings
    from haskd_training.stage_sections import selection_section

    settings = load_settings(SelectionConfig, config, set_ or ())
    opened = [Cache.open(path) for path in caches]
    sweeps = [SweepRef(number, i) for number, cache in enumerate(opened) for i in range(len(cache))]
    with step("choosing images") as progress:
        selection = work(opened, sweeps, model, out, settings, progress)
    console.print(table(selection))
    with step("writing the report"):
        section = selection_section(opened, selection, out / "pictures")
        write(Report("Images that teach", [section]), out / "report.html")
    console.print(f"report: {out / 'report.html'}")


@app.command()
def segment(
    model: Annotated[Path, typer.Argument(help="model file")],
    bag: Annotated[Path, typer.Argument(help="recording whose clouds are to be labelled")],
    out: Annotated[Path, typer.Option(help="bag to write")],
    topic: CloudTopic = None,
    device: Device = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="a parameter of the node"),
    ] = None,
) -> None:
    """Label a recording as the node would: a copy of the bag with labelled clouds in it."""
    from haskd_ros.memory import keep_freed_memory
    from haskd_training.segment_bag import parse, segment_bag

    keep_freed_memory()

    with step(f"labelling {bag.name}") as progress:
        found = segment_bag(model, bag, out, topic, device, parse(set_ or ()), progress)
    rate = found.labelled / found.seconds
    console.print(f"{found.labelled} clouds labelled in {found.seconds:.1f} s, {rate:.1f} a second")
    for reason, count in found.rejected.items():
        console.print(f"{count} clouds not labelled: {reason}", style="yellow")
    console.print(f"bag: {out}")


@app.command()
def benchmark(
    bag: Annotated[Path, typer.Argument(help="recording whose clouds are played")],
    out: Annotated[Path, typer.Option(help="folder for benchmark.json, a plot and the logs")],
    model: Annotated[
        list[Path] | None, typer.Option(help="model file, again for more; default: the shipped one")
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="auto, fp32, or torch: no compiled kernels; again for more"),
    ] = None,
    rate: Annotated[
        list[float] | None, typer.Option(help="clouds a second, again for more; default: 10")
    ] = None,
    frames: Annotated[int, typer.Option(help="clouds a round")] = 100,
    rounds: Annotated[int, typer.Option(help="turns of each candidate")] = 2,
    points: Annotated[
        int | None, typer.Option(help="drawn from each cloud: a smaller sensor; default: all")
    ] = None,
    topic: CloudTopic = None,
) -> None:
    """How long the live node takes, message in to message out; candidates side by side."""
    from haskd_ros.segmenter import DEFAULT_MODEL
    from haskd_training.benchmark import benchmark as work
    from haskd_training.benchmark import tables

    models, backends = model or [DEFAULT_MODEL], backend or ["auto"]
    rates = rate or [10.0]
    measured = work(bag, models, backends, rates, frames, rounds, out, topic, step, points)
    for table in tables(measured):
        console.print(table)
    console.print(f"figures: {out / 'benchmark.json'}; plot: {out / 'benchmark.png'}")


@app.command()
def view(
    path: Annotated[Path, typer.Argument(help="a bag, a folder made by prepare, or a model file")],
    model: Annotated[
        Path | None,
        typer.Option(help="that labels; for a bag the shipped one is the default"),
    ] = None,
    cloud: Annotated[int, typer.Option(help="number of the cloud, from 0")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="picture to write (PNG); default: a window")
    ] = None,
    topic: CloudTopic = None,
    device: Device = "auto",
) -> None:
    """Look at labelled clouds; of a model file, at what it tells of itself."""
    from haskd_ros.segmenter import DEFAULT_MODEL
    from haskd_training import view as viewer

    if path.suffix == ".safetensors" and path.is_file():
        console.print(viewer.model_table(path))
        return
    if viewer.is_cache(path):
        frames = viewer.frames_of_cache(path, model, device)
    else:
        frames = viewer.frames_of_bag(path, model or DEFAULT_MODEL, topic, device)
    if out is None and viewer.has_display():
        viewer.show(frames, cloud, console.print)
        return
    picture = out or Path(f"{path.resolve().name}-{cloud}.png")
    viewer.write_picture(frames, cloud, picture)
    console.print(f"picture: {picture}" + ("" if out else " (there is no display)"))


@app.command()
def ablate(
    caches: Caches,
    out: Annotated[Path, typer.Option(help="folder of all runs")],
    calibration: Whole = None,
    validation: Whole = None,
    test: Whole = None,
    unlabelled: Annotated[
        list[Path] | None, typer.Option(help="a cache to learn from without its labels")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="folder for ablation.json and ablation.md")
    ] = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """What each part of the method is worth: every row of the table on every seed."""
    from haskd_training import ablation_table
    from haskd_training.ablation import ablate as work
    from haskd_training.ablation_rows import AblationConfig
    from haskd_training.cache import Cache
    from haskd_training.pipeline import held_back
    from haskd_training.settings import load_settings
    from haskd_training.splits import make_split

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
    silent = [Cache.open(path) for path in unlabelled or ()]
    split = make_split(opened, shares, **whole, unlabelled=silent)
    scores = work(split, out, settings, step)
    with step("measuring the students"):
        summary = ablation_table.summarise(scores, split, settings)
    command = shlex.join(["haskd", *sys.argv[1:]])
    summary |= ablation_table.circumstances(command, time.perf_counter() - started)
    console.print(Markdown(ablation_table.markdown(summary)))
    if results is not None:
        ablation_table.write(summary, results)
        console.print(f"wrote {results / 'ablation.md'}")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="model file of a range-view network (size R)")],
    onnx: Annotated[Path, typer.Option(help="ONNX file to write")],
) -> None:
    """Write a model as ONNX, checked against torch."""
    from haskd_training.onnx_export import export_onnx

    found = export_onnx(model, onnx)
    console.print(
        f"{found.path}: scores of {found.points:,} points differ from torch's by at most "
        f"{found.difference:.1g} of the largest"
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for everything the demo makes")] = Path("demo"),
    bag: Annotated[
        Path | None, typer.Option(help="a recorded bag instead of a simulated one")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="label map of the recorded bag")] = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """The whole path: bag, training, live node, scores, picture."""
    from haskd_training.demo import demo as work
    from haskd_training.demo import latency_table, load_demo_settings
    from haskd_training.evaluate_model import table
    from haskd_training.pipeline import score_table

    result = work(out, bag, labels, step, load_demo_settings(config, set_ or ()))
    console.print(score_table(result.run))
    console.print(table(result.evaluation))
    console.print(latency_table(result.replay))
    console.print(f"picture: {result.picture}; report: {result.run.report}")


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
