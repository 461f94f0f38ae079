"""Labels of points that were made outside a cache, from what images show: a folder with a file for
each sweep, found by the sweep's recording and stamp, so that any cache of the recording can be
taught by them.

FOLDER/labels.json                          classes, sets, where the labels came from
FOLDER/points/RECORDING/STAMP_NS.safetensors   label, confidence, seen [N] uint8
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED, Taxonomy
from haskd_ros.text import file_name, listed, quoted
from haskd_training.core.checked_json import read_json, write_json
from haskd_training.core.tensor_file import TensorFile, write_tensors
from haskd_training.data.caches.label_sets import LabelSets

INDEX = "labels.json"
FORMAT = "haskd-point-labels-1"

_POINTS = "points"
_REMEDY = "delete it and run label-images again, which makes it anew"


@dataclass(frozen=True)
class PointLabels:
    """A folder of labels.

    Attributes:
        taxonomy, sets: what a label id stands for.
        origin: where they came from, in JSON values: the networks or masks, their classes.
        min_confidence: 0..1; points of less have no label.
    """

    folder: Path
    taxonomy: Taxonomy
    sets: LabelSets
    origin: dict[str, Any]
    min_confidence: float = 0.0

    @classmethod
    def open(cls, folder: Path) -> PointLabels:
        """
        Raises:
            InputError: no finished folder of labels, or a damaged one.
        """
        if not (folder / INDEX).is_file():
            raise InputError(
                f"{folder} holds no labels from images: no {INDEX} in it; label-images makes them"
            )
        document = read_json(folder / INDEX, _REMEDY)
        if document.get("format") != FORMAT:
            raise InputError(
                f"{folder / INDEX}: format {quoted(document.get('format'))}, must be {FORMAT!r}; "
                "delete the folder and run label-images again"
            )
        taxonomy = Taxonomy.from_json(document["classes"])
        several = tuple(tuple(taxonomy.id_of(name) for name in names) for names in document["sets"])
        return cls(folder, taxonomy, LabelSets(len(taxonomy), several), document["origin"])

    def write_index(self) -> None:
        """Mark the folder as finished."""
        document = {
            "format": FORMAT,
            "classes": self.taxonomy.to_json(),
            "sets": self.sets.named(self.taxonomy),
            "origin": self.origin,
        }
        write_json(self.folder / INDEX, document, indent=1)

    def surer_than(self, min_confidence: float) -> PointLabels:
        """The same with labels only where the confidence is at least this, 0..1."""
        return replace(self, min_confidence=min_confidence)

    @property
    def identity(self) -> str:
        """Of the labels, for what depends on them."""
        digest = hashlib.sha256((self.folder / INDEX).read_bytes())
        digest.update(f"{self.min_confidence}".encode())
        return digest.hexdigest()[:16]

    def path(self, recording: str, stamp_ns: int) -> Path:
        """The file of a sweep."""
        return self.folder / _POINTS / file_name(recording) / f"{stamp_ns}.safetensors"

    def has(self, recording: str, stamp_ns: int) -> bool:
        """Whether a sweep has labels."""
        return self.path(recording, stamp_ns).exists()

    def of(self, recording: str, stamp_ns: int, points: int) -> np.ndarray:
        """Label ids [N] uint8 of a sweep's points, `UNLABELLED` below the least confidence.

        Args:
            points: N.

        Raises:
            InputError: the file is missing, damaged, or of another number of points.
        """
        label, confidence = self.with_confidence(recording, stamp_ns, points)
        return np.where(confidence >= self.min_confidence, label, UNLABELLED).astype(np.uint8)

    def with_confidence(
        self, recording: str, stamp_ns: int, points: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Label ids [N] uint8, whatever their confidence, and the confidence [N] float32, 0..1;
        raises as `of` does."""
        path = self.path(recording, stamp_ns)
        file = TensorFile(path, _REMEDY)
        label, confidence = file.read("label"), file.read("confidence")
        if len(label) != points:
            raise InputError(
                f"{path} is for {len(label)} points, the sweep has {points}: it was made from "
                "another recording of that name, or by other settings of prepare"
            )
        return label, confidence.astype(np.float32) / 255

    def seen(self, recording: str, stamp_ns: int) -> np.ndarray:
        """[N] bool: the points of a sweep whose place some image shows, at whatever moment.

        Raises:
            InputError: the file is missing or damaged.
        """
        return TensorFile(self.path(recording, stamp_ns), _REMEDY).read("seen").astype(bool)

    def write(
        self,
        recording: str,
        stamp_ns: int,
        *,
        label: np.ndarray,
        confidence: np.ndarray,
        seen: np.ndarray,
    ) -> None:
        """Write the labels of a sweep: label [N] uint8, confidence [N] 0..1, seen [N] bool."""
        path = self.path(recording, stamp_ns)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            "label": label,
            "confidence": np.rint(255 * confidence).astype(np.uint8),
            "seen": seen.astype(np.uint8),
        }
        write_tensors(path, arrays)


def check_classes(labels: PointLabels, names: Sequence[str], what: object) -> None:
    """Check that labels are of some classes.

    Raises:
        InputError: they aren't.
    """
    if labels.taxonomy.names != tuple(names):
        raise InputError(
            f"the labels in {labels.folder} are of the classes {listed(labels.taxonomy.names)}; "
            f"{what} has {listed(names)}"
        )
