"""What the classes of image networks may stand for."""

from __future__ import annotations

import numpy as np
import pytest

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.image_labels.class_sets import IMAGE_CLASSES, load_image_classes
from haskd_training.recordings.labels import LABEL_MAPS, load_label_map

SHIPPED = {"cityscapes": 19, "ade20k": 150, "mapillary": 66, "coco": 133}

GREY = (128, 128, 128)


def load(folder, text):
    path = folder / "classes.yaml"
    path.write_text(text)
    return load_image_classes(path)


def test_those_that_ship_are_whole():
    found = {path.stem: len(load_image_classes(path.stem)) for path in IMAGE_CLASSES.glob("*.yaml")}
    assert found == SHIPPED


@pytest.mark.parametrize("label_map", sorted(path.stem for path in LABEL_MAPS.glob("*.yaml")))
@pytest.mark.parametrize("classes", SHIPPED)
def test_all_that_ship_fit_all_label_maps_that_ship(classes, label_map):
    taxonomy = load_label_map(label_map).taxonomy
    sets = load_image_classes(classes).sets(taxonomy)
    # No class is left that no pixel may be.
    assert sets.any(0).all()


def test_a_value_stands_for_a_set_of_the_label_maps_classes():
    taxonomy = load_label_map("pandaset").taxonomy
    sets = load_image_classes("cityscapes").sets(taxonomy)
    named = {
        value: {name for name, is_in in zip(taxonomy.names, sets[value]) if is_in}
        for value in range(256)
    }
    assert named[0] == {"road", "road_marking"}
    assert named[13] == {"car", "large_vehicle"}
    assert named[11] == {"person"}
    assert named[10] == named[19] == named[255] == set()  # the sky, no class, unlabelled


def test_ids_are_positions_unless_they_are_given(tmp_path):
    text = "classes: [{name: sky, means: []}, {name: street, id: 7, means: [road]}, "
    classes = load(tmp_path, text + "{name: auto, means: [car]}]")
    assert classes.ids == (0, 7, 2)
    taxonomy = Taxonomy((ClassInfo("car", GREY), ClassInfo("road", GREY)))
    expected = np.zeros((256, 2), bool)
    expected[7, 1] = expected[2, 0] = True
    assert np.array_equal(classes.sets(taxonomy), expected)
    assert np.flatnonzero(classes.named()).tolist() == [0, 2, 7, 255]


def test_a_class_that_the_label_map_lacks_is_named_with_those_it_has(tmp_path):
    classes = load(tmp_path, "classes: [{name: street, means: [road]}]")
    taxonomy = Taxonomy((ClassInfo("car", GREY), ClassInfo("kerb", GREY)))
    with pytest.raises(InputError, match=r"street means 'road'.*lacks; its classes are car, kerb"):
        classes.sets(taxonomy)


WRONG = {
    "names: []": "no 'classes' in it",
    "{classes: [{name: a, means: [road]}], ids: []}": r"unknown keys \['ids'\]; allowed are cl",
    "classes: road": "classes are a list",
    "classes: []": "classes are a list",
    "classes: [{name: 3, means: []}]": "name of class 0 is 3, must be text",
    "classes: [{name: a, color: [], means: [road]}]": r"class a: unknown keys \['color'\]",
    "classes: [{name: a, id: true, means: [road]}]": "id is True, must be a whole number",
    "classes: [{name: a, id: 255, means: [road]}]": "id 255 of a is outside 0 to 254",
    "classes: [{name: a, means: road}]": "means is 'road', must be a list",
    "classes: [{name: a}]": "means is None, must be a list",
    "classes: [{name: a, means: [road, road]}]": "a class stands twice in 'means' of a",
    "classes: [{name: a, means: []}, {name: a, means: [road]}]": "class 'a' stands twice",
    "classes: [{name: a, id: 1, means: []}, {name: b, means: [road]}]": "id 1 stands twice",
    "classes: [{name: a, means: []}]": "no class of them means anything",
    "classes: [{": "can't be read",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_file_that_is_wrong_is_refused_with_what_is_wrong(text, tmp_path):
    with pytest.raises(InputError, match=WRONG[text]):
        load(tmp_path, text)


def test_a_name_that_does_not_ship_is_answered_with_those_that_do():
    with pytest.raises(InputError, match="those that ship are ade20k, cityscapes, coco, mapillary"):
        load_image_classes("cityscape")
