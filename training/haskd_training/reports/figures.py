"""Figures whose texts are texts: names in them come from files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from haskd_ros.text import shown

_LONGEST = 40
"""Characters of a name on an axis or in a legend, which would leave no room for the plot."""


@contextmanager
def drawn(path: Path, dpi: int, **layout: Any) -> Iterator[Figure]:
    """A figure that is written to a PNG file when the context ends.

    No text in it is taken for mathematics: Matplotlib refuses to draw what stands between two
    dollar signs where it is no formula.

    Args:
        layout: of `Figure`.
    """
    with rc_context({"text.parse_math": False}):
        figure = Figure(**({"layout": "constrained"} | layout))
        yield figure
        figure.savefig(path, dpi=dpi)


def name_text(name: str) -> str:
    """A name as plots show it: cut off where it is long, and in legends too where it begins with an
    underscore, which Matplotlib takes for a wish to be left out."""
    text = shown(name)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return f" {text}" if text.startswith("_") else text
