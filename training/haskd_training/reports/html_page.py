"""One HTML page that needs nothing but itself: text, tables, pictures and a sweep to turn."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.text import shown_lines
from haskd_training.reports.sweep_view import SweepView, scripts

Cell = str | int | float | None

_MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}

_NUMBER = re.compile(r"[+\-−±]?\d|–$")  # noqa: RUF001 the signs as typeset
"""How a cell begins that is a number; a dash is a missing one."""

_MISSING = "–"  # noqa: RUF001


@dataclass(frozen=True)
class Table:
    """Rows of cells. Numbers are written with `digits` decimals, whole ones with thousands
    separated, None and NaN as a dash; a column of numbers alone is aligned to the right.

    Attributes:
        columns: headings.
        strong: rows, by place, that are set in bold.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    digits: int = 1
    strong: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(row)} cells under {len(self.columns)} headings: {row}")

    def texts(self) -> list[list[str]]:
        """The cells as they are shown."""
        return [[_text(cell, self.digits) for cell in row] for row in self.rows]

    def numeric(self) -> list[bool]:
        """By column: holds numbers only."""
        texts = self.texts()
        return [
            bool(texts) and all(_NUMBER.match(row[i]) for row in texts)
            for i in range(len(self.columns))
        ]


@dataclass(frozen=True)
class Picture:
    """A PNG or JPEG file, which goes into the page whole."""

    path: Path
    caption: str = ""

    def data_uri(self) -> str:
        """The file as an address that holds it.

        Raises:
            InputError: neither PNG nor JPEG, or it can't be read.
        """
        kind = _MEDIA_TYPES.get(self.path.suffix.lower())
        if kind is None:
            raise InputError(f"picture {self.path} is not one of {', '.join(_MEDIA_TYPES)}")
        try:
            octets = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"picture {self.path} can't be read: {error.strerror}") from error
        return f"data:{kind};base64,{base64.b64encode(octets).decode()}"


@dataclass(frozen=True)
class Section:
    """A heading and its text, tables, sweeps to turn and pictures, in this order.

    Attributes:
        text: paragraphs, parted by empty lines.
    """

    heading: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    sweeps: Sequence[SweepView] = ()

    def paragraphs(self) -> list[str]:
        return [part.strip() for part in re.split(r"\n\s*\n", self.text) if part.strip()]


@dataclass(frozen=True)
class Report:
    """A page. lead: a sentence or two under its title, what it comes down to."""

    title: str
    sections: Sequence[Section]
    lead: str = ""


def render(report: Report) -> str:
    """The page as HTML. All texts are taken as plain text: escaped, and without characters that
    can't be seen or encoded.

    Raises:
        InputError: a picture that can't be read.
    """
    environment = Environment(
        loader=PackageLoader("haskd_training.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: shown_lines(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawing = scripts() if any(section.sweeps for section in report.sections) else []
    return environment.get_template("report.html.j2").render(report=report, scripts=drawing)


def write(report: Report, path: Path) -> None:
    """Render to a file.

    Raises:
        InputError: a picture can't be read, or the file can't be written.
    """
    page = render(report).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from error


def _text(cell: Cell, digits: int) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return _MISSING
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.{digits}f}" if isinstance(cell, float) else cell
