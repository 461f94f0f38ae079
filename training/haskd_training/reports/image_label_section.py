"""The section of the page on a run that tells what labels from images taught."""

from __future__ import annotations

from typing import Any

import numpy as np

from haskd_training.data.splits import Split
from haskd_training.reports.html_page import Cell, Section, Table
from haskd_training.reports.stage_sections import percent


def image_label_section(split: Split) -> Section | None:
    """Where labels from images came from, how much they say, and what of it is right where that was
    measured; None where no sweep is taught by them."""
    origin = split.image_labels_origin
    if origin is None:
        return None
    taught = [cache.sweeps[i] for cache in split.caches for i in cache.taught]
    points = sum(row.points for row in taught)
    counts = np.sum([row.class_counts for row in taught], axis=0)
    rows: list[list[Cell]] = [
        [name, int(count), 100 * count / points]
        for name, count in zip(split.taxonomy.names, counts, strict=True)
    ]
    rows.append(["all", int(counts.sum()), 100 * counts.sum() / points])
    facts: list[list[Cell]] = [
        *source_rows(origin),
        ["least confidence of a label", f"{origin['min_confidence']:g}"],
        ["sweeps taught by them", len(taught)],
    ]
    text = (
        "A label may be a set of classes; it is counted at its likeliest one. Points without a "
        "label are completed by what teacher and snapshots predict with confidence."
    )
    tables = [
        Table(["what", "which"], facts),
        Table(
            ["class", "labelled points", "share of all points in %"],
            rows,
            "Points of the taught sweeps by the class that images gave them",
            digits=2,
            strong=frozenset({len(rows) - 1}),
        ),
    ]
    if right := origin.get("measured", {}).get("right"):
        measured: list[list[Cell]] = [
            [percent(one["share"]), percent(one["sets"]), percent(one["strict"])] for one in right
        ]
        tables.append(
            Table(
                ["share of the points", "right as sets", "right by likeliest class"],
                measured,
                f"By human labels, {what_labels_owe(origin)}: the surest labels first, the last "
                "row all of whatever confidence; in %, as label-images measured",
            )
        )
    return Section("Labels from images", text, tables)


def what_labels_owe(origin: dict[str, Any]) -> str:
    """What labels have of the human ones that they are compared with.

    Args:
        origin: of labels from images, see `data.point_labels`.
    """
    if "carried" in origin:
        return "which were carried to all sweeps but their own"
    return "which no label depends on"


def source_rows(origin: dict[str, Any]) -> list[list[Cell]]:
    """Networks or masks, and what their classes are.

    Args:
        origin: of labels from images, see `data.point_labels`.
    """
    rows: list[list[Cell]] = [
        ["image network", f"{network['file']}, SHA-256 {network['sha256']}"]
        for network in origin.get("networks", ())
    ]
    if masks := origin.get("masks"):
        rows.append(["masks", f"{masks['folder']}, SHA-256 {masks['sha256']}"])
    rows.append(["image classes", origin["image_classes"]["name"]])
    if carried := origin.get("carried"):
        rows.append(["labels by hand that were carried", f"of {carried['sweeps']} sweeps"])
    return rows
