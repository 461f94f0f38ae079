"""Figures whose texts are texts: names in them come from files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.text import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 40
"""Characters of a name on an axis or in a legend, which would leave no room for the plot."""


@contextmanager
def drawn(path: Path, dpi: int, **layout: Any) -> Iterator[Figure]:
    """A figure that is written when the context ends, in the format of the file's ending (PNG
    without one).

    No text in it is taken for mathematics: Matplotlib refuses to draw what stands between two
    dollar signs where it is no formula.

    Args:
        layout: of `Figure`.

    Raises:
        InputError: it can't be written.
    """
    # Here, because every command would load it, and few draw.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = path.suffix[1:] or "png"
    with rc_context({"text.parse_math": False}):
        figure = Figure(dpi=dpi, **({"layout": "constrained"} | layout))
        yield figure
        picture = io.BytesIO()
        if kind == "png":
            # `savefig` draws everything once more before, to know the size of a cropped picture.
            FigureCanvasAgg(figure).print_png(picture)  # type: ignore[no-untyped-call]
        else:
            figure.savefig(picture, format=kind)
    try:
        write_atomically(path, picture.getvalue())
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from error


def name_text(name: str) -> str:
    """A name as plots show it: cut off where it is long, and in legends too where it begins with an
    underscore, which Matplotlib takes for a wish to be left out."""
    text = shown(name)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return f" {text}" if text.startswith("_") else text
