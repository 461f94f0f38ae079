"""The benchmark by drive: folds, and a table whose numbers can be worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from painted_wall import wall_cache
from small_run import METHOD as SETTINGS
from small_run import quiet

from haskd_ros.errors import InputError
from haskd_training.core.settings import load_settings
from haskd_training.data.corruptions import CORRUPTIONS
from haskd_training.evaluation.temperature import reliability
from haskd_training.evaluation.trust import LEVELS, Trust
from haskd_training.experiments.ablation_rows import LABELS, LABELS_WHOLE, METHOD, labels_with
from haskd_training.experiments.drives import Drive, DriveBenchmarkConfig, benchmark_drives, fold_of
from haskd_training.experiments.drives_table import markdown, summarise, write

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("two_levels")]


def settings(*assignments: str) -> DriveBenchmarkConfig:
    given = [f"method.{setting}" for setting in SETTINGS]
    config = load_settings(DriveBenchmarkConfig, None, [*given, "seeds=[0]", *assignments])
    return config.model_copy(update={"rows": {}})


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    """Five drives along one wall, of 3 to 7 sweeps."""
    folder = tmp_path_factory.mktemp("drives")
    found = []
    for number in range(5):
        cache = wall_cache(folder / f"drive{number}", 3 + number, points=60, bright_posters=True)
        rows = [replace(row, recording=f"drive{number}") for row in cache.sweeps]
        images = [replace(row, recording=f"drive{number}") for row in cache.images]
        found.append(replace(cache, sweeps=rows, images=images))
    return found


def test_a_fold_is_tested_by_what_the_other_drives_taught(drives):
    split = fold_of(drives, [1, 2], settings())
    recordings = {
        role: {split.row(ref).recording for ref in getattr(split, role)}
        for role in ("train", "calibration", "validation", "test")
    }
    assert recordings["test"] == {"drive1", "drive2"}
    assert len(split.test) == 4 + 5
    others = {"drive0", "drive3", "drive4"}
    assert all(found <= others for role, found in recordings.items() if role != "test")
    # Nothing more is held back for testing: 3 + 6 + 7 sweeps have the other three roles.
    assert sum(len(getattr(split, role)) for role in ("train", "calibration", "validation")) == 16


def test_each_drive_is_tested_once_and_nothing_is_done_twice(drives, tmp_path):
    config = settings("folds=2", "method.student.loop.epochs=1")
    found = benchmark_drives(drives, tmp_path, config, quiet)
    assert [(drive.name, drive.fold) for drive in found] == [
        ("drive0", 0), ("drive1", 0), ("drive2", 0), ("drive3", 1), ("drive4", 1),
    ]  # fmt: skip
    for number, drive in enumerate(found):
        assert list(drive.counts) == [LABELS, LABELS_WHOLE]
        assert drive.counts[LABELS].shape == (1, 2, 3)
        assert drive.counts[LABELS].sum() == 60 * (3 + number)
        (trust,) = drive.trust[LABELS]
        assert trust.entropy.sum() == trust.reliability.count.sum() == 60 * (3 + number)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again = benchmark_drives(drives, tmp_path, config, quiet)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == files
    assert np.array_equal(again[4].counts[LABELS], found[4].counts[LABELS])
    summary = summarise(found, drives[0].taxonomy.names, config)
    write(summary, tmp_path / "results")
    assert json.loads((tmp_path / "results" / "drives.json").read_text()) == summary


def test_a_row_is_scored_again_with_a_memory_of_the_sweeps_before(drives, tmp_path):
    config = settings("folds=2", "method.student.loop.epochs=1", f"controls=['{LABELS_WHOLE}']")
    config = config.model_copy(update={"remembering": (LABELS_WHOLE,)})
    found = benchmark_drives(drives[:3], tmp_path, config, quiet)
    remembering = f"{LABELS_WHOLE}, remembering"
    for number, drive in enumerate(found):
        assert list(drive.counts) == [LABELS_WHOLE, remembering]
        assert drive.counts[remembering].shape == drive.counts[LABELS_WHOLE].shape
        assert drive.counts[remembering].sum() == 60 * (3 + number)
        (trust,) = drive.trust[remembering]
        assert trust.reliability.count.sum() == 60 * (3 + number)
    # So short a memory is none.
    config = config.model_copy(update={"half_life": 1e-3})
    for drive in benchmark_drives(drives[:3], tmp_path, config, quiet):
        assert np.array_equal(drive.counts[remembering], drive.counts[LABELS_WHOLE])
    with pytest.raises(InputError, match="no row 'a row'; rows are labels alone"):
        config = config.model_copy(update={"remembering": ("a row",)})
        benchmark_drives(drives[:3], tmp_path, config, quiet)


def test_rows_on_labels_alone_have_settings_of_their_own(drives, tmp_path):
    row = labels_with("dark")
    config = settings("folds=2", "method.student.loop.epochs=1", f"controls=['{LABELS_WHOLE}']")
    other = {"dark": {"student": {"augmentation": {"no_intensity": 1.0}}}}
    config = config.model_copy(update={"labels_with": other, "corrupted": (LABELS_WHOLE, row)})
    found = benchmark_drives(drives[:3], tmp_path, config, quiet)
    for number, drive in enumerate(found):
        assert list(drive.counts) == [LABELS_WHOLE, row]
        assert set(drive.corrupted) == set(CORRUPTIONS)
        # Nothing but its own sweeps, and all of them
        assert drive.corrupted["no intensity"][row].sum() == 60 * (3 + number)
    summary = summarise(found, drives[0].taxonomy.names, config)
    assert list(summary["over"]) == [LABELS_WHOLE]
    assert "| no intensity |" in markdown(summary)


def test_a_row_out_of_fold_is_calibrated_and_holds_nothing_back(drives, tmp_path):
    row = labels_with("out of fold")
    config = settings("folds=2", "method.student.loop.epochs=1", f"controls=['{LABELS_WHOLE}']")
    folds = {"student": {"split": {"folds": 2}}}
    config = config.model_copy(
        update={
            "labels_with": {"out of fold": folds},
            "rows": {
                "ASD out of fold": folds
                | {"distillation": {"teacher": "none", "unlabelled": False}}
            },
        }
    )
    found = benchmark_drives(drives[:3], tmp_path, config, quiet)
    for drive in found:
        # The same network on the same labels, whose probabilities are another matter
        assert np.array_equal(drive.counts[row], drive.counts[LABELS_WHOLE])
        (plain,), (calibrated,) = drive.trust[LABELS_WHOLE], drive.trust[row]
        (taught,) = drive.trust["ASD out of fold"]
        probability = taught.reliability.probability
        assert not np.array_equal(probability, calibrated.reliability.probability, equal_nan=True)
        assert plain.reliability.count.sum() == calibrated.reliability.count.sum()
        assert not np.array_equal(plain.reliability.count, calibrated.reliability.count)


def test_drives_that_can_t_be_told_apart_or_cut_into_folds_are_refused(drives, tmp_path):
    with pytest.raises(InputError, match="5 drives are too few for 6 folds"):
        benchmark_drives(drives, tmp_path, settings("folds=6"), quiet)
    with pytest.raises(InputError, match="several caches have the same name"):
        benchmark_drives([drives[0], *drives], tmp_path, settings(), quiet)


def counts_of(right):
    """[2, 3] of two classes with 100 points each: `right` of the first, all of the second."""
    return np.array([[[right, 100 - right, 0], [0, 100, 0]]])


def trust_of(probability, right):
    correct = np.arange(100) < right
    entropy = np.zeros((2, LEVELS), np.int64)
    entropy[1, 0], entropy[0, 50] = right, 100 - right
    return [Trust(reliability(np.full(100, probability), correct), entropy)]


def test_the_table_s_numbers_are_those_worked_out_by_hand():
    # First class: 50 of 100 are right, the others taken for the second, whose IoU is 100 / 150.
    found = [
        Drive(
            name, fold,
            {LABELS: counts_of(plain), METHOD: counts_of(better)},
            {"fog": {LABELS: counts_of(0)}},
            {LABELS: trust_of(0.9, plain)},
        )
        for name, fold, plain, better in (("a", 0, 50, 100), ("b", 1, 0, 50))
    ]  # fmt: skip
    summary = summarise(found, ["wall", "poster"], settings())
    rows = summary["rows"]
    half = (0.5 + 100 / 150) / 2
    none = (0 + 100 / 200) / 2
    assert rows[LABELS]["miou_by_drive"] == [pytest.approx([half]), pytest.approx([none])]
    # Together 50 of 200, and 200 of 350.
    assert rows[LABELS]["miou_pooled"] == pytest.approx([(50 / 200 + 200 / 350) / 2])
    assert rows[LABELS]["accuracy_by_drive"] == [[0.75], [0.5]]
    # 0.9 is said of 100 points each, 50 and none of which are right.
    assert rows[LABELS]["calibration_error"] == pytest.approx([0.9 - 0.25])
    assert rows[LABELS]["calibration_error_by_drive"] == [
        pytest.approx([0.4]), pytest.approx([0.9]),
    ]  # fmt: skip
    assert rows[LABELS]["error_auroc"] == [1.0]
    assert rows[METHOD]["calibration_error"] == rows[METHOD]["error_auroc"] == []
    gain = summary["over"][LABELS][METHOD]
    assert gain["by_drive"] == pytest.approx([1 - half, half - none])
    assert gain["mean"][0] == pytest.approx((1 - none) / 2)
    assert summary["over"][METHOD][LABELS] == gain
    page = markdown(summary)
    assert "Tested together, by what the others taught: a; b." in page
    assert "One seed alone says nothing of seeds" in page
    # All is said with 0.9, and 50 of 200 points are right.
    at_least = "100.0 | 25.0 | 100.0 | 25.0"
    assert f"| labels alone | 41.1 | 41.7 | 25.0 | 62.5 | 65.0 | 100.0 | {at_least} |" in page
    # 150 of 200, and 200 of 250.
    assert "| HAS-KD | 77.5 | 79.2 | 58.3 | 87.5 | - | - | - | - | - | - |" in page
    assert "| HAS-KD | +37.5 |" in page
    assert "| clouds | labels alone |" in page
    # None of the first class is right, and 100 of 200 points taken for the second are.
    assert "| fog | 25.0 |" in page


def test_entropy_tells_wrong_from_right():
    entropy = np.zeros((2, LEVELS), np.int64)
    entropy[1, :3] = 2, 1, 1
    entropy[0, 1:4] = 1, 0, 1
    nothing = reliability(np.zeros(0), np.zeros(0, bool))
    # The wrong one at level 1 is above 2 right ones and ties with 1: 2.5 of 4; that at 3 above all.
    assert Trust(nothing, entropy).error_auroc == pytest.approx((2.5 + 4) / 8)
    assert np.isnan(Trust(nothing, np.zeros((2, LEVELS), np.int64)).error_auroc)
