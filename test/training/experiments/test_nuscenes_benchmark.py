"""`haskd evaluate --protocol nuscenes` and `haskd submit`: from the data set's files to its
benchmark's number, and to what its server takes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from nuscenes_files import CATEGORIES, START_US, street, token, write_nuscenes

from haskd_ros import model_file
from haskd_ros.models import build
from haskd_ros.node.labelling import label_points
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmenter import Segmenter
from haskd_training.data.readers.nuscenes.reader import READER

RULE = ("--protocol", "nuscenes")
CLASS_OF = {"static.manmade": 15, "vehicle.car": 4, "flat.driveable_surface": 11}
"""The challenge's index of the categories in `street`; 0 for the others."""


def with_a_far_point(number: int):
    points, names = street(number)
    points[5, 1] = 60  # beyond the model's range
    return points, names


@pytest.fixture
def sixteen_classes(tmp_path, tiny_metadata):
    """A model of the challenge's classes with random weights."""
    taxonomy = READER.load_label_map().taxonomy
    metadata = replace(tiny_metadata, taxonomy=taxonomy, max_range=50.0)
    torch.manual_seed(21)
    network = build(metadata.architecture, classes=16, **metadata.arguments)
    with torch.no_grad():
        network.classifier.weight.mul_(20)
        network.classifier.bias.zero_()
    path = tmp_path / "sixteen.safetensors"
    model_file.save(path, network, metadata)
    return path


