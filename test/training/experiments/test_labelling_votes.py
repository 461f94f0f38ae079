"""`--votes`: what other clouds say of a place, by the commands that label a recording."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest
import yard
from several_sweeps import several_sweep_model

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.segmenter import Segmenter
from haskd_training.core.checked_json import write_json
from haskd_training.recordings.readers.bag import open_bag
from haskd_training.robot.offline.score_votes import Heard
from haskd_training.robot.offline.segment_bag import SEGMENTATION

CLOUDS = 4
LABELS = """\
classes:
  - {name: road, color: [1, 1, 1], ids: [1]}
  - {name: car, color: [2, 2, 2], ids: [3], movable: true}
  - {name: building, color: [3, 3, 3], ids: [2]}
field: label
"""


def rows(number: int) -> np.ndarray:
    """400 points all around in 300 voxels, within 2 cm of their centres, each cloud seen from 0.5 m
    further along x of odom. Each cloud is brighter than the one before."""
    random = np.random.default_rng(0)
    voxels = random.integers(-100, 100, (300, 3))
    centres = np.concatenate([voxels, voxels[:100]]) * 0.2 + 0.1
    points = np.zeros(400, yard.POINT)
    jitter = random.uniform(-0.02, 0.02, (400, 3))
    for axis, column in zip("xyz", (centres + jitter - [0.5 * number, 0, 2]).T):
        points[axis] = column
    points["intensity"] = random.uniform(0, 150, 400) + 25 * number
    points["label"] = random.integers(1, 4, 400)
    return points


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return yard.record(tmp_path_factory.mktemp("votes"), clouds=CLOUDS, rows=rows)


def labelled(out) -> list[np.ndarray]:
    with open_bag(out) as recording:
        return [read_points(message) for _, message in recording.messages([SEGMENTATION])]


def expected(model, views: int, within: int) -> list[np.ndarray]:
    """Probabilities [N, 3] of each cloud, of which those up to `within` periods away vote."""
    said, votes = [], []
    for number in range(CLOUDS):
        points, heard = rows(number), Heard()
        columns = np.stack([points[name] for name in ("x", "y", "z", "intensity")], 1)
        Segmenter.load(model, device="cpu", views=views)(columns, intensity_scale=255, refine=heard)
        at = np.add(columns[:, :3], [0.5 * number, 0, 2])
        voxels = [tuple(voxel) for voxel in np.floor(at / 0.2).astype(int).tolist()]
        own, in_voxel = heard.probabilities.numpy(), defaultdict(list)
        for voxel, scores in zip(voxels, own):
            if scores.argmax() != 1:
                in_voxel[voxel].append(scores)
        said.append((voxels, own))
        votes.append({voxel: np.mean(all_, 0) for voxel, all_ in in_voxel.items()})
    found = []
    for number, (voxels, own) in enumerate(said):
        result = own.copy()
        for row, voxel in zip(result, voxels):
            if row.argmax() != 1:
                for other in range(number - within, number + within + 1):
                    if other != number and 0 <= other < CLOUDS:
                        row += 0.5 * votes[other].get(voxel, 0)
        found.append(result / result.sum(1, keepdims=True))
    return found


@pytest.mark.parametrize(("seconds", "within", "views"), [(1, 3, 1), (0.1, 1, 1), (1, 3, 2)])
def test_a_recording_is_labelled_with_what_clouds_around_each_say(
    haskd, tiny_model, bag, tmp_path, seconds, within, views
):
    given = ("segment", tiny_model, bag, "--votes", seconds, "--views", views)
    done = haskd(*given, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert f"4 clouds are labelled with what those within {seconds} s say, before and after" in told
    alone = haskd("segment", tiny_model, bag, "--views", views, "--out", tmp_path / "alone")
    assert "within" not in alone.stdout
    changed = 0
    clouds = zip(labelled(tmp_path / "out"), labelled(tmp_path / "alone"), strict=True)
    for (cloud, by_itself), scores in zip(clouds, expected(tiny_model, views, within), strict=True):
        assert cloud["probability"] == pytest.approx(scores.max(1), abs=2e-3)
        # Two classes may all but agree
        assert (cloud["class_id"] == scores.argmax(1)).mean() > 0.99
        moves = by_itself["class_id"] == 1
        assert moves.any() and (cloud["class_id"][moves] == 1).all()
        changed += (abs(cloud["probability"] - by_itself["probability"]) > 0.01).sum()
    assert changed > 50


@pytest.mark.parametrize("sweeps", [1, 2])
def test_where_nobody_else_votes_labels_are_as_without(
    haskd, tiny_model, tiny_metadata, bag, tmp_path, sweeps
):
    model = tiny_model
    if sweeps > 1:
        model = several_sweep_model(tmp_path / "two.safetensors", tiny_metadata)
    rules = ("--set", "class_remap=[car:road]", "--set", "min_probability=0.6")
    for out, options in (("with", ("--votes", 0.05)), ("without", ())):
        done = haskd("segment", model, bag, "--out", tmp_path / out, *rules, *options)
        assert done.returncode == 0, done.stderr
    for voted, alone in zip(labelled(tmp_path / "with"), labelled(tmp_path / "without")):
        assert (voted["class_id"] == alone["class_id"]).mean() > 0.99
        assert 0.01 < (voted["class_id"] == 255).mean() < 0.99
        assert voted["probability"] == pytest.approx(alone["probability"], abs=2e-3)


def test_bag_cache_and_label_files_agree(haskd, tiny_model, bag, tmp_path):
    labels = tmp_path / "labels.yaml"
    labels.write_text(LABELS)
    assert not haskd("prepare", bag, "--labels", labels, "--out", tmp_path / "cache").returncode
    counts = []
    for data, options in ((bag, ("--labels", labels)), (tmp_path / "cache", ())):
        done = haskd(
            "evaluate", tiny_model, data, *options, "--votes", 1, "--out", tmp_path / "scores"
        )
        assert done.returncode == 0, done.stderr
        assert "with what clouds within 1 s say, later ones too" in " ".join(done.stdout.split())
        score = json.loads((tmp_path / "scores/evaluation.json").read_text())
        assert score["votes"] == 1
        counts.append(score["confusion"])
    assert counts[0] == counts[1]

    haskd("segment", tiny_model, bag, "--votes", 1, "--out", tmp_path / "out")
    _, second, _, _ = labelled(tmp_path / "out")
    stamp = yard.START_NS + yard.PERIOD_NS
    only = {"suggestions": [{"recording": "yard", "stamp_ns": stamp}]}
    write_json(tmp_path / "suggest.json", only)
    done = haskd(
        "segment", tiny_model, bag, "--votes", 1, "--export", "labels",
        "--only", tmp_path / "suggest.json", "--out", tmp_path / "exported",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "exported/labels").iterdir()
    assert file.stem == str(stamp)
    assert np.fromfile(file, "<u4").tolist() == second["class_id"].tolist()


def test_a_cloud_without_a_pose_is_labelled_by_itself(haskd, tiny_model, tmp_path):
    # The first cloud's stamp lies a second before the first transform
    messages = list(yard.Yard(clouds=3, rows=rows).messages())
    first = next(number for number, each in enumerate(messages) if each[1] == yard.POINTS)
    early = yard.cloud(yard.START_NS - 10**9, rows(0))
    messages[first] = (messages[first][0], yard.POINTS, early)
    bag = yard.write(tmp_path, messages)
    done = haskd("segment", tiny_model, bag, "--votes", 1, "--out", tmp_path / "out")
    told = " ".join(done.stdout.split())
    assert "2 clouds are labelled with what those within 1 s say" in told
    assert told.count("1 clouds are labelled without those before and after them: no trans") == 1
    haskd("segment", tiny_model, bag, "--out", tmp_path / "alone")
    by_itself, alone = labelled(tmp_path / "out")[0], labelled(tmp_path / "alone")[0]
    assert by_itself["probability"] == pytest.approx(alone["probability"], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--votes", 11), "votes of clouds within 11 s; wanted 0 to 10"),
        (("--votes", "nan"), "votes of clouds within nan s; wanted 0 to 10"),
        (("--votes", 1, "--set", "memory.half_life=0.66"), "take one"),
        (("--votes", 1, "--set", "poses.fixed_frame=map"), "map: TF does not connect lidar to it"),
        (("--votes", 1, "--set", "poses.fixed_frame=base_link"), "it moves with lidar"),
    ],
)
def test_votes_that_can_not_be_counted_are_refused(haskd, tiny_model, bag, tmp_path, options, said):
    done = haskd("segment", tiny_model, bag, "--out", tmp_path / "out", *options)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_any_pose_it_says_what_would_help(haskd, tiny_model, tmp_path):
    standing = yard.record(tmp_path / "bag", clouds=2, static=[])
    (tmp_path / "labels.yaml").write_text(LABELS)
    haskd("prepare", standing, "--labels", tmp_path / "labels.yaml", "--out", tmp_path / "cache")
    np.save(tmp_path / "cloud.npy", np.ones((5, 4), np.float32))
    segment, evaluate = ("segment", tiny_model), ("evaluate", tiny_model)
    for given, said in (
        ((*evaluate, tmp_path / "cache"), "has a pose; prepare it from recordings whose TF has"),
        ((*segment, standing, "--out", tmp_path / "a"), "TF does not connect lidar to it"),
        ((*segment, tmp_path / "cloud.npy", "--out", tmp_path / "b.npz"), "knows no poses of the"),
    ):
        done = haskd(*given, "--votes", 1)
        assert done.returncode == 2 and said in done.stderr, done.stderr
