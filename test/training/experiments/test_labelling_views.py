"""`--views`: several copies of a cloud, by the commands that label at leisure."""

from __future__ import annotations

import json

import numpy as np
import yard

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.segmenter import Segmenter
from haskd_training.recordings.readers.bag import open_bag
from haskd_training.robot.offline.segment_bag import SEGMENTATION


def test_a_recording_is_labelled_by_the_mean_of_its_views(haskd, tiny_model, tmp_path):
    bag = yard.record(tmp_path / "yard", clouds=1)
    done = haskd("segment", tiny_model, bag, "--out", tmp_path / "labelled", "--views", 4)
    assert done.returncode == 0, done.stderr
    with open_bag(tmp_path / "labelled") as labelled:
        (cloud,) = (read_points(message) for _, message in labelled.messages([SEGMENTATION]))
    rows = yard.points()
    points = np.stack([rows[name] for name in ("x", "y", "z", "intensity")], 1)
    for views, equal in ((4, True), (1, False)):
        segmenter = Segmenter.load(tiny_model, device="cpu", views=views)
        expected = segmenter(points, intensity_scale=255.0)
        assert np.array_equal(cloud["probability"], expected.probability) is equal
    refused = haskd("segment", tiny_model, bag, "--out", tmp_path / "none", "--views", 0)
    assert refused.returncode == 2 and "0 views of a cloud; wanted 1 to 64" in refused.stderr


def test_a_score_says_of_how_many_views_it_is(haskd, tiny_model, tmp_path):
    bag = yard.record(tmp_path / "yard", clouds=1)
    labels = tmp_path / "labels.yaml"
    labels.write_text(
        "classes:\n"
        "  - {name: road, color: [1, 1, 1], ids: [1]}\n"
        "  - {name: car, color: [2, 2, 2], ids: [3], movable: true}\n"
        "  - {name: building, color: [3, 3, 3], ids: [2]}\n"
        "field: label\n"
    )
    given = ("evaluate", tiny_model, bag, "--labels", labels)
    done = haskd(*given, "--views", 3, "--out", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    assert "the mean of 3 views of each cloud" in " ".join(done.stdout.split())
    assert json.loads((tmp_path / "scores/evaluation.json").read_text())["views"] == 3
    once = haskd(*given)
    assert "views" not in once.stdout
