"""`haskd label-images`: recorded bags and what image networks say in, labels of their points out.

LABELS/labels.json     what the labels stand for, and where they came from, see `data.point_labels`
LABELS/points/         the labels of each sweep
LABELS/report.html     how much is labelled, what of it is right, and pictures of it
LABELS/pictures/       of the report
LABELS/masks/          what the networks say of each image
LABELS/caches/         the prepared bags
LABELS/made-from.json  what all this is made from
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from haskd_ros.errors import InputError
from haskd_ros.file_lock import LOCK
from haskd_ros.files import remove_leftovers
from haskd_ros.taxonomy import Taxonomy
from haskd_ros.text import listed
from haskd_training.core.checked_json import read_json, write_json
from haskd_training.core.file_digests import file_digest
from haskd_training.core.progress import Steps
from haskd_training.core.run_folder import only_user
from haskd_training.core.storage.location import Location
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.point_labels import PointLabels
from haskd_training.data.preparing.inputs import (
    UNLABELLED_MAP,
    Inputs,
    PrepareConfig,
    check_labels,
    recording_name,
)
from haskd_training.experiments.sources import (
    examine_all,
    findings_of,
    prepare_all,
    recordings_in,
    why_no_images,
)
from haskd_training.image_labels.class_sets import ImageClasses
from haskd_training.image_labels.labelling import PointLabelConfig, label_points
from haskd_training.image_labels.mask_files import SUFFIX
from haskd_training.image_labels.masks import MaskFolder
from haskd_training.image_labels.networks import ImageNetworkConfig
from haskd_training.image_labels.networks import label_images as write_masks
from haskd_training.image_labels.quality import LabelQuality, measure
from haskd_training.image_labels.shapes import Shapes, load_shapes
from haskd_training.recordings.findings import Say, say_nothing, tell
from haskd_training.recordings.labels import load_label_map
from haskd_training.reports.image_label_page import ImageLabelFindings, write_page

RECORD = "made-from.json"
REPORT = "report.html"
PICTURES = "pictures"

_MASKS = "masks"
_OWN = {RECORD, LOCK, _MASKS, "caches"}
"""What may stand in the folder before it is known to be of these inputs."""


class LabelImagesConfig(BaseModel):
    """All settings of `haskd label-images`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prepare: PrepareConfig = PrepareConfig()
    images: ImageNetworkConfig = ImageNetworkConfig()
    points: PointLabelConfig = PointLabelConfig()


@dataclass(frozen=True)
class MaskSource:
    """Where masks come from: networks, ONNX files that write them, or a folder of them."""

    networks: Sequence[Path] = ()
    folder: Path | None = None

    def __post_init__(self) -> None:
        if bool(self.networks) == (self.folder is not None):
            raise InputError(
                "give either --network, once or several times, or --masks: labels come from one "
                "of them"
            )

    def to_json(self) -> dict[str, Any]:
        """Names and digests, in plain values.

        Raises:
            InputError: a network or the folder does not exist.
        """
        for path in self.networks:
            if not path.is_file():
                raise InputError(f"image network {path} does not exist")
        if self.folder is None:
            return {
                "networks": [
                    {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
                    for path in self.networks
                ]
            }
        if not self.folder.is_dir():
            raise InputError(f"mask folder {self.folder} does not exist")
        digest = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            if path.suffix in (SUFFIX, ".json") and path.is_file():
                digest.update(f"{path.relative_to(self.folder)} {file_digest(path)}\n".encode())
        return {"masks": {"folder": self.folder.resolve().name, "sha256": digest.hexdigest()}}


@dataclass(frozen=True)
class LabelImagesResult:
    """What was made.

    Attributes:
        labels: of the points.
        quality: how much is labelled and right.
        report: the page to read.
    """

    labels: PointLabels
    quality: LabelQuality
    report: Path


def label_images(
    bags: Sequence[Location],
    out: Path,
    source: MaskSource,
    classes: ImageClasses,
    config: LabelImagesConfig,
    steps: Steps,
    *,
    label_map: str = UNLABELLED_MAP,
    with_human_labels: bool = False,
    say: Say = say_nothing,
    strict: bool = False,
) -> LabelImagesResult:
    """From bags to labels of their points; what an earlier call finished is not done again.

    Args:
        bags: recordings, or caches that were prepared of such or of a public data set.
        out: folder of the labels, new or of an earlier call with the same inputs and settings.
        label_map: whose classes and shapes are used: a file, or the name of one that ships.
        with_human_labels: read those that the map finds, to say what share of the labels is right,
            and to carry them to other sweeps where `points.carry_labels` asks for it.
        say: receives what is found about recordings and masks.
        strict: refuse what it warns of.

    Raises:
        InputError: anything wrong with the input, no image shows a point, `out` holds something
            else, or another process works in it.
    """
    taxonomy = load_label_map(label_map).taxonomy
    classes.sets(taxonomy)  # refuses classes that the map lacks before anything is computed
    shapes = load_shapes(label_map)
    _check_names(bags)
    labels = label_map if with_human_labels else None
    if config.points.carry_labels and not with_human_labels:
        raise InputError(
            "points.carry_labels=true carries labels by hand: --labels has to name their label map"
        )
    if with_human_labels and (recordings := recordings_in(bags)):
        check_labels(recordings, label_map, config.prepare)
    origin = _origin(source, classes, label_map, config)
    with only_user(out):
        _check_is_own(out)
        examined = examine_all(bags, labels, out, config.prepare, steps)
        found = [finding for one in examined for finding in findings_of(one)]
        tell(found, say, strict)
        _claim(out, _made_from(origin, taxonomy, shapes, examined))
        prepared, reports = prepare_all(examined, steps, say)
        if reason := why_no_images(reports):
            raise InputError(f"no image of these recordings shows a point: {reason}")
        caches = prepared if with_human_labels else [c.without_labels(taxonomy) for c in prepared]
        _check_classes(caches, taxonomy, label_map)
        masks = _masks(caches, out, source, classes, config.images, steps)
        tell(masks.findings(), say, strict)
        origin["recordings"] = [name for report in reports for name in report.recordings]
        if config.points.carry_labels:
            by_hand = [row for cache in caches for row in cache.sweeps if any(row.class_counts)]
            origin["carried"] = {"sweeps": len(by_hand)}
        with steps("labelling points") as progress:
            made = label_points(
                caches,
                masks,
                classes,
                shapes,
                out,
                origin=origin,
                config=config.points,
                progress=progress,
            )
        with steps("measuring") as progress:
            quality = measure(caches, made, progress)
        made = replace(made, origin={**origin, "measured": quality.to_json()})
        made.write_index()
        with steps("writing the report"):
            findings = ImageLabelFindings(
                labels=made,
                quality=quality,
                caches=caches,
                masks=masks,
                classes=classes,
                prepared=reports,
                visibility=config.points.visibility,
            )
            write_page(findings, out / REPORT, out / PICTURES)
    return LabelImagesResult(made, quality, out / REPORT)


def _check_classes(caches: Sequence[Cache], taxonomy: Taxonomy, label_map: str) -> None:
    for cache in caches:
        if cache.taxonomy.names != taxonomy.names:
            raise InputError(
                f"{cache.path} has the classes {listed(cache.taxonomy.names)}; {label_map} has "
                f"{listed(taxonomy.names)}"
            )


def quality_table(quality: LabelQuality) -> Table:
    """By class, for the screen."""
    title = f"labels of {quality.points:,} points, in %"
    share = (
        f"an image shows {100 * quality.seen_share:.1f} % of them, "
        f"{100 * quality.labelled_share:.1f} % are labelled"
    )
    if not quality.has_human_labels:
        table = Table(title=title, caption=share)
        table.add_column("class")
        table.add_column("labelled so", justify="right")
        for name, count in zip(quality.taxonomy.names, quality.label_counts(), strict=True):
            table.add_row(name, f"{100 * count / quality.points:.2f}")
        return table
    told = "; ".join(
        f"{100 * one.sets:.1f} % right at {100 * one.share:.0f} %"
        for one in (*quality.curve(), quality.right())
        if one.sets is not None
    )
    table = Table(title=title, caption=f"{share}; as sets {told}")
    table.add_column("class")
    for heading in ("seen", "labelled", "precision", "as sets", "recall", "as sets"):
        table.add_column(heading, justify="right")
    for row in quality.classes():
        cells = (
            row.seen, row.labelled, row.precision, row.set_precision, row.recall, row.set_recall,
        )  # fmt: skip
        table.add_row(row.name, *("-" if cell is None else f"{100 * cell:.1f}" for cell in cells))
    return table


def _check_names(bags: Sequence[Location]) -> None:
    """Labels are found by the names of recordings."""
    names = [recording_name(bag) for bag in bags]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"several bags are called {listed(twice)}; labels are found by that name: rename one, "
            "or label them into folders of their own"
        )


