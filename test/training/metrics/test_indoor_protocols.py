"""The rules of ScanNet and S3DIS, against a few lines of numpy that do what is published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from haskd_training.data.caches.cache import Cache
from haskd_training.data.readers.scannet import reader as scannet
from haskd_training.metrics.confusion import confusion
from haskd_training.metrics.protocols import PROTOCOLS, protocol_iou, protocol_score

NONE = 255
POINTS = 5000


def cases(classes: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(7)
    ids = np.array([*range(classes), NONE], np.uint8)
    true, predicted = random.choice(ids, (2, POINTS))
    some = random.choice(ids[[0, 3, 8, 12, -1]], POINTS)
    return {
        "random": (true, predicted),
        "right": (true, true),
        "classes that are not there": (some, predicted),
        "classes that are not said": (true, some),
        "neither there nor said": (some, random.permutation(some)),
        "all one class": (true, np.full(POINTS, 8, np.uint8)),
        "nothing predicted": (true, np.full(POINTS, NONE, np.uint8)),
        "ignored truth alone": (np.full(POINTS, NONE, np.uint8), predicted),
        "no point": (true[:0], predicted[:0]),
    }


def by_scannet_s_rule(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """[20] IoU of NYU40 ids; NaN where a class is neither there nor said of a counted vertex."""
    valid = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39]
    counted = np.isin(true, valid)
    true, predicted = true[counted], predicted[counted]
    iou = []
    for label in valid:
        right = ((true == label) & (predicted == label)).sum()
        missed, wrong = (true == label).sum() - right, (predicted == label).sum() - right
        every = right + missed + wrong
        iou.append(right / every if every else np.nan)
    return np.array(iou)


@pytest.mark.parametrize("case", cases(20))
def test_scannet_s_iou_is_that_of_its_rule(case):
    true, predicted = cases(20)[case]
    label_map = scannet.READER.load_label_map()
    nyu40 = np.array([*(ids[0] for ids in label_map.ids), *[0] * 236])
    expected = by_scannet_s_rule(nyu40[true], nyu40[predicted])
    found = protocol_iou(confusion(true, predicted, 20), PROTOCOLS["scannet"].rule.absent_iou)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.nan_to_num(np.abs(found - expected)).max() < 1e-9
    if not np.isnan(expected).all():
        assert abs(np.nanmean(found) - np.nanmean(expected)) < 1e-9


@pytest.mark.parametrize("case", cases(13))
def test_s3dis_s_numbers_are_those_of_its_rule(case):
    """True, predicted, and both are counted; a class that is in neither has no IoU."""
    true, predicted = cases(13)[case]
    counted = true != NONE
    true, predicted = true[counted], predicted[counted]
    iou, recall, right = np.full(13, np.nan), [], 0
    for label in range(13):
        in_truth, said = (true == label).sum(), (predicted == label).sum()
        both = ((true == label) & (predicted == label)).sum()
        right += both
        if in_truth + said:
            iou[label] = both / (in_truth + said - both)
        if in_truth:
            recall.append(both / in_truth)
    protocol = PROTOCOLS["s3dis"]
    taxonomy = protocol.reader.load_label_map().taxonomy
    cache = Cache(Path(), taxonomy, 1.0, {}, sweeps=[], images=[], fingerprint="")
    found = protocol_score(protocol, confusion(true, predicted, 13), cache)
    assert np.allclose(found.iou, iou, rtol=0, atol=1e-9, equal_nan=True)
    assert found.miou == pytest.approx(np.nanmean(iou) if len(true) else 0, abs=1e-9)
    assert found.accuracy == pytest.approx(right / max(1, len(true)), abs=1e-9)
    assert found.mean_accuracy == pytest.approx(np.mean(recall) if recall else 0, abs=1e-9)
