"""A sweep to turn with the mouse, on a page that needs nothing but itself.

It is drawn by `templates/sweep_view.js` with the part of three.js that lies in `three/`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from haskd_ros.taxonomy import UNLABELLED, UNLABELLED_COLOR, Taxonomy

MAX_POINTS = 100_000
"""Points that are shown, 1.3 MB in the page with four colourings; of more, evenly many."""

_RIGHT = (96, 108, 118)
_NOT_LABELLED = (48, 54, 60)
_WRONG = ((255, 176, 0), (64, 156, 255))
_ALL_WRONG = (255, 48, 92)

_INT16 = 32767


@dataclass(frozen=True)
class Coloring:
    """Colours of a sweep's points.

    Attributes:
        title: on its button.
        entries: [N] uint8, each point's row in the legend.
        names: of the legend's rows.
        colors: RGB of each row, 0 to 255.
    """

    title: str
    entries: np.ndarray
    names: Sequence[str]
    colors: Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class SweepView:
    """A sweep, its colourings and what it is.

    Attributes:
        points: [N, >= 3] x y z in m in the sensor frame: x ahead, z up.
        colorings: of the N points, the first one shown first.
    """

    points: np.ndarray
    colorings: Sequence[Coloring]
    caption: str = ""

    def data(self) -> dict[str, Any]:
        """What the page's script draws, as JSON values.

        Positions are whole multiples of `metres`, the farthest coordinate 32,767 of them: at 100 m
        they are 1.5 mm off at most. A legend has the rows that some point shown belongs to.
        """
        shown = _evenly(len(self.points), MAX_POINTS)
        xyz = self.points[shown, :3]
        metres = max(float(np.abs(xyz).max(initial=0.0)), 1e-3) / _INT16
        return {
            "points": len(xyz),
            "metres": metres,
            "positions": _base64(np.rint(xyz / metres).astype("<i2")),
            "colorings": [_coloring_data(coloring, shown) for coloring in self.colorings],
        }


def class_coloring(title: str, labels: np.ndarray, taxonomy: Taxonomy) -> Coloring:
    """Points in the colours of their classes.

    Args:
        labels: [N] uint8 class ids, 255 not labelled.
    """
    entries = np.where(labels == UNLABELLED, len(taxonomy), labels).astype(np.uint8)
    colors = [*(info.color for info in taxonomy.classes), UNLABELLED_COLOR]
    return Coloring(title, entries, [*taxonomy.names, "not labelled"], colors)


def disagreement_coloring(
    truth: np.ndarray, first: tuple[str, np.ndarray], second: tuple[str, np.ndarray]
) -> Coloring:
    """Where two models disagree with the labels.

    Args:
        truth: [N] uint8 class ids, 255 not labelled.
        first, second: name of a model, and its class ids [N]; a point without one is wrong.
    """
    (name, predicted), (other_name, other_predicted) = first, second
    wrong, other_wrong = predicted != truth, other_predicted != truth
    entries = (wrong + 2 * other_wrong).astype(np.uint8)
    entries[truth == UNLABELLED] = 4
    names = [
        "both right",
        f"only {name} wrong",
        f"only {other_name} wrong",
        "both wrong",
        "not labelled",
    ]
    return Coloring(
        "disagreement with the labels",
        entries,
        names,
        [_RIGHT, *_WRONG, _ALL_WRONG, _NOT_LABELLED],
    )


@cache
def scripts() -> list[str]:
    """What draws: three.js with its licence, and the page's own script."""
    reports = files("haskd_training.reports")
    licence = (reports / "three" / "LICENSE").read_text(encoding="utf-8")
    library = (reports / "three" / "three.min.js").read_text(encoding="utf-8")
    own = (reports / "templates" / "sweep_view.js").read_text(encoding="utf-8")
    return [f"/* three.js\n\n{licence}*/\n{library}", own]


def _coloring_data(coloring: Coloring, shown: np.ndarray) -> dict[str, Any]:
    entries = coloring.entries[shown]
    present, row = np.unique(entries, return_inverse=True)
    return {
        "palette": [
            {"name": coloring.names[entry], "color": list(coloring.colors[entry])}
            for entry in present.tolist()
        ],
        "entries": _base64(row.astype(np.uint8)),
    }


def _evenly(count: int, limit: int) -> np.ndarray:
    """Indices of at most `limit` of `count` rows, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64))


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
