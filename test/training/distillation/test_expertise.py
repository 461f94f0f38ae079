"""Who teaches what, against counts whose scores are known."""

import json
import math

import numpy as np
import pytest

from haskd_ros.errors import InputError
from haskd_training.distillation.expertise import ExpertiseConfig, ExpertiseTable, expertise

CONFIG = ExpertiseConfig(min_scans=3)


def scan(*right, points=100):
    """[C, C + 1] counts of a scan with `points` of each class, of which `right` % are found and the
    rest is given no class; None: the class is not there. Without false positives, IoU = recall."""
    counts = np.zeros((len(right), len(right) + 1), np.int64)
    for c, found in enumerate(right):
        if found is not None:
            counts[c, c], counts[c, -1] = found * points // 100, (100 - found) * points // 100
    return counts


def table(*snapshots, classes=("road", "car"), config=CONFIG):
    """Of snapshots given by their scans."""
    counts = np.array(snapshots)
    names = [f"snapshot-{k + 1}" for k in range(len(counts))]
    return expertise(counts, counts[-1], names, classes, config)


def test_the_expert_is_who_is_surely_better_than_the_last_snapshot():
    # Alike in all scans, so without deviation. Road: 90 % against 80 %; car: all 50 %
    found = table([scan(90, 50)] * 4, [scan(70, 50)] * 4, [scan(80, 50)] * 4)
    assert found.experts == (0, None)
    road, car = found.classes
    assert road.iou == pytest.approx((0.9, 0.7, 0.8))
    assert road.reason == "snapshot-1 leads the last one by 10.0 ± 0.0"
    assert car.reason == "snapshot-1 leads the last one by 0.0 ± 0.0, which is not sure"


def test_a_lead_is_sure_where_all_snapshots_find_the_same_scans_hard():
    # 80, 20, 80 against 75, 15, 75: either is 60 or 55 +- 16 % on three scans, but the lead is 5 %
    # in all of them
    scans = [scan(right) for right in (80, 20, 80)], [scan(right) for right in (75, 15, 75)]
    (road,) = table(*scans, classes=["road"]).classes
    assert road.deviation[0] > 0.1
    assert road.expert == 0
    assert road.reason == "snapshot-1 leads the last one by 5.0 ± 0.0"


def test_a_class_in_too_few_scans_is_taught_by_the_mean_of_all():
    better = [scan(90, 90), scan(90, 90), scan(90, None), scan(90, None)]
    last = [scan(80, 10), scan(80, 10), scan(80, None), scan(80, None)]
    found = table(better, last)
    assert found.experts == (0, None)
    assert found.classes[1].reason == "seen in 2 scans, fewer than 3"
    just_enough = table(better, last, config=ExpertiseConfig(min_scans=2))
    assert just_enough.experts == (0, 0)


def test_deviation_comes_from_resampling_whole_scans():
    # Two scans, all or nothing. Of the resamples 1/4 score 1, 1/2 score 1/2, 1/4 score 0: mean 1/2,
    # deviation sqrt(1/4 * 1/4 + 1/4 * 1/4) = sqrt(1/8). However many points a scan has.
    config = ExpertiseConfig(min_scans=1, resamples=20_000)
    for points in (100, 10_000):
        found = table(
            [scan(100, points=points), scan(0, points=points)], classes=["road"], config=config
        )
        (road,) = found.classes
        assert road.mean[0] == pytest.approx(0.5, abs=0.01)
        assert road.deviation[0] == pytest.approx(math.sqrt(1 / 8), abs=0.01)


def test_a_steady_snapshot_is_preferred_to_one_that_is_better_on_the_whole_but_unsteady():
    # A lead of 30 % +- 35 % has a lower bound of -5 %, below 10 % +- 0
    config = ExpertiseConfig(min_scans=1)
    found = table(
        [scan(100), scan(0)], [scan(30)] * 2, [scan(20)] * 2, classes=["road"], config=config
    )
    assert found.experts == (1,)


def test_a_class_that_no_scan_shows_has_no_scores():
    found = table([scan(90, None)] * 3, [scan(80, None)] * 3)
    car = found.classes[1]
    assert car.expert is None
    assert car.scans == 0
    assert math.isnan(car.iou[0]) and math.isnan(car.mean[0]) and math.isnan(car.expert_iou)


def test_the_same_seed_gives_the_same_table():
    scans = [[scan(90, 10), scan(20, 40), scan(50, 50)], [scan(10, 10), scan(20, 20), scan(5, 5)]]
    assert table(*scans) == table(*scans)
    other = table(*scans, config=ExpertiseConfig(min_scans=3, seed=1))
    assert other.classes[0].mean != table(*scans).classes[0].mean


