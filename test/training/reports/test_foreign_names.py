"""Names from files are text: on the screen, in plots, on pages, in Markdown."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.table import Table
from rich.text import Text

from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.core.progress import TextConsole, step
from haskd_training.reports import html_page, plots
from haskd_training.reports.sweep_view import SweepView, class_coloring

HOSTILE = ["a$b$_", "_hidden", "[red]a[/]", "[/]", "\x1b[2J\a", "</script><script>alert(1)//",
           "x" * 3000, "a\nb", ":smile:", "$\\frac$", "\u202eabc"]  # fmt: skip
# Class names can't hold all of them: `Taxonomy` refuses what can't be seen and what is too long.
CLASSES = [name for name in HOSTILE if name.isprintable() and len(name) <= 100]
NAMES = Taxonomy(tuple(ClassInfo(name, (k, 2, 3)) for k, name in enumerate(CLASSES)))


@pytest.mark.parametrize("name", HOSTILE)
def test_the_console_shows_a_name_as_it_is(name: str) -> None:
    console = TextConsole()
    console.file, console.width = io.StringIO(), 10_000
    table = Table("name", title=name)
    table.add_row(name)
    for shown in (name, table, Text(name), f"wrote {name}"):
        console.print(shown, soft_wrap=True)
    text = console.file.getvalue()
    assert not set(text) & {"\x1b", "\a", "\u202e"}
    for visible in ("[red]a[/]", "[/]", ":smile:", "\\x1b[2J\\x07", "\\u202eabc", "a$b$_"):
        if visible.encode().decode("unicode_escape") == name or visible == name:
            # Once, twice in the table, once, once; Rich itself takes a bell out of a Text.
            assert text.count(visible) == (4 if "\a" in name else 5)


def test_a_step_shows_the_name_of_its_bag(capsys: pytest.CaptureFixture[str]) -> None:
    with step("examining [/]\x1b[2J[red]") as progress:
        progress(1, 2, "remark [/]")


def test_plots_draw_every_name(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-20, 20, (len(NAMES), 4))
    labels = np.arange(len(NAMES), dtype=np.uint8)
    plots.segmentation(points, [(HOSTILE[0], labels)], NAMES, tmp_path / "a.png")
    plots.latencies({name: np.arange(1, 4.0) for name in HOSTILE}, tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        picture = cv2.imread(str(tmp_path / name))
        assert picture is not None and np.ptp(picture) > 0


def test_a_page_holds_names_as_text() -> None:
    view = SweepView(
        np.zeros((len(NAMES), 3)),
        [class_coloring(HOSTILE[5], np.arange(len(NAMES), dtype=np.uint8), NAMES)],
        caption=HOSTILE[5],
    )
    table = html_page.Table(HOSTILE, [HOSTILE], caption=HOSTILE[5])
    section = html_page.Section(HOSTILE[5], "\ud800 ".join(HOSTILE), [table], sweeps=[view])
    page = html_page.render(html_page.Report(HOSTILE[5], [section], lead=HOSTILE[4]))
    page.encode("utf-8")
    assert "alert(1)" in page and "<script>alert" not in page
    assert not set(page) & {"\x1b", "\a", "\u202e"}
    # Three of its own: the sweep's data, three.js and what draws.
    assert page.count("</script>") == 3
