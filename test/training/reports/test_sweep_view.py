"""The sweep of a report that is turned with the mouse, as a browser shows it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from browser import browser_path, opened
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.reports.html_page import Report, Section, render, write
from haskd_training.reports.sweep_view import (
    MAX_POINTS,
    SweepView,
    class_coloring,
    disagreement_coloring,
)

MAKEFILE = Path(__file__).resolve().parents[3] / "Makefile"
NAMES = ("road", "car", "building")
ROAD, CAR, BUILDING = (128, 64, 128), (0, 0, 142), (70, 70, 70)
TAXONOMY = Taxonomy(tuple(map(ClassInfo, NAMES, (ROAD, CAR, BUILDING))))
BACKGROUND = (16, 20, 24)
BOTH_RIGHT, ONLY_ALONE_WRONG = (96, 108, 118), (64, 156, 255)

needs_browser = pytest.mark.skipif(
    browser_path() is None, reason="needs Chromium (apt-get install chromium)"
)


def wall() -> SweepView:
    """A wall across the street at x = 8 m, 8 m wide and 4 m high, a point every 5 cm. Its left
    half (y > 0) is a car, its right half a building; a model that takes all of it for a building is
    wrong on the left."""
    y, z = (axis.ravel() for axis in np.mgrid[-4:4:160j, -2:2:80j])
    points = np.column_stack([np.full_like(y, 8.0), y, z, np.zeros_like(y)]).astype(np.float32)
    truth = np.where(y > 0, 1, 2).astype(np.uint8)
    alone = np.full_like(truth, 2)
    colorings = [
        class_coloring("distilled", truth, TAXONOMY),
        class_coloring("labels alone", alone, TAXONOMY),
        disagreement_coloring(truth, ("distilled", truth), ("labels alone", alone)),
    ]
    return SweepView(points, colorings, "a wall, sweep 0.")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    write(Report("A run", [Section("Predictions", sweeps=[wall()])]), path)
    with opened(path.as_uri(), folder / "profile") as page:
        yield page


def halves(page) -> list[tuple[int, ...]]:
    """Colours to the left and to the right of the canvas's middle, where the wall's middle is: the
    first camera looks at the point 8 m ahead of the sensor."""
    pixels = page.pixels("canvas")
    row, column = pixels.shape[0] // 2, pixels.shape[1] // 2
    return [tuple(pixels[row, column + side].tolist()) for side in (-40, 40)]


def pressed(page) -> list[str]:
    return page.run(
        "[...document.querySelectorAll('button[aria-pressed=true]')].map(b => b.innerText)"
    )


def legend(page) -> list[str]:
    return page.run("[...document.querySelectorAll('.legend li')].map(e => e.innerText)")


@needs_browser
def test_the_classes_are_seen_in_their_colours(page):
    assert halves(page) == [CAR, BUILDING]
    seen = {tuple(color) for color in np.unique(page.pixels("canvas").reshape(-1, 3), axis=0)}
    # The focus has been nowhere yet, so nothing but the wall is drawn.
    assert seen == {CAR, BUILDING, BACKGROUND}
    assert pressed(page) == ["1 distilled"]
    assert legend(page) == ["car", "building"]


@needs_browser
def test_buttons_and_keys_choose_what_is_shown(page):
    page.click("button[data-coloring]:nth-of-type(2)")
    assert (halves(page), legend(page)) == ([BUILDING, BUILDING], ["building"])
    page.press("3")
    assert halves(page) == [ONLY_ALONE_WRONG, BOTH_RIGHT]
    assert legend(page) == ["both right", "only labels alone wrong"]
    assert pressed(page) == ["3 disagreement with the labels"]
    page.press("1")
    assert halves(page) == [CAR, BUILDING]


@needs_browser
def test_the_mouse_turns_it_and_a_key_brings_the_first_view_back(page):
    x, y, width, height = page.box("canvas")
    middle = x + width / 2, y + height / 2
    page.drag(middle, (middle[0] + 200, middle[1]))
    turned = page.pixels("canvas")
    page.press("r")
    first = page.pixels("canvas")
    changed = (turned != first).any(2)
    assert changed.sum() > 1000
    # It is seen from further left or right, still in its colours.
    assert {CAR, BUILDING} <= set(map(tuple, np.unique(turned.reshape(-1, 3), axis=0).tolist()))
    assert halves(page) == [CAR, BUILDING]


@needs_browser
def test_the_page_needs_no_network_and_writes_no_errors(page):
    assert page.errors == []
    assert [address.partition(":")[0] for address in page.fetched] == ["file"]


@needs_browser
def test_three_js_is_of_the_version_that_make_three_takes(page):
    (version,) = re.findall(r"^THREE := three@0\.(\d+)\.\d+$", MAKEFILE.read_text(), re.M)
    assert page.run("THREE.REVISION") == version


@needs_browser
def test_without_webgl_a_sentence_stands_there(tmp_path):
    path = tmp_path / "report.html"
    write(Report("A run", [Section("Predictions", sweeps=[wall()])]), path)
    with opened(path.as_uri(), tmp_path / "profile", "--disable-3d-apis") as page:
        assert "does not draw in three dimensions" in page.run("document.body.innerText")
        assert page.run("getComputedStyle(document.querySelector('canvas')).display") == "none"


@given(arrays(np.float32, (7, 3), elements=st.floats(-200, 200, width=32)))
def test_positions_are_true_to_a_64_thousandth_of_the_farthest(points):
    labels = np.zeros(7, np.uint8)
    data = SweepView(points, [class_coloring("true", labels, TAXONOMY)]).data()
    read = np.frombuffer(base64.b64decode(data["positions"]), "<i2").reshape(-1, 3)
    farthest = max(np.abs(points).max(), 1e-3)
    assert np.abs(read * data["metres"] - points).max() <= farthest / 65534 * 1.001


def test_a_legend_has_the_classes_that_occur():
    labels = np.array([2, 255, 2, 0], np.uint8)
    points = np.zeros((4, 3), np.float32)
    (coloring,) = SweepView(points, [class_coloring("true", labels, TAXONOMY)]).data()["colorings"]
    assert [entry["name"] for entry in coloring["palette"]] == ["road", "building", "not labelled"]
    assert list(base64.b64decode(coloring["entries"])) == [1, 2, 1, 0]


def test_each_point_is_told_by_who_is_wrong_about_it():
    # both right, the first wrong, the second wrong, both, not labelled; a point without a
    # prediction (255) is wrong
    truth = np.array([0, 0, 1, 2, 255], np.uint8)
    first = np.array([0, 1, 1, 0, 1], np.uint8)
    second = np.array([0, 0, 255, 1, 1], np.uint8)
    coloring = disagreement_coloring(truth, ("a", first), ("b", second))
    assert [coloring.names[entry] for entry in coloring.entries] == [
        "both right",
        "only a wrong",
        "only b wrong",
        "both wrong",
        "not labelled",
    ]


def test_a_large_sweep_takes_two_megabytes():
    rng = np.random.default_rng(0)
    points = rng.uniform(-80, 80, (3 * MAX_POINTS, 3)).astype(np.float32)
    labels = rng.integers(0, 3, len(points)).astype(np.uint8)
    colorings = [class_coloring(str(number), labels, TAXONOMY) for number in range(4)]
    view = SweepView(points, colorings)
    assert view.data()["points"] == MAX_POINTS
    # 4/3 bytes a letter of base64 for 6 bytes of position and 4 of colour, and three.js
    size = len(render(Report("A run", [Section("Predictions", sweeps=[view])])))
    assert 1.9e6 < size < 2.0e6


def test_the_page_has_the_licence_of_what_is_in_it():
    html = render(Report("A run", [Section("Predictions", sweeps=[wall()])]))
    assert "three.js authors" in html and "Permission is hereby granted" in html
    assert html.count("</script>") == 3  # the sweep's data, three.js, what draws
