"""`haskd evaluate --protocol`, `haskd submit`: from a data set's files to a benchmark's number, and
to what its server takes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from semantickitti_files import street, write_sequence

from haskd_ros import model_file
from haskd_ros.models import build
from haskd_ros.node.labelling import label_points
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmenter import Segmenter
from haskd_training.data.caches.cache import Cache
from haskd_training.data.readers.semantickitti import READER
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


@pytest.fixture
def nineteen_classes(tmp_path, tiny_metadata):
    """A model of the benchmark's classes with random weights."""
    taxonomy = READER.load_label_map().taxonomy
    metadata = replace(tiny_metadata, taxonomy=taxonomy, max_range=50.0)
    torch.manual_seed(21)
    network = build(metadata.architecture, classes=19, **metadata.arguments)
    with torch.no_grad():
        network.classifier.weight.mul_(20)
        network.classifier.bias.zero_()
    path = tmp_path / "nineteen.safetensors"
    model_file.save(path, network, metadata)
    return path


def with_a_far_point(number: int):
    points, labels = street(number)
    points[5, 0] = 60  # beyond the model's range
    return points, labels


def test_a_submission_has_an_id_for_every_point_and_its_check_tells_what_is_wrong(
    haskd, tmp_path, nineteen_classes
):
    root, out = tmp_path / "kitti", tmp_path / "submission"
    for sequence in ("11", "12"):
        write_sequence(root, sequence, scans=2, scan=with_a_far_point, labelled=False)
    part = ("--sequences", "11,12")
    done = haskd("submit", nineteen_classes, root, "--out", out, "--device", "cpu", *part)
    assert done.returncode == 0, done.stderr
    assert "4 sweeps, 1,600 points, 0.25% of them without a prediction" in done.stdout
    files = sorted(out.rglob("*.label"))
    assert [str(file.relative_to(out)) for file in files] == [
        f"sequences/{sequence}/predictions/00000{number}.label"
        for sequence in ("11", "12")
        for number in (0, 1)
    ]
    segmenter = Segmenter.load(nineteen_classes, device="cpu")
    for file, number in zip(files, (0, 1, 0, 1), strict=True):
        points = with_a_far_point(number)[0].astype(np.float32)
        said = label_points(points, 1.0, segmenter, DEFAULTS).class_id
        expected = [TRAINED_ON[class_id] if class_id != 255 else 0 for class_id in said]
        found = np.fromfile(file, "<u4").tolist()
        assert found == expected
        assert found[5] == 0 and len(set(found)) > 2
    checked = haskd("submit", "--check", out, "--against", root, *part)
    assert checked.returncode == 0, checked.stderr
    assert "4 files, one for each sweep" in " ".join(checked.stdout.split())

    files[0].unlink()
    np.full(399, 40, "<u4").tofile(files[1])
    np.full(400, 98, "<u4").tofile(files[2])
    np.full(400, 40, "<u4").tofile(files[3].with_stem("000002"))
    checked = haskd("submit", "--check", out, "--against", root, *part)
    assert checked.returncode == 2
    said = " ".join(checked.stderr.split())
    for line in (
        "1 of 4 files are missing: sequences/11/predictions/000000.label;",
        "sequences/11/predictions/000001.label has 399, 400 expected;",
        "ids that SemanticKITTI has not: sequences/12/predictions/000000.label has 98;",
        "1 files that belong to no sweep: sequences/12/predictions/000002.label.",
    ):
        assert line in said, line


def test_a_submission_needs_the_benchmark_s_classes_and_a_new_folder(
    haskd, tmp_path, tiny_model, nineteen_classes
):
    root = tmp_path / "kitti"
    write_sequence(root, "11", scans=1, labelled=False)
    part = ("--sequences", "11")
    for arguments, said in (
        ((tiny_model, root, "--out", tmp_path / "new"), "has the classes road, car, building"),
        ((nineteen_classes, root, "--out", root), "exists already"),
        ((nineteen_classes, root), "--out are needed"),
        (("--check", tmp_path), "needs --against ROOT"),
    ):
        done = haskd("submit", *arguments, *part)
        assert done.returncode == 2 and said in " ".join(done.stderr.split()), done.stderr
    assert not (tmp_path / "new").exists()