def test_the_experts_own_score_or_that_of_the_mean_is_what_the_student_is_compared_with():
    counts = np.array([[scan(90, 50)] * 3, [scan(80, 50)] * 3])
    mean = np.array([scan(85, 65)] * 3)
    found = expertise(counts, mean, ["one", "two"], ["road", "car"], CONFIG)
    assert found.expert_iou().tolist() == pytest.approx([0.9, 0.65])


def test_only_snapshots_that_own_a_class_are_loaded():
    owned = table([scan(90, 10)] * 3, [scan(10, 10)] * 3, [scan(10, 90)] * 3, [scan(50, 50)] * 3)
    assert owned.experts == (0, 2)
    assert owned.owners() == [0, 2]
    # Unlabelled points ask the mean of all, and so does a class without an expert
    assert owned.owners(unlabelled=True) == [0, 1, 2, 3]
    assert table([scan(90, 50)] * 3, [scan(80, 50)] * 3).owners() == [0, 1]


def test_random_experts_are_a_function_of_the_seed_and_scored_as_themselves():
    # 20 classes, of which the second of three snapshots knows all
    counts = [[scan(*[percent] * 20)] * 3 for percent in (20, 90, 50)]
    names = [f"class {c}" for c in range(20)]
    chosen = table(*counts, classes=names)
    assert chosen.experts == (1,) * 20
    drawn = chosen.with_random_experts(0)
    assert set(drawn.experts) == {0, 1, 2}
    assert drawn == chosen.with_random_experts(0)
    assert drawn.experts != chosen.with_random_experts(1).experts
    scores = {0: 0.2, 1: 0.9, 2: 0.5}
    assert drawn.expert_iou().tolist() == pytest.approx([scores[k] for k in drawn.experts])
    assert drawn.classes[0].reason == "drawn at random, seed 0"


def test_a_table_survives_json():
    found = table([scan(90, None)] * 3, [scan(80, None)] * 3)
    text = json.dumps(found.to_json(), allow_nan=False)
    again = ExpertiseTable.from_json(json.loads(text))
    assert again.to_json() == found.to_json()
    assert again.classes[0] == found.classes[0]
    assert math.isnan(again.classes[1].iou_of_mean)


def test_the_table_shows_scores_experts_and_reasons():
    # The mean of all is scored with the last snapshot's counts here
    found = table(
        [scan(90, 70, None)] * 3, [scan(80, 75, None)] * 3, classes=["road", "car", "van"]
    )
    assert found.score_rows() == [
        ["road", "3", "90.0 ± 0.0", "80.0 ± 0.0", "80.0"],
        ["car", "3", "70.0 ± 0.0", "75.0 ± 0.0", "75.0"],
        ["van", "0", "-", "-", "-"],
    ]
    assert found.choice_rows() == [
        ["road", "snapshot-1", "snapshot-1 leads the last one by 10.0 ± 0.0"],
        ["car", "mean of all", "snapshot-1, the surest, trails the last one by 5.0 ± 0.0"],
        ["van", "mean of all", "seen in 0 scans, fewer than 3"],
    ]


def test_without_calibration_scans_the_user_is_told():
    with pytest.raises(InputError, match="no labelled sweep to calibrate on"):
        expertise(np.zeros((2, 0, 2, 3)), np.zeros((0, 2, 3)), ["a", "b"], ["c", "d"], CONFIG)


def test_how_often_a_class_must_be_seen_follows_the_number_of_calibration_scans():
    # A tenth of 24, 60, 120, 200 and 1000 sweeps: half of that, but 2 to 20
    least = [ExpertiseConfig().scans_to_be_seen_in(scans) for scans in (2, 6, 12, 20, 100)]
    assert least == [2, 3, 6, 10, 20]
    assert ExpertiseConfig(min_scans=5).scans_to_be_seen_in(100) == 5


def test_six_calibration_scans_are_enough_for_an_expert_by_default():
    # The class is in three of six scans, the other in two: fewer than half.
    better = [scan(90, 90)] * 2 + [scan(90, None)] + [scan(None, None)] * 3
    last = [scan(80, 10)] * 2 + [scan(80, None)] + [scan(None, None)] * 3
    found = table(better, last, config=ExpertiseConfig())
    assert found.experts == (0, None)
    assert found.classes[1].reason == "seen in 2 scans, fewer than 3"
