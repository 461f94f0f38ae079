"""Waymo's rule, against a few lines of numpy that do what its published metric does."""

from __future__ import annotations

import numpy as np
import pytest

from haskd_training.metrics.confusion import confusion
from haskd_training.metrics.protocols import PROTOCOLS, protocol_iou

CLASSES, NONE = 22, 255


def by_the_metric(true: np.ndarray, predicted: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean and [22] IoU; type 0, undefined, is `NONE`, the others are one higher."""
    true, predicted = ((ids.astype(int) + 1) % 256 for ids in (true, predicted))
    table = np.zeros((CLASSES + 1, CLASSES + 1))
    np.add.at(table, (true, predicted), 1)
    iou = np.ones(CLASSES)
    for kind in range(1, CLASSES + 1):
        # A prediction where the truth is undefined is in no union; a missing one is
        union = table[kind].sum() + table[1:, kind].sum() - table[kind, kind]
        if union:
            iou[kind - 1] = table[kind, kind] / union
    return float(iou.mean()), iou


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(11)
    ids = np.array([*range(CLASSES), NONE], np.uint8)
    true, predicted = random.choice(ids, (2, 5000))
    some = random.choice(ids[[0, 6, 13, 17, 22]], 5000)
    return {
        "random": (true, predicted),
        "right": (true, true),
        "right where few classes are": (some, some),
        "classes that are not there": (some, predicted),
        "classes that are not said": (true, some),
        "all one class": (true, np.full(5000, 17, np.uint8)),
        "nothing predicted": (true, np.full(5000, NONE, np.uint8)),
        "undefined truth alone": (np.full(5000, NONE, np.uint8), predicted),
        "no point": (true[:0], predicted[:0]),
    }


@pytest.mark.parametrize("case", cases())
def test_iou_is_that_of_the_metric(case):
    true, predicted = cases()[case]
    mean, expected = by_the_metric(true, predicted)
    counts = confusion(true, predicted, CLASSES)
    found = protocol_iou(counts, PROTOCOLS["waymo"].rule.absent_iou)
    assert np.abs(found - expected).max() < 1e-9
    assert abs(found.mean() - mean) < 1e-9


def test_by_hand():
    # car: 1 right, 1 without a prediction, 1 road taken for one: 1/3. road: 1 right, that missed:
    # 1/2. A sign is said of an undefined point alone: neither there nor predicted, 1, as 19 others.
    true = np.array([0, 0, 17, 17, NONE], np.uint8)
    predicted = np.array([0, NONE, 0, 17, 7], np.uint8)
    found = protocol_iou(confusion(true, predicted, CLASSES), PROTOCOLS["waymo"].rule.absent_iou)
    assert found[[0, 7, 17]].tolist() == [1 / 3, 1, 1 / 2]
    assert found.mean() == pytest.approx((1 / 3 + 1 / 2 + 20) / 22)