def _masks(
    caches: Sequence[Cache],
    out: Path,
    source: MaskSource,
    classes: ImageClasses,
    config: ImageNetworkConfig,
    steps: Steps,
) -> MaskFolder:
    if source.folder is not None:
        return MaskFolder(source.folder, [row for cache in caches for row in cache.images], classes)
    with steps("labelling images") as progress:
        return write_masks(caches, source.networks, classes, out / _MASKS, config, progress)


def _origin(
    source: MaskSource, classes: ImageClasses, label_map: str, config: LabelImagesConfig
) -> dict[str, Any]:
    """Where labels come from, for whoever uses them."""
    means = {name: list(means) for name, means in zip(classes.names, classes.means, strict=True)}
    return {
        **source.to_json(),
        "image_classes": {"name": classes.origin, "means": means},
        "label_map": label_map,
        "settings": config.model_dump(mode="json"),
    }


def _made_from(
    origin: dict[str, Any], taxonomy: Taxonomy, shapes: Shapes, examined: Sequence[Inputs | Cache]
) -> dict[str, Any]:
    """All that the labels depend on, by what a user may have changed."""
    return {
        "networks or masks": [origin.get("networks"), origin.get("masks", {}).get("sha256")],
        "image classes": origin["image_classes"]["means"],
        "label map": [
            taxonomy.to_json(),
            {name: np.asarray(value).tolist() for name, value in vars(shapes).items()},
        ],
        "settings": {key: origin["settings"][key] for key in ("images", "points")},
        "recordings or their labels": [inputs.fingerprint for inputs in examined],
    }


_REMEDY = "give another folder, or delete this one to make all labels anew"


def _check_is_own(out: Path) -> None:
    if (out / RECORD).exists():
        return
    remove_leftovers(out)
    if foreign := sorted(one.name for one in out.iterdir() if one.name not in _OWN):
        raise InputError(
            f"{out} is neither empty nor a folder of labels from images, it holds "
            f"{listed(foreign, 200)}; {_REMEDY}"
        )


def _claim(out: Path, record: dict[str, Any]) -> None:
    """Make the folder that of these inputs, unless it is already.

    Raises:
        InputError: it is of others.
    """
    record = json.loads(json.dumps(record))
    if not (out / RECORD).exists():
        write_json(out / RECORD, record, indent=1)
        return
    found = read_json(out / RECORD, _REMEDY)
    if differing := [key for key in record if found.get(key) != record[key]]:
        raise InputError(f"{out} holds labels made from other {listed(differing)}; {_REMEDY}")
