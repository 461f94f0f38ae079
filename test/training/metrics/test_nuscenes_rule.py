"""nuScenes' rule, against a few lines of numpy that do what its published script does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from haskd_training.data.readers.nuscenes.reader import READER
from haskd_training.metrics.confusion import confusion
from haskd_training.metrics.protocols import PROTOCOLS, ProtocolScore, counted, protocol_iou

NONE = 255
NAMES = READER.load_label_map().taxonomy.names


def by_the_script(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """[16] IoU, NaN of a class that is neither there nor predicted. Class 0 of the script is
    `NONE`, the others are one higher; it takes no prediction of 0: such a point is 11 there."""
    true, predicted = ((ids.astype(int) + 1) % 256 for ids in (true, predicted))
    predicted[predicted == 0] = 11
    matrix = np.zeros((17, 17), int)
    np.add.at(matrix, (true, predicted), 1)
    matrix[0, :] = matrix[:, 0] = 0
    right = np.diag(matrix)
    with np.errstate(invalid="ignore"):
        return (right / (matrix.sum(0) + matrix.sum(1) - right))[1:]


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(7)
    ids = np.array([*range(16), NONE], np.uint8)
    true, predicted = random.choice(ids, (2, 5000))
    some = random.choice(ids[[0, 3, 10, 12, 16]], 5000)
    return {
        "random": (true, predicted),
        "right": (true, true),
        "classes that are not there": (some, predicted),
        "classes that are not said": (true, some),
        "neither there nor said": (some, random.permutation(some)),
        "all one class": (true, np.full(5000, 8, np.uint8)),
        "nothing predicted": (true, np.full(5000, NONE, np.uint8)),
        "ignored truth alone": (np.full(5000, NONE, np.uint8), predicted),
        "no point": (true[:0], predicted[:0]),
    }


@pytest.mark.parametrize("case", cases())
def test_iou_is_that_of_the_script(case):
    true, predicted = cases()[case]
    expected = by_the_script(true, predicted)
    rule = PROTOCOLS["nuscenes"].rule
    counts = counted(confusion(true, predicted, 16), rule, NAMES)
    found = protocol_iou(counts, rule.absent_iou)
    assert (np.isnan(found) == np.isnan(expected)).all()
    assert np.nan_to_num(np.abs(found - expected)).max() < 1e-9


def test_by_hand():
    # car (3): 1 right, 1 without a prediction, 1 driveable surface taken for one: 1/3.
    # driveable_surface (10): 1 right, 2 missed, and the car without a prediction counts as it: 1/4.
    # bus (2) is said of a driveable surface, and not there: 0. bicycle (1) is said of an ignored
    # point alone: left out, as the other twelve are.
    true = np.array([3, 3, 10, 10, 10, NONE], np.uint8)
    predicted = np.array([3, NONE, 3, 10, 2, 1], np.uint8)
    rule = PROTOCOLS["nuscenes"].rule
    found = protocol_iou(counted(confusion(true, predicted, 16), rule, NAMES), rule.absent_iou)
    assert found[[2, 3, 10]].tolist() == [0, 1 / 3, 1 / 4]
    assert np.isnan(found).sum() == 13
    assert np.nanmean(found) == pytest.approx((0 + 1 / 3 + 1 / 4) / 3)


def test_a_score_on_less_than_the_split_says_so():
    scenes = READER.names(None, "val")
    sweeps = dict(zip(scenes, [40] * 131 + [41] * 19, strict=True))
    protocol = PROTOCOLS["nuscenes"]
    whole = ProtocolScore(protocol, NAMES, np.zeros(16), 0, 0, (), sweeps)
    assert whole.is_whole_split and whole.notes()[-1] == "the whole split val of nuScenes"
    for part in ({"scene-0103": 40, "scene-0916": 41}, {**sweeps, scenes[0]: 39}):
        assert "compares with no published score" in replace(whole, sweeps=part).notes()[-1]
