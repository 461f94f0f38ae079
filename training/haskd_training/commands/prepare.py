"""Commands that make data: recordings, caches, chosen images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from haskd_training.commands.options import (
    LABEL_MAP,
    Assignments,
    Caches,
    ConfigFile,
    Strict,
)
from haskd_training.core.progress import console, step
from haskd_training.core.run_folder import only_user


def simulate(
    out: Annotated[Path, typer.Argument(help="the bag's or data set's folder; must not exist")],
    indoor: Annotated[
        bool, typer.Option("--indoor", help="a flat and an RGB-D camera instead of a drive")
    ] = False,
    layout: Annotated[
        str | None,
        typer.Option(
            help="with --indoor: no bag but the files of a public data set: scannet, s3dis",
            show_default=False,
        ),
    ] = None,
    flats: Annotated[
        int | None,
        typer.Option(help="with --layout: how many to train on; default: 1", show_default=False),
    ] = None,
    test_flats: Annotated[
        int | None,
        typer.Option(help="with --layout: how many to test on; default: 0", show_default=False),
    ] = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """Write a simulated camera + LiDAR bag with a label on every point; with --indoor an RGB-D one
    with a label on every pixel."""
    from haskd_ros.errors import InputError
    from haskd_training.core.settings import load_settings
    from haskd_training.simulation import SimulationConfig
    from haskd_training.simulation import simulate as run

    if layout is None and (flats is not None or test_flats is not None):
        raise InputError(
            "--flats and --test-flats count the flats of a data set: --layout names it"
        )
    if not indoor and layout is not None:
        raise InputError("--layout is of flats: it needs --indoor")
    if indoor:
        simulate_indoor(out, layout, (flats, test_flats), (config, set_))
    else:
        settings = load_settings(SimulationConfig, config, set_ or ())
        with step("simulating") as progress:
            run(out, settings, progress)
    console.print(f"wrote {out}")


def simulate_indoor(
    out: Path,
    layout: str | None,
    counts: tuple[int | None, int | None],
    settings: tuple[Path | None, list[str] | None],
) -> None:
    """`simulate` of flats; counts: to train and to test on. settings: a file and assignments."""
    from typing import get_args

    from haskd_ros.errors import InputError
    from haskd_ros.text import listed
    from haskd_training.core.settings import load_settings
    from haskd_training.simulation.indoor import (
        FlatConfig,
        Layout,
        simulate_flat,
        simulate_flats,
    )

    config = load_settings(FlatConfig, settings[0], settings[1] or ())
    if layout is None:
        with step("simulating") as progress:
            simulate_flat(out, config, progress)
        return
    known: tuple[Layout, ...] = get_args(Layout)
    found = next((name for name in known if name == layout), None)
    if found is None:
        raise InputError(f"there is no layout {layout}; there are {listed(known)}")
    train, test = counts
    with step("simulating") as progress:
        simulate_flats(
            out,
            found,
            config,
            train=1 if train is None else train,
            test=test or 0,
            progress=progress,
        )


def prepare(
    bags: Annotated[
        list[Path], typer.Argument(help="bag folders or files; with --reader one folder or bag")
    ],
    out: Annotated[str, typer.Option(metavar="CACHE", help="folder of the cache, or URL")],
    labels: Annotated[str | None, LABEL_MAP] = None,
    reader: Annotated[
        str | None,
        typer.Option(
            help="of a public data set: semantickitti, nuscenes, pandaset, waymo, scannet, s3dis; "
            "of RGB-D recordings: rgbd",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="with --reader: train, val, test, all, as it has them", show_default=False
        ),
    ] = None,
    sequences: Annotated[
        str | None,
        typer.Option(
            help="with --reader: these alone, as 00,08; default: the split's", show_default=False
        ),
    ] = None,
    config: ConfigFile = None,
    set_: Assignments = None,
    strict: Strict = False,
) -> None:
    """Turn recorded bags, or a public data set, into time-matched, calibrated samples."""
    from haskd_ros.errors import InputError
    from haskd_training.commands.findings import say
    from haskd_training.core.settings import load_settings
    from haskd_training.core.storage.location import location
    from haskd_training.data.preparing.inputs import PrepareConfig
    from haskd_training.data.preparing.prepare import prepare as run
    from haskd_training.data.preparing.report import render

    if reader is not None:
        names = None if sequences is None else tuple(sequences.split(","))
        prepare_dataset(reader, bags, split, names, labels, out, (config, set_), strict)
        return
    if split is not None or sequences is not None:
        raise InputError("--split and --sequences are of a data set: --reader names it")
    settings = load_settings(PrepareConfig, config, set_ or ())
    with step("preparing") as progress:
        report = run(bags, labels, location(out), settings, progress, say=say, strict=strict)
    console.print(render(report))


def prepare_dataset(
    name: str,
    roots: list[Path],
    split: str | None,
    drives: tuple[str, ...] | None,
    labels: str | None,
    out: str,
    settings: tuple[Path | None, list[str] | None],
    strict: bool,
) -> None:
    """`prepare` with a reader; settings: a file and assignments."""
    from haskd_ros.errors import InputError
    from haskd_training.commands.findings import say
    from haskd_training.core.settings import load_settings
    from haskd_training.core.storage.location import location
    from haskd_training.data.preparing.dataset import DatasetPart
    from haskd_training.data.preparing.dataset import prepare_dataset as run
    from haskd_training.data.preparing.inputs import CacheConfig
    from haskd_training.data.preparing.report import render
    from haskd_training.data.readers.all_readers import reader_of

    found = reader_of(name)
    if len(roots) != 1:
        raise InputError(f"{len(roots)} folders given; --reader {name} reads one, of the data set")
    file, assignments = settings
    own = found.settings
    model: type[CacheConfig] = own.model if own else CacheConfig
    config = load_settings(model, file, assignments or ())
    if own:
        found = own.reader(config)
    part = DatasetPart(found, roots[0], split, drives, labels)
    with step(f"preparing {found.title}") as progress:
        report = run(part, location(out), config, progress, say=say, strict=strict)
    console.print(render(report))


def label_images(
    bags: Annotated[
        list[str],
        typer.Argument(metavar="BAGS...", help="bag folders or files, or caches made by prepare"),
    ],
    out: Annotated[Path, typer.Option(help="folder of the labels")],
    image_classes: Annotated[
        str,
        typer.Option(
            help="what the images' classes mean: cityscapes, ade20k, mapillary, coco, or YAML"
        ),
    ],
    network: Annotated[
        list[Path] | None, typer.Option(help="a semantic network for images, ONNX; several vote")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="instead of networks: a folder of masks of the images")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="label map whose classes the points get", show_default=False)
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="the same, and human labels are read by it, to say what share is right",
            show_default=False,
        ),
    ] = None,
    config: ConfigFile = None,
    set_: Assignments = None,
    strict: Strict = False,
) -> None:
    """Label points by what image networks say of the cameras' images; no human label is needed."""
    from haskd_ros.errors import InputError
    from haskd_training.commands.findings import say
    from haskd_training.core.settings import load_settings
    from haskd_training.core.storage.location import location
    from haskd_training.data.preparing.inputs import UNLABELLED_MAP
    from haskd_training.experiments.label_images import (
        LabelImagesConfig,
        MaskSource,
        quality_table,
    )
    from haskd_training.experiments.label_images import label_images as work
    from haskd_training.image_labels.class_sets import load_image_classes

    if classes is not None and labels is not None:
        raise InputError("--labels names the label map already: leave --classes out")
    result = work(
        [location(bag) for bag in bags],
        out,
        MaskSource(tuple(network or ()), masks),
        load_image_classes(image_classes),
        load_settings(LabelImagesConfig, config, set_ or ()),
        step,
        label_map=labels or classes or UNLABELLED_MAP,
        with_human_labels=labels is not None,
        say=say,
        strict=strict,
    )
    console.print(quality_table(result.quality))
    console.print(f"labels: {out}; report: {result.report}")


def select(
    caches: Caches,
    model: Annotated[Path, typer.Option(help="model file trained on labels alone")],
    out: Annotated[Path, typer.Option(help="folder of the selection")],
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """Choose the images that teach about each sweep, and show why."""
    from haskd_training.core.exchange import join
    from haskd_training.core.processes import is_first
    from haskd_training.core.settings import load_settings
    from haskd_training.data.caches.cache import Cache
    from haskd_training.data.sweep_ref import all_sweeps
    from haskd_training.images.candidates import SelectionConfig
    from haskd_training.images.selection import select as work
    from haskd_training.reports.contact_sheets import table
    from haskd_training.reports.html_page import Report, write
    from haskd_training.reports.stage_sections import selection_section

    settings = load_settings(SelectionConfig, config, set_ or ())
    opened = [Cache.open(path) for path in caches]
    sweeps = all_sweeps(opened)
    with only_user(out):
        join(out)
        with step("choosing images") as progress:
            selection = work(opened, sweeps, model, out, settings, progress)
        if not is_first():
            return
        console.print(table(selection))
        with step("writing the report"):
            section = selection_section(opened, selection, out / "pictures")
            write(Report("Image selection", [section]), out / "report.html")
    console.print(f"report: {out / 'report.html'}")
