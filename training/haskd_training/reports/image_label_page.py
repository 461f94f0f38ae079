"""The page on labels from images: how much is labelled, what is right, where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.point_labels import PointLabels
from haskd_training.data.preparing.report import PrepareReport
from haskd_training.image_labels.class_sets import ImageClasses
from haskd_training.image_labels.masks import MaskFolder
from haskd_training.image_labels.quality import LabelQuality
from haskd_training.images.visibility import VisibilityConfig
from haskd_training.reports.figures import drawn
from haskd_training.reports.html_page import Cell, Picture, Report, Section, Table, write
from haskd_training.reports.image_label_pictures import write_pictures
from haskd_training.reports.image_label_section import source_rows, what_labels_owe
from haskd_training.reports.stage_sections import findings_section, percent

_CURVE_SHARES = [share / 50 for share in range(1, 51)]


@dataclass(frozen=True)
class ImageLabelFindings:
    """What labelling by images made.

    Attributes:
        prepared: a report of each bag.
        visibility: when a point counts as shown by an image.
    """

    labels: PointLabels
    quality: LabelQuality
    caches: Sequence[Cache]
    masks: MaskFolder
    classes: ImageClasses
    prepared: Sequence[PrepareReport]
    visibility: VisibilityConfig


def write_page(findings: ImageLabelFindings, path: Path, pictures: Path) -> None:
    """Write the page.

    Args:
        pictures: folder of what it shows.

    Raises:
        InputError: something can't be read or written.
    """
    pictures.mkdir(parents=True, exist_ok=True)
    quality = findings.quality
    owed = what_labels_owe(findings.labels.origin)
    sections = [_classes(quality, owed)]
    if quality.has_human_labels:
        sections.append(_right_against_share(quality, pictures / "right.png"))
    sections += [
        _images(findings, pictures),
        _origin(findings.labels.origin),
        findings_section(findings.prepared),
    ]
    lead = (
        f"Of {quality.points:,} points {100 * quality.labelled_share:.1f} % have a label from "
        f"images; the cameras ever show the place of {100 * quality.seen_share:.1f} %."
    )
    right = quality.right()
    if right.sets is not None:
        lead += (
            f" Where humans labelled too, {100 * right.sets:.1f} % of the labels are right (a set "
            "that holds the human's label counts)."
        )
    write(Report("Labels from images", sections, lead), path)


def _classes(quality: LabelQuality, owed: str) -> Section:
    if not quality.has_human_labels:
        rows: list[list[Cell]] = [
            [name, count, 100 * count / max(1, quality.points)]
            for name, count in zip(
                quality.taxonomy.names, quality.label_counts().tolist(), strict=True
            )
        ]
        text = (
            "There are no human labels to compare with. A label may be a set of classes; it is "
            "counted at its likeliest class."
        )
        table = Table(["class", "labelled points", "share of all points in %"], rows, digits=2)
        return Section("Labels by class", text, [table])
    columns = [
        "class", "points", "seen", "labelled", "precision", "precision as sets", "recall",
        "recall as sets",
    ]  # fmt: skip
    rows = [
        [
            row.name, row.points, percent(row.seen), percent(row.labelled),
            percent(row.precision), percent(row.set_precision), percent(row.recall),
            percent(row.set_recall),
        ]
        for row in quality.classes()
    ]  # fmt: skip
    text = (
        f"In %, by human labels, {owed}. Seen: of the points of a class, those "
        "whose place an image shows at any time. Precision: of the points whose likeliest class it "
        "is, those that are of it; recall: of its labelled points, those whose likeliest class it "
        "is. As sets, a label that leaves several classes open is right where it holds the "
        "human's."
    )
    return Section("Labels by class", text, [Table(columns, rows)])


def _right_against_share(quality: LabelQuality, figure: Path) -> Section:
    points = [*quality.curve(), quality.right()]
    rows: list[list[Cell]] = [
        [percent(one.share), percent(one.sets), percent(one.strict)] for one in points
    ]
    curve = [one for one in quality.curve(_CURVE_SHARES) if one.sets is not None]
    curve.append(quality.right())
    shares = [100 * one.share for one in curve]
    with drawn(figure, dpi=110, figsize=(8, 4.5)) as drawing:
        axes = drawing.add_subplot()
        for label, values in (
            ("as sets", [percent(one.sets) for one in curve]),
            ("likeliest class", [percent(one.strict) for one in curve]),
        ):
            axes.plot(shares, values, marker=".", label=label)
        axes.set(
            xlabel="share of the points, the surest labels first, in %",
            ylabel="right in %",
            xlim=(0, 100),
        )
        axes.grid(alpha=0.3)
        axes.legend()
    text = (
        "Labels have a confidence that no human label went into. The more points are to be "
        "labelled, the less sure are those that come last; the last row holds all labels. What is "
        "taught from labels can leave out those below a confidence."
    )
    table = Table(["share of the points", "right as sets", "right by likeliest class"], rows)
    return Section("Right against share", text, [table], [Picture(figure)])


def _images(findings: ImageLabelFindings, folder: Path) -> Section:
    pictures = write_pictures(
        findings.caches,
        findings.labels,
        findings.masks,
        findings.classes,
        findings.visibility,
        folder,
    )
    text = (
        "Left: what the mask says, in the colour of the likeliest class that is meant. Middle: the "
        "labels of a sweep's points that this image shows. Right: where the points' label is "
        "another than what this image says at them, since other views or the shape of things "
        "outvoted it, and where humans labelled otherwise."
    )
    return Section("Labels in images", text, pictures=pictures)


def _origin(origin: dict[str, Any]) -> Section:
    rows = source_rows(origin)
    rows.append(["label map", origin["label_map"]])
    rows.append(["recordings", ", ".join(origin["recordings"])])
    rows += [[name, str(value)] for name, value in _flat(origin["settings"])]
    means = [
        [name, " or ".join(classes) or "nothing"]
        for name, classes in origin["image_classes"]["means"].items()
    ]
    tables = [Table(["what", "which"], rows), Table(["image class", "means"], means)]
    return Section("Where the labels came from", tables=tables)


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found