def test_the_number_is_that_of_the_predictions_that_a_submission_has(
    haskd, tmp_path, sixteen_classes
):
    root, cache, out = (tmp_path / name for name in ("nuscenes", "cache", "submission"))
    write_nuscenes(root, "v1.0-mini", {"scene-0103": 2, "scene-0916": 1}, with_a_far_point)
    part = ("--split", "mini_val")
    assert haskd("prepare", root, "--reader", "nuscenes", *part, "--out", cache).returncode == 0
    device = ("--device", "cpu")
    done = haskd("evaluate", sixteen_classes, cache, *RULE, *device, "--out", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "nuScenes's rule" in said and "compares with no published score" in said
    assert "counts as driveable_surface" in said
    found = json.loads((tmp_path / "scores/evaluation.json").read_text())["protocol"]
    assert found["sweeps"] == {"scene-0103": 2, "scene-0916": 1}
    done = haskd("submit", sixteen_classes, root, *RULE, *part, "--out", out, *device)
    assert done.returncode == 0, done.stderr
    assert "0.25% of them without a prediction" in done.stdout

    files = {file.name: file for file in (root / "lidarseg/v1.0-mini").iterdir()}
    true = [[CLASS_OF.get(CATEGORIES[k], 0) for k in np.fromfile(file, np.uint8)]
            for file in files.values()]  # fmt: skip
    predicted = [np.fromfile(out / "lidarseg/mini_val" / name, np.uint8) for name in files]
    true, predicted = np.concatenate(true), np.concatenate(predicted)
    assert len(true) == len(predicted) == 1200
    counted = true != 0
    iou = {}
    for index, name in enumerate(READER.load_label_map().taxonomy.names, 1):
        is_true, is_said = counted & (true == index), counted & (predicted == index)
        if (is_true | is_said).any():
            iou[name] = (is_true & is_said).sum() / (is_true | is_said).sum()
    assert sum(value > 0 for value in iou.values()) >= 1
    assert {name for name, value in found["iou"].items() if value is not None} == set(iou)
    assert [found["iou"][name] for name in iou] == pytest.approx(list(iou.values()), abs=1e-9)
    assert found["miou"] == pytest.approx(np.mean(list(iou.values())), abs=1e-9)


def test_a_submission_has_a_class_for_every_point_and_its_check_tells_what_is_wrong(
    haskd, tmp_path, sixteen_classes
):
    root, out = tmp_path / "nuscenes", tmp_path / "submission"
    scenes = {"scene-0077": 2, "scene-0078": 2}
    write_nuscenes(root, "v1.0-test", scenes, with_a_far_point, labels=None)
    part = ("--sequences", ",".join(scenes))
    done = haskd("submit", sixteen_classes, root, *RULE, "--out", out, "--device", "cpu", *part)
    assert done.returncode == 0, done.stderr
    names = [
        f"lidarseg/test/{token(scene, number, 'LIDAR_TOP', stamp)}_lidarseg.bin"
        for scene in scenes
        for number in (0, 1)
        for stamp in [START_US + int(scene[6:]) * 20_000_000 + number * 500_000]
    ]
    there = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert there == {*names, "test/submission.json"}
    meta = json.loads((out / "test/submission.json").read_text())["meta"]
    assert meta == {
        "use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False,
        "use_external": False,
    }  # fmt: skip
    segmenter = Segmenter.load(sixteen_classes, device="cpu")
    for name, number in zip(names, (0, 1, 0, 1), strict=True):
        points = with_a_far_point(number)[0][:, :4].astype(np.float32)
        said = label_points(points, 255.0, segmenter, DEFAULTS).class_id
        assert said[5] == 255
        # The challenge's index is one higher than the class's; without a prediction it is 11
        expected = [class_id + 1 if class_id != 255 else 11 for class_id in said.tolist()]
        found = np.fromfile(out / name, np.uint8).tolist()
        assert found == expected and len(set(found)) > 2
    check = ("submit", "--check", out, "--against", root, *RULE, *part)
    checked = haskd(*check)
    assert checked.returncode == 0, checked.stderr
    assert "4 files, one for each sweep" in " ".join(checked.stdout.split())
    # What a model learned from is for its maker to say
    text = json.dumps({"meta": meta | {"use_external": True}})
    (out / "test/submission.json").write_text(text)
    assert haskd(*check).returncode == 0

    (out / names[0]).unlink()
    np.full(399, 11, np.uint8).tofile(out / names[1])
    np.full(400, 0, np.uint8).tofile(out / names[2])
    np.full(400, 17, np.uint8).tofile(out / names[3])
    (out / "lidarseg/test/other_lidarseg.bin").write_bytes(b"\x01")
    (out / "test/submission.json").write_text(text.replace("true", "1"))
    checked = haskd(*check)
    assert checked.returncode == 2
    said = " ".join(checked.stderr.split())
    for line in (
        f"1 of 4 files are missing: {names[0]};",
        f"{names[1]} has 399, 400 expected;",
        f"ids that nuScenes has not: {names[2]} has 0, {names[3]} has 17;",
        'files of another form: test/submission.json (expected { "meta": {',
        "1 files that belong to no sweep: lidarseg/test/other_lidarseg.bin.",
    ):
        assert line in said, line
    (out / "test/submission.json").unlink()
    assert "files are missing: test/submission.json" in " ".join(haskd(*check).stderr.split())


def test_from_scenes_to_the_number_in_three_commands(haskd, tmp_path):
    root = tmp_path / "nuscenes"
    scenes = {"scene-0061": 10, "scene-0103": 2, "scene-0916": 1}
    write_nuscenes(root, "v1.0-mini", scenes, street)
    for name, options in {
        "train": ("--sequences", "scene-0061"),
        "val": ("--split", "mini_val"),
    }.items():
        command = ("prepare", root, "--reader", "nuscenes", *options, "--out", tmp_path / name)
        assert haskd(*command).returncode == 0
    trained = haskd(
        "baseline", tmp_path / "train", "--out", tmp_path / "run",
        "--set", "voxel_size=0.5", "--set", "loop.epochs=2", "--set", "loop.device=cpu",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    model = tmp_path / "run/model.safetensors"
    options = (*RULE, "--device", "cpu", "--out", tmp_path / "scores")
    done = haskd("evaluate", model, tmp_path / "val", *options)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "scores/evaluation.json").read_text())["protocol"]
    assert found["name"] == "nuscenes" and found["is_whole_split"] is False
    assert len(found["without_true_points"]) == 13 and 0 <= found["miou"] <= 1
