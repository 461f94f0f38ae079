"""Commands with a finished model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from haskd_training.commands.findings import examine_first, say, say_of_cache
from haskd_training.commands.options import (
    LABEL_MAP,
    CloudTopic,
    Device,
    Export,
    Forward,
    NodeParameters,
    Only,
    Origin,
    RerunClouds,
    RerunEvery,
    RerunFile,
    RerunLabels,
    SensorHeight,
    Strict,
    Up,
    ViewCount,
    VoteSeconds,
)
from haskd_training.core.progress import console, step


def evaluate(
    model: Annotated[Path, typer.Argument(help="model file")],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="folder made by prepare, or its URL, or a labelled recording"
        ),
    ],
    labels: Annotated[str | None, LABEL_MAP] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for evaluation.json and the plots")
    ] = None,
    device: Device = "auto",
    max_range: Annotated[
        float | None, typer.Option(help="m; points further away don't count")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="count as a benchmark does, too: semantickitti, nuscenes, waymo, scannet, s3dis",
            show_default=False,
        ),
    ] = None,
    topic: CloudTopic = None,
    views: ViewCount = 1,
    votes: VoteSeconds = 0.0,
    set_: NodeParameters = None,
    strict: Strict = False,
) -> None:
    """Score a model on labelled sweeps: IoU by class and by distance."""
    from haskd_training.core.storage.location import location
    from haskd_training.data.caches.index import is_recording
    from haskd_training.experiments.evaluate import evaluate_model, protocol_table, table
    from haskd_training.metrics.protocols import protocol_of
    from haskd_training.robot.offline.segment_bag import parse

    parameters, examination = parse(set_ or ()), None
    rule = None if protocol is None else protocol_of(protocol)
    where = location(data)
    if is_recording(where):
        examination = examine_first(where, topic, strict, model, parameters.intensity_scale)
    else:
        say_of_cache(where, strict, model)
    with step("evaluating") as progress:
        evaluation = evaluate_model(
            model,
            where,
            out,
            device,
            max_range,
            progress,
            labels=labels,
            topic=topic,
            parameters=parameters,
            examination=examination,
            protocol=rule,
            views=views,
            votes=votes,
            say=say,
        )
    console.print(table(evaluation))
    if views > 1:
        console.print(f"the mean of {views} views of each cloud, which the node does not take")
    if votes:
        console.print(
            f"with what clouds within {votes:g} s say, later ones too, which the node can't know"
        )
    if evaluation.protocol is not None:
        console.print(protocol_table(evaluation.protocol))
        for note in evaluation.protocol.notes():
            console.print(note, markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        console.print(f"wrote {out}")


def segment(
    model: Annotated[Path, typer.Argument(help="model file")],
    bag: Annotated[
        Path,
        typer.Argument(help="recording whose clouds are to be labelled; a cloud file, or a folder"),
    ],
    out: Annotated[Path, typer.Option(help="bag, cloud file or folder to write")],
    topic: CloudTopic = None,
    device: Device = "auto",
    views: ViewCount = 1,
    votes: VoteSeconds = 0.0,
    set_: NodeParameters = None,
    export: Export = None,
    labels: Annotated[str | None, LABEL_MAP] = None,
    only: Only = None,
    sensor_height: SensorHeight = 0.0,
    up: Up = "z",
    forward: Forward = "x",
    origin: Origin = None,
    strict: Strict = False,
) -> None:
    """Label clouds as the node would: a copy of the bag with labelled clouds in it, or of cloud
    files with labels added."""
    from haskd_ros.clouds.memory import keep_freed_memory
    from haskd_training.commands import cloud_files
    from haskd_training.robot.offline.segment_bag import parse, segment_bag

    keep_freed_memory()

    parameters, examination = parse(set_ or ()), None
    frame = cloud_files.sensor_frame(bag, sensor_height, up, forward, origin)
    is_clouds = cloud_files.is_clouds(bag)
    if not is_clouds:
        examination = examine_first(bag, topic, strict, model, parameters.intensity_scale)
    if export is not None or labels is not None or only is not None or is_clouds:
        cloud_files.segment(
            model,
            bag,
            out,
            export=export,
            labels=labels,
            only=only,
            topic=topic,
            frame=frame,
            device=device,
            parameters=parameters,
            views=views,
            votes=votes,
            strict=strict,
            examination=examination,
        )
        return
    with step(f"labelling {bag.name}") as progress:
        found = segment_bag(
            model,
            bag,
            out,
            topic,
            device,
            parameters,
            progress,
            examination=examination,
            views=views,
            votes=votes,
        )
    rate = found.labelled / found.seconds
    console.print(f"{found.labelled} clouds labelled in {found.seconds:.1f} s, {rate:.1f} a second")
    cloud_files.say_new(found.findings, examination)
    for reason, count in found.rejected.items():
        console.print(f"{count} clouds not labelled: {reason}", style="yellow")
    console.print(f"bag: {out}")


def assemble(
    bag: Annotated[Path, typer.Argument(help="recording whose clouds are to be assembled")],
    out: Annotated[Path, typer.Option(help="bag to write")],
    topic: CloudTopic = None,
    set_: NodeParameters = None,
    strict: Strict = False,
) -> None:
    """Copy a bag with its clouds as the node's network gets them: with the points of the other
    LiDARs (merge.topics) in one frame, motion-compensated (motion.compensation)."""
    from haskd_ros.clouds.memory import keep_freed_memory
    from haskd_training.robot.offline.assemble_bag import PARAMETERS, assemble_bag
    from haskd_training.robot.offline.segment_bag import parse

    keep_freed_memory()
    parameters = parse(set_ or (), PARAMETERS)
    with step(f"assembling {bag.name}") as progress:
        found = assemble_bag(bag, out, parameters, topic, progress, say=say, strict=strict)
    console.print(f"{found.clouds} clouds on {found.topic}; bag: {out}")


def view(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="a bag, cloud file or folder of them, a folder made by prepare, or a model file; "
            "with --rerun also a run's folder, or nothing for the running node",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            help="that labels; for a bag without published labels the shipped one is the default; "
            "with --rerun again for more"
        ),
    ] = None,
    cloud: Annotated[int, typer.Option(help="number of the cloud, from 0")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="picture to write (PNG); default: a window")
    ] = None,
    topic: CloudTopic = None,
    device: Device = "auto",
    sensor_height: SensorHeight = 0.0,
    up: Up = "z",
    forward: Forward = "x",
    origin: Origin = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="over time, in Rerun's viewer")] = False,
    save: RerunFile = None,
    labels: RerunLabels = None,
    clouds: RerunClouds = None,
    every: RerunEvery = 1,
    strict: Strict = False,
) -> None:
    """Show labelled clouds; of a model file, its classes, ranges and provenance."""
    from haskd_ros.segmentation import DEFAULT_MODEL
    from haskd_training.commands import cloud_files, over_time
    from haskd_training.data.caches.index import is_cache
    from haskd_training.recordings.findings import refuse
    from haskd_training.robot.views import view as viewer

    models = model or []
    if rerun:
        over_time.check_over_time(
            out=out is not None,
            cloud=cloud != 0,
            sensor_height=sensor_height != 0.0,
            up=up != "z",
            forward=forward != "x",
            origin=origin is not None,
        )
        over_time.show(path, models, save, topic, labels, clouds, every, device, strict)
        return
    path = over_time.check_one(path, models, save, labels, clouds, every)
    chosen = next(iter(models), None)
    frame = cloud_files.sensor_frame(path, sensor_height, up, forward, origin)
    if path.suffix == ".safetensors" and path.is_file():
        console.print(viewer.model_table(path))
        return
    if is_cache(path):
        say_of_cache(path, strict)
        frames = viewer.frames_of_cache(path, chosen, device)
    elif cloud_files.is_clouds(path):
        frames = cloud_files.frames(path, chosen or DEFAULT_MODEL, frame, device, strict)
    else:
        with step(f"examining {path.name}") as progress:
            frames = viewer.frames_of_bag(path, chosen, topic, device, progress)
    for finding in frames.findings:
        say(finding)
    refuse(frames.findings, strict)
    if out is None and viewer.has_display():
        console.print(viewer.legend(frames.taxonomy))
        viewer.show(frames, cloud, console.print)
        return
    picture = out or Path(f"{path.resolve().name}-{cloud}.png")
    viewer.write_picture(frames, cloud, picture)
    console.print(f"picture: {picture}" + ("" if out else " (there is no display)"))


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
    strict: Strict = False,
) -> None:
    """How long the live node takes, message in to message out; candidates side by side."""
    from haskd_ros.segmentation import DEFAULT_MODEL
    from haskd_training.robot.live.benchmark import benchmark as work
    from haskd_training.robot.live.benchmark import tables

    models, backends = model or [DEFAULT_MODEL], backend or ["auto"]
    rates = rate or [10.0]
    examine_first(bag, topic, strict)
    measured = work(bag, models, backends, rates, frames, rounds, out, topic, step, points)
    for table in tables(measured):
        console.print(table)
    console.print(f"figures: {out / 'benchmark.json'}; plot: {out / 'benchmark.png'}")


def export(
    model: Annotated[Path, typer.Argument(help="model file of a range-view network (size R)")],
    onnx: Annotated[Path, typer.Option(help="ONNX file to write")],
) -> None:
    """Write a model as ONNX, checked against torch."""
    from haskd_training.robot.onnx_export import export_onnx

    found = export_onnx(model, onnx)
    console.print(
        f"{found.path}: scores of {found.points:,} points differ from torch's by at most "
        f"{found.difference:.1g} of the largest"
    )
