"""The report page: whole in itself, and true to what it was given."""

import base64
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imsave

from haskd_ros.errors import InputError
from haskd_training.reports.html_page import (
    Picture,
    Report,
    Section,
    Table,
    render,
    write,
)


class Page(HTMLParser):
    """Tags with their attributes, and the texts of table cells with their class."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.cells: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append((dict(attributes).get("class", ""), ""))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            style, text = self.cells[-1]
            self.cells[-1] = (style, text + data)


def page_of(*sections, title="A run", lead=""):
    return render(Report(title, sections, lead))


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    imsave(path, np.zeros((2, 3, 3)))
    return path


def test_the_page_fetches_nothing(png: Path):
    html = page_of(Section("Scores", "Text.", [Table(["a"], [[1]])], [Picture(png, "a street")]))
    page = Page(html)
    assert page.open == []
    assert not any(tag in ("script", "link", "iframe") for tag, _ in page.tags)
    places = [a[key] for _, a in page.tags for key in ("src", "href") if key in a]
    assert places
    assert all(place.startswith(("data:", "#")) for place in places)
    assert "url(" not in html
    assert "@import" not in html


def test_a_picture_is_in_the_page_byte_for_byte_with_its_caption(png: Path):
    html = page_of(Section("Pictures", pictures=[Picture(png, "a street")]))
    (image,) = [attributes for tag, attributes in Page(html).tags if tag == "img"]
    kind, data = image["src"].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == png.read_bytes()
    assert image["alt"] == "a street"
    assert "<figcaption>a street</figcaption>" in html


def test_numbers_are_set_right_and_names_left():
    table = Table(
        ["class", "points", "gain", "interval"],
        [["road", 12345, 1.25, "+1.2 (0.3 to 2.1)"], ["car", 7, math.nan, None]],
    )
    cells = Page(page_of(Section("Scores", tables=[table]))).cells
    assert cells == [
        ("", "class"), ("number", "points"), ("number", "gain"), ("number", "interval"),
        ("", "road"), ("number", "12,345"), ("number", "1.2"), ("number", "+1.2 (0.3 to 2.1)"),
        ("", "car"), ("number", "7"), ("number", "–"), ("number", "–"),  # noqa: RUF001
    ]  # fmt: skip


def test_a_table_may_be_empty_and_its_rows_may_be_strong():
    html = page_of(Section("x", tables=[Table(["a", "b"], []), Table(["a"], [[1]], strong={0})]))
    assert html.count('<tr class="strong">') == 1


def test_a_row_that_does_not_fit_its_headings_is_refused():
    with pytest.raises(ValueError, match="2 cells under 1 headings"):
        Table(["a"], [[1, 2]])


def test_texts_are_never_taken_as_html():
    html = page_of(
        Section("<b>", "a < b\n\nsecond", [Table(["<i>"], [["<script>"]], caption="&")]),
        title="x & y",
    )
    assert "<script>" not in html
    assert "<p>a &lt; b</p>\n<p>second</p>" in html
    assert "<title>x &amp; y</title>" in html


def test_a_page_of_several_sections_leads_to_each():
    html = page_of(Section("One"), Section("Two"), Section("Three"))
    assert re.findall(r'href="#(section-\d)"', html) == re.findall(r'id="(section-\d)"', html)
    assert "<nav>" not in page_of(Section("One"))


def test_a_picture_that_is_not_there_or_no_picture_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"gone\.png can't be read"):
        page_of(Section("x", pictures=[Picture(tmp_path / "gone.png")]))
    with pytest.raises(InputError, match=r"a\.svg is not one of \.png"):
        page_of(Section("x", pictures=[Picture(tmp_path / "a.svg")]))


def test_the_page_is_written_to_a_file(tmp_path: Path):
    report = Report("A run", [Section("Scores", "27° – ±3")])  # noqa: RUF001
    write(report, tmp_path / "run" / "report.html")
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8") == render(report)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't be written"):
        write(report, tmp_path / "file" / "report.html")
