"""The legend below a picture."""

from __future__ import annotations

import numpy as np

from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.data.preparing.legend_strip import class_entries, with_legend

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
TAXONOMY = Taxonomy((ClassInfo("road", RED), ClassInfo("car", GREEN), ClassInfo("person", BLUE)))


def swatches(picture: np.ndarray, color: tuple[int, ...]) -> int:
    """Pixels of exactly that colour; a swatch has 12 x 12."""
    return int((picture == color).all(-1).sum())


def test_the_classes_that_occur_stand_below_the_picture_in_their_colours() -> None:
    entries = class_entries(TAXONOMY, np.array([2, 0, 0, 255], np.uint8))
    assert entries == [("road", RED), ("person", BLUE), ("not labelled", (75, 75, 75))]
    picture = np.zeros((50, 300, 3), np.uint8)
    shown = with_legend(picture, entries)
    assert shown.shape == (50 + 22, 300, 3)
    assert np.array_equal(shown[:50], picture)
    assert [swatches(shown[50:], color) for color in (RED, GREEN, BLUE)] == [144, 0, 144]


def test_a_narrow_picture_gets_several_lines() -> None:
    shown = with_legend(np.zeros((10, 90, 3), np.uint8), class_entries(TAXONOMY, np.arange(3)))
    assert shown.shape[0] == 10 + 3 * 22
    assert [swatches(shown[10:], color) for color in (RED, GREEN, BLUE)] == [144] * 3
