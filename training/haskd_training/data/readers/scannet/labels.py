"""The labels of a ScanNet scan: a NYU40 id for each vertex of its mesh.

SCAN_vh_clean_2.labels.ply has them as the vertices' property `label`. Where it is missing, they are
put together of SCAN_vh_clean_2.0.010000.segs.json (the segment of each vertex),
SCAN.aggregation.json (segments of each object, and its category in words) and
scannetv2-labels.combined.tsv (the NYU40 id of each category).
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_training.recordings.cloud_files import ply
from haskd_training.recordings.reading import reading

LABELLED_MESH = "_vh_clean_2.labels.ply"
SEGMENTS = "_vh_clean_2.0.010000.segs.json"
OBJECTS = ".aggregation.json"
CATEGORIES = "scannetv2-labels.combined.tsv"

_STRAY = (50, 149)
"""Ids that NYU40 has not, of some vertices of three scans (scene0270_00, scene0270_02,
scene0384_00): annotated, but with nothing that is known."""


@dataclass(frozen=True)
class ScanLabels:
    """Where the labels of a scan are: `files` is its labelled mesh, or its segments, its objects
    and the table of categories."""

    files: tuple[Path, ...]

    @classmethod
    def of(cls, root: Path, folder: Path) -> ScanLabels:
        """Of a scan in its folder of the data set `root`, by what is there."""
        mesh = folder / f"{folder.name}{LABELLED_MESH}"
        if mesh.is_file():
            return cls((mesh,))
        parts = (folder / f"{folder.name}{ending}" for ending in (SEGMENTS, OBJECTS))
        return cls((*parts, root / CATEGORIES))

    def read(self) -> np.ndarray:
        """[N] NYU40 ids, 0 for a vertex that nobody annotated.

        Raises:
            InputError: a file can't be read, or doesn't fit to the others.
        """
        if len(self.files) > 1:
            return _of_segments(*self.files)
        (mesh,) = self.files
        with reading(mesh):
            (vertices,) = ply.read(mesh)
        if "label" not in (vertices.dtype.names or ()) or vertices["label"].dtype.kind not in "iu":
            raise InputError(f"{mesh}: its vertices have no whole number `label`")
        labels: np.ndarray = vertices["label"]
        return np.where(np.isin(labels, _STRAY), 0, labels)


def _of_segments(segments_file: Path, objects_file: Path, categories_file: Path) -> np.ndarray:
    segments = np.array(_list_in(segments_file, "segIndices"))
    if segments.ndim != 1 or (len(segments) and segments.dtype.kind not in "iu"):
        raise InputError(f"{segments_file}: segIndices are not a whole number for each vertex")
    known = _ids_of_categories(categories_file)
    labels = np.zeros(len(segments), np.int64)
    for group in _list_in(objects_file, "segGroups"):
        try:
            category, own = group["label"], np.array(group["segments"], np.int64)
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(
                f"{objects_file}: an object of segGroups is no {{label, segments}}"
            ) from error
        if not isinstance(category, str) or category not in known:
            raise InputError(
                f"{objects_file}: {categories_file} has no category {quoted(category)}"
            )
        labels[np.isin(segments, own)] = known[category]
    return labels


def _list_in(file: Path, key: str) -> list[Any]:
    with reading(file):
        document = json.loads(file.read_bytes())
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise InputError(f"{file} has no list {key}")
    return found


@cache
def _ids_of_categories(file: Path) -> dict[str, int]:
    ids = {}
    with reading(file), file.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines, delimiter="\t"), start=2):
            try:
                ids[row["raw_category"]] = int(row["nyu40id"])
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{file}, line {number}: no raw_category with a whole number nyu40id"
                ) from error
    return ids
