"""The store of labels that were made from images."""

from __future__ import annotations

import numpy as np
import pytest

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED, ClassInfo, Taxonomy
from haskd_training.data.caches.label_sets import LabelSets
from haskd_training.data.caches.point_labels import PointLabels, check_classes

TAXONOMY = Taxonomy(tuple(ClassInfo(name, (i, i, i)) for i, name in enumerate(("a", "b", "c"))))
SETS = LabelSets(3, ((2, 0), (1, 2)))
LABEL = np.array([0, 3, 4, UNLABELLED], np.uint8)
CONFIDENCE = np.array([1.0, 0.5, 0.2, 0.0])
SEEN = np.array([True, True, False, True])


@pytest.fixture
def labels(tmp_path):
    made = PointLabels(tmp_path / "labels", TAXONOMY, SETS, {"image_classes": {"name": "two"}})
    made.write("my drive", 17, label=LABEL, confidence=CONFIDENCE, seen=SEEN)
    made.write_index()
    return made


def test_what_is_written_is_read(labels):
    opened = PointLabels.open(labels.folder)
    assert (opened.taxonomy, opened.sets) == (TAXONOMY, SETS)
    assert opened.origin == {"image_classes": {"name": "two"}}
    label, confidence = opened.with_confidence("my drive", 17, 4)
    assert label.tolist() == LABEL.tolist()
    assert np.allclose(confidence, CONFIDENCE, atol=0.5 / 255)
    assert opened.seen("my drive", 17).tolist() == SEEN.tolist()
    assert opened.has("my drive", 17)
    assert not opened.has("my drive", 18)


def test_labels_below_a_confidence_are_left_out(labels):
    surer = PointLabels.open(labels.folder).surer_than(0.4)
    assert surer.of("my drive", 17, 4).tolist() == [0, 3, UNLABELLED, UNLABELLED]
    assert surer.identity != labels.identity


def test_a_set_stands_for_its_classes_and_first_for_its_likeliest():
    assert len(SETS) == 5
    assert [SETS.members(label) for label in range(5)] == [(0,), (1,), (2,), (2, 0), (1, 2)]
    assert SETS.table[3].tolist() == [True, False, True]
    assert not SETS.table[UNLABELLED].any()
    assert SETS.likeliest(LABEL).tolist() == [0, 2, 1, UNLABELLED]
    assert SETS.named(TAXONOMY) == [["c", "a"], ["b", "c"]]


def test_more_sets_than_ids_are_refused():
    with pytest.raises(InputError, match="there are 255 ids"):
        LabelSets(200, tuple((i, i + 1) for i in range(56)))


def test_a_folder_that_is_not_finished_or_not_whole_is_told(labels, tmp_path):
    with pytest.raises(InputError, match="holds no labels from images"):
        PointLabels.open(tmp_path)
    opened = PointLabels.open(labels.folder)
    with pytest.raises(InputError, match="is for 4 points, the sweep has 5"):
        opened.of("my drive", 17, 5)
    path = opened.path("my drive", 17)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged.*run label-images again"):
        opened.seen("my drive", 17)
    index = labels.folder / "labels.json"
    index.write_text(index.read_text().replace("labels-1", "labels-9"))
    with pytest.raises(InputError, match="damaged"):
        PointLabels.open(labels.folder)


def test_classes_of_another_label_map_are_told(labels):
    check_classes(labels, ("a", "b", "c"), "the cache")
    with pytest.raises(InputError, match="the cache has a, c"):
        check_classes(labels, ("a", "c"), "the cache")
