"""SemanticKITTI's rule, against a few lines of numpy that do what its published script does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from haskd_training.data.readers.interface import PublishedSplit, names_digest
from haskd_training.data.readers.semantickitti import READER
from haskd_training.metrics.confusion import confusion
from haskd_training.metrics.protocols import (
    PROTOCOLS,
    ProtocolScore,
    counted,
    protocol_iou,
)

NONE = 255


def by_the_script(true: np.ndarray, predicted: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean and [19] IoU; class 0 of the script is `NONE`, the others are one higher."""
    true, predicted = ((ids.astype(int) + 1) % 256 for ids in (true, predicted))
    iou = []
    for class_id in range(1, 20):
        is_true, is_said = true == class_id, (predicted == class_id) & (true != 0)
        iou.append((is_true & is_said).sum() / ((is_true | is_said).sum() + 1e-15))
    return float(np.mean(iou)), np.array(iou)


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(7)
    ids = np.array([*range(19), NONE], np.uint8)
    true, predicted = random.choice(ids, (2, 5000))
    some = random.choice(ids[[0, 3, 8, 12, 19]], 5000)
    return {
        "random": (true, predicted),
        "right": (true, true),
        "classes that are not there": (some, predicted),
        "classes that are not said": (true, some),
        "all one class": (true, np.full(5000, 8, np.uint8)),
        "nothing predicted": (true, np.full(5000, NONE, np.uint8)),
        "ignored truth alone": (np.full(5000, NONE, np.uint8), predicted),
        "no point": (true[:0], predicted[:0]),
    }


@pytest.mark.parametrize("case", cases())
def test_iou_is_that_of_the_script(case):
    true, predicted = cases()[case]
    mean, expected = by_the_script(true, predicted)
    found = protocol_iou(confusion(true, predicted, 19), PROTOCOLS["semantickitti"].rule.absent_iou)
    assert np.abs(found - expected).max() < 1e-9
    assert abs(found.mean() - mean) < 1e-9


def test_by_hand():
    # car: 1 right, 1 missed without a prediction, 1 road taken for one: 1/3. road: 1 right, that
    # one missed: 1/2. bicycle is said of an ignored point alone: not there, 0.
    true = np.array([0, 0, 8, 8, NONE], np.uint8)
    predicted = np.array([0, NONE, 0, 8, 1], np.uint8)
    found = protocol_iou(confusion(true, predicted, 19), 0.0)
    assert found[[0, 1, 8]].tolist() == [1 / 3, 0, 1 / 2]
    assert found.mean() == pytest.approx((1 / 3 + 1 / 2) / 19)


def test_points_without_a_prediction_count_as_the_class_that_a_rule_names():
    counts = np.array([[4, 1, 2], [0, 3, 5]])
    assert (counted(counts, READER.rule, ("a", "b")) == counts).all()
    rule = replace(READER.rule, unlabelled="b")
    assert counted(counts, rule, ("a", "b")).tolist() == [[4, 3, 0], [0, 8, 0]]


def test_a_score_on_less_than_the_split_says_so():
    names = READER.load_label_map().taxonomy.names
    protocol = PROTOCOLS["semantickitti"]
    whole = ProtocolScore(protocol, names, np.zeros(19), 0, 0, ("truck",), {"08": 4071})
    assert whole.is_whole_split
    assert whole.notes()[1:] == [
        "without a true point: truck", "the whole split val of SemanticKITTI"
    ]  # fmt: skip
    for sweeps in ({"08": 4070}, {"00": 4541, "08": 4071}, {"00": 4541}):
        part = replace(whole, sweeps=sweeps)
        assert not part.is_whole_split
        assert "compares with no published score" in part.notes()[-1]


def test_where_drives_are_many_a_split_is_told_by_their_names():
    names = [f"room_{number}" for number in range(3)]
    reader = replace(READER, splits={"val": PublishedSplit(3, 3, names_digest(names))})
    protocol = replace(PROTOCOLS["semantickitti"], reader=reader)
    sweeps = dict.fromkeys(reversed(names), 1)
    whole = ProtocolScore(protocol, ("a", "b"), np.zeros(2), 0, 0, (), sweeps)
    assert whole.is_whole_split
    other = dict.fromkeys(["room_0", "room_1", "room_4"], 1)
    assert not replace(whole, sweeps=other).is_whole_split
