"""`haskd evaluate --protocol`: from a data set's files to a benchmark's number."""

from __future__ import annotations

import json

import numpy as np
import pytest
from semantickitti_files import street, write_sequence

from haskd_ros.segmenter import Segmenter
from haskd_training.data.cache import Cache
from haskd_training.learning.inference import label_as_robot

TRAINED_ON = (10, 11, 15, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 70, 71, 72, 80, 81)
"""The id that each of the benchmark's classes has in its files."""

OTHERS = {
    252: 10, 253: 31, 254: 30, 255: 32, 256: 20, 257: 20, 258: 18, 259: 20, 13: 20, 16: 20, 60: 40
}  # fmt: skip


@pytest.fixture
def prepared(haskd, tmp_path):
    """A training and a validation cache."""
    root = tmp_path / "kitti"
    write_sequence(root, "00", scans=10, scan=street)
    write_sequence(root, "08", scans=3, scan=lambda number: street(100 + number))
    for name, sequence in (("train", "00"), ("val", "08")):
        options = ("--reader", "semantickitti", "--sequences", sequence)
        done = haskd("prepare", root, *options, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    return tmp_path


def test_three_commands_lead_to_the_benchmark_s_number(haskd, prepared):
    trained = haskd(
        "baseline", prepared / "train", "--out", prepared / "run",
        "--set", "voxel_size=0.5", "--set", "loop.epochs=2", "--set", "loop.device=cpu",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    model = prepared / "run/model.safetensors"
    done = haskd(
        "evaluate", model, prepared / "val", "--protocol", "semantickitti",
        "--device", "cpu", "--out", prepared / "scores",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "SemanticKITTI's rule" in said and "compares with no published score" in said
    found = json.loads((prepared / "scores/evaluation.json").read_text())["protocol"]
    assert found["sweeps"] == {"08": 3} and found["is_whole_split"] is False
    assert len(found["without_true_points"]) == 16

    segmenter = Segmenter.load(model, device="cpu")
    cache = Cache.open(prepared / "val")
    true, predicted = [], []
    for number in range(3):
        file = prepared / f"kitti/sequences/08/labels/{number:06d}.label"
        raw = np.fromfile(file, "<u4") & 0xFFFF
        true.append([OTHERS.get(label, label) for label in raw.tolist()])
        answers = label_as_robot(segmenter, cache, number).class_id
        predicted.append([TRAINED_ON[said] if said != 255 else 0 for said in answers])
    true, predicted = np.concatenate(true), np.concatenate(predicted)
    counted = np.isin(true, TRAINED_ON)
    iou = []
    for label in TRAINED_ON:
        is_true, is_said = counted & (true == label), counted & (predicted == label)
        iou.append((is_true & is_said).sum() / ((is_true | is_said).sum() + 1e-15))
    assert sum(value > 0 for value in iou) >= 1
    assert np.abs(np.array(list(found["iou"].values())) - iou).max() < 1e-9
    assert abs(found["miou"] - np.mean(iou)) < 1e-9


def test_what_the_rule_does_not_count_is_refused(haskd, prepared, tiny_model, drive_cache):
    rule = ("--protocol", "semantickitti")
    for arguments, said in (
        ((prepared / "val", "--max-range", "50", *rule), "no --max-range"),
        ((prepared / "kitti/sequences/08", *rule), "is a recording; --protocol is for a cache"),
        ((drive_cache, *rule), "has the classes road, road_marking"),
        ((prepared / "val", "--protocol", "kitti"), "there are semantickitti"),
        ((prepared / "val", *rule), "has the classes road, car, building"),
    ):
        done = haskd("evaluate", tiny_model, *arguments)
        assert done.returncode == 2 and said in " ".join(done.stderr.split()), done.stderr
