"""The table of what a class's things can't be."""

from __future__ import annotations

import re

import numpy as np
import pytest

from haskd_ros.errors import InputError
from haskd_training.image_labels.shapes import load_shapes

MAP = """\
classes:
  - {{name: road, color: [1, 1, 1], ids: [1], shape: {{ground: true}}}}
  - {{name: car, color: [2, 2, 2], ids: [2], shape: {car}}}
  - {{name: house, color: [3, 3, 3], ids: [3], shape: {{reaches: 3}}}}
  - {{name: thing, color: [4, 4, 4], ids: [4]{thing}}}
ignore: [0]
"""


def write(folder, car="{up_to: 1.95}", thing=", rest: true"):
    path = folder / "map.yaml"
    path.write_text(MAP.format(car=car, thing=thing))
    return path


def test_shapes_are_read_from_the_label_map(tmp_path):
    shapes = load_shapes(write(tmp_path))
    assert shapes.ground.tolist() == [True, False, False, False]
    assert shapes.up_to.tolist() == [np.inf, 1.95, np.inf, np.inf]
    assert shapes.reaches.tolist() == [0, 0, 3, 0]
    assert shapes.wide_up_to.tolist() == [np.inf] * 4
    assert load_shapes(write(tmp_path, "{wide_up_to: 2}")).wide_up_to[1] == 2
    assert shapes.rest == 3
    assert load_shapes(write(tmp_path, thing="")).rest is None


@pytest.mark.parametrize("name", ["pandaset", "semantickitti", "simulation"])
def test_label_maps_that_ship_have_shapes(name):
    shapes = load_shapes(name)
    # road, road_marking, sidewalk; cars, large vehicles, two-wheelers, persons; other_static
    assert shapes.ground[:3].tolist() == [True] * 3
    assert np.isfinite(shapes.up_to).sum() == 4
    # traffic_object
    assert np.flatnonzero(np.isfinite(shapes.wide_up_to)).tolist() == [9]
    assert shapes.rest == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"car": "{up_too: 2}"}, "unknown keys"),
        ({"car": "{up_to: -1}"}, "up_to is -1, must be m above 0"),
        ({"car": "{wide_up_to: wide}"}, "wide_up_to is 'wide', must be m above 0"),
        ({"car": "{reaches: true}"}, "reaches is True, must be m above 0"),
        ({"car": "{ground: 1}"}, "ground is 1, must be true or false"),
        ({"car": "flat"}, "shape of car is 'flat', must be {ground, up_to, reaches, wide_up_to}"),
        ({"thing": ", rest: yes please"}, "rest of thing is 'yes please', must be true or false"),
        ({"car": "{up_to: 2}, rest: true"}, "car, thing are all the 'rest'"),
    ],
)
def test_a_wrong_shape_is_told(changes, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        load_shapes(write(tmp_path, **changes))
    assert "\n" not in str(error.value)
