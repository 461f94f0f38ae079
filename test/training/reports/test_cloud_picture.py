"""The picture of a labelled cloud, by its pixels."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.reports import plots


@pytest.mark.parametrize("labellings", [1, 2])
@pytest.mark.parametrize("length", [14, 40])
def test_every_class_of_the_cloud_is_in_the_legend(tmp_path, length, labellings):
    # 11 classes of colours that nothing else has, and a point of each that is too far away to be
    # drawn: whatever has such a colour belongs to the legend.
    colors = [(250 - 20 * k, 20 * k, 77) for k in range(11)]
    names = [f"{k:_>{length}}" for k in range(11)]
    taxonomy = Taxonomy(tuple(map(ClassInfo, names, colors)))
    labelling = ("title", np.arange(11, dtype=np.uint8))
    points = np.tile(np.float32([500, 0, 0]), (11, 1))
    plots.segmentation(points, [labelling] * labellings, taxonomy, tmp_path / "a.png")
    pixels = np.round(255 * matplotlib.image.imread(tmp_path / "a.png")[..., :3])
    for color in colors:
        assert (np.abs(pixels - color).max(-1) < 2).any(), color
    # Nothing is cut off at the sides: these are of the background alone, #101418.
    sides = np.concatenate([pixels[:, :3], pixels[:, -3:]], axis=1)
    assert np.abs(sides - (16, 20, 24)).max() < 2
