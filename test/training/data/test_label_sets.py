"""Labels that leave the class open, and sweeps that are taught by labels from images."""

from __future__ import annotations

import numpy as np
import pytest

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.label_sets import LabelSets
from haskd_training.data.caches.point_labels import PointLabels
from haskd_training.data.splits import Split, SplitConfig, make_split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.learning.student import StudentConfig, training_dataset
from small_street import street_cache


def test_a_label_id_is_a_class_or_a_set_of_classes():
    # Of 3 classes: ids 0, 1, 2; then {2, 0}, which is most likely a 2, has id 3.
    sets = LabelSets(3, ((2, 0),))
    assert len(sets) == 4
    assert [sets.members(label) for label in range(4)] == [(0,), (1,), (2,), (2, 0)]
    assert sets.table[3].tolist() == [True, False, True]
    assert not sets.table[255].any()
    assert sets.likeliest(np.array([1, 3, 255], np.uint8)).tolist() == [1, 2, 255]


def test_more_sets_than_ids_are_refused():
    with pytest.raises(InputError, match="there are 255 ids"):
        LabelSets(250, ((0, 1),) * 6)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return Cache.open(street_cache(tmp_path_factory.mktemp("street")))


@pytest.fixture
def unlabelled(labelled):
    return labelled.without_labels(labelled.taxonomy)


@pytest.fixture
def from_images(labelled, tmp_path):
    """Labels of its first sweep alone: the first three points are a 0, a 1, and a 1 or a 0, sure to
    0.5, 0.9 and 0.9; of the others nothing is known."""
    sets = LabelSets(len(labelled.taxonomy), ((1, 0),))
    labels = PointLabels(tmp_path, labelled.taxonomy, sets, {"networks": ["seen.onnx"]})
    row = labelled.sweeps[0]
    ids, confidence = np.full(row.points, 255, np.uint8), np.zeros(row.points)
    ids[:3], confidence[:3] = (0, 1, len(labelled.taxonomy)), (0.5, 0.9, 0.9)
    seen = ids < 255
    labels.write(row.recording, row.stamp_ns, label=ids, confidence=confidence, seen=seen)
    labels.write_index()
    return PointLabels.open(tmp_path)


def test_a_sweep_without_labels_is_taught_by_images(unlabelled, from_images):
    taught = unlabelled.taught_by(from_images.surer_than(0.6))
    sweep, several = taught.sweep(0), len(taught.taxonomy)
    # The first point is not sure enough.
    assert sweep.label_id[:4].tolist() == [255, 1, several, 255]
    assert sweep.label[:4].tolist() == [255, 1, 1, 255]
    assert taught.sweeps[0].class_counts[:3] == [0, 2, 0]
    assert (taught.sweep(1).label == 255).all()
    assert taught.fingerprint != unlabelled.fingerprint
    assert taught.fingerprint != unlabelled.taught_by(from_images.surer_than(0.7)).fingerprint


def test_a_label_by_hand_stays_what_it_is(labelled, from_images):
    taught = labelled.taught_by(from_images)
    assert taught is labelled


def test_a_split_takes_taught_sweeps_for_labelled_ones(unlabelled, from_images):
    taught = unlabelled.taught_by(from_images)
    split = make_split([taught], SplitConfig(calibration=0, validation=0, test=0))
    assert [ref.sweep for ref in split.train] == [0]
    assert split.label_sets == from_images.sets
    assert split.labelled_by_images(split.train) and not split.labelled_by_images(split.unlabelled)
    assert split.image_labels_origin == {"networks": ["seen.onnx"], "min_confidence": 0.0}
    assert split.caches[0].without_labels(taught.taxonomy).sweep(0).label_id.tolist() == [255] * (
        taught.sweeps[0].points
    )


def test_labels_by_hand_are_shown_as_often_as_their_share_asks(labelled, unlabelled, from_images):
    taught = unlabelled.taught_by(from_images)
    hand = [SweepRef(0, 1), SweepRef(0, 2)]
    seen, plain = SweepRef(1, 0), SweepRef(1, 1)
    split = Split([labelled, taught], [*hand, seen], [], [], [], [plain])
    # One of three is from images.
    assert split.repeated(split.train, 0.5) == [*hand, seen]
    # 2 k of 2 k + 1 are at least 0.8 from k = 2 on; what has no labels does not count.
    assert split.repeated([*hand, seen, plain], 0.8) == [*hand, seen, plain, *hand]
    assert split.repeated([*hand, plain], 0.8) == [*hand, plain]
    assert split.repeated([seen, plain], 0.8) == [seen, plain]
    # 2 k of 2 k + 1 are at least 0.9 from k = 4.5 on.
    student = StudentConfig.model_validate({"by_hand": 0.9})
    assert len(training_dataset(split, split.train, student)) == 3 + 4 * len(hand)


def test_labels_of_another_recording_or_other_classes_are_refused(labelled, from_images, tmp_path):
    row = labelled.sweeps[0]
    with pytest.raises(InputError, match=f"for {row.points} points, the sweep has 7"):
        from_images.of(row.recording, row.stamp_ns, 7)
    others = Taxonomy((ClassInfo("sky", (0, 0, 0)), ClassInfo("sea", (0, 0, 9))))
    foreign = PointLabels(from_images.folder, others, LabelSets(2), {})
    with pytest.raises(InputError, match=r"are of the classes sky, sea; .* has "):
        labelled.taught_by(foreign)
    with pytest.raises(InputError, match=r"holds no labels from images: no labels\.json"):
        PointLabels.open(tmp_path / "nothing")
