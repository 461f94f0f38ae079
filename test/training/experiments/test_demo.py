"""The whole path on a small bag, with a real node over real DDS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from several_sweeps import several_sweep_model
from small_run import DRIVE, METHOD, quiet

from haskd_ros.errors import InputError
from haskd_training.experiments.demo import demo, load_demo_settings
from haskd_training.robot.live.replay import RecordedCloud, replay
from recorded_bags import Scene, write_bag
from small_street import street

pytestmark = pytest.mark.long

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")


def test_bag_in_labelled_live_clouds_out(tmp_path):
    # Of two LiDARs, one of which is asked for
    scene = Scene(clouds=20, images=0, points=street, points_topics=("/left", "/right"))
    bag = write_bag(tmp_path, scene)
    settings = load_demo_settings(
        None,
        [
            "student.voxel_size=0.5", "student.loop.epochs=6", "student.loop.device=cpu",
            "student.split.test=0.25", "distillation.teacher=none", "prepare.points_topic=/right",
        ],
    )  # fmt: skip
    result = demo(tmp_path / "out", bag, "pandaset", quiet, settings)
    # 20 sweeps, the last quarter held out: 5 go to the node
    assert result.replay.sent == 5
    assert len(result.replay.replies) + result.replay.replaced >= 5
    assert result.evaluation.sweeps == len(result.replay.replies) >= 1
    assert result.evaluation.to_json()["miou"] > 0.8
    latency = result.replay.percentiles()
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    stages = result.replay.stages
    assert len(stages["total"]) == len(result.replay.replies)
    assert 0 < max(stages["inference"]) < max(stages["total"])
    saved = json.loads((tmp_path / "out/drive/demo.json").read_text())
    assert saved["frames"]["sent"] == 5
    assert saved["distilled"]["miou"] == result.run.distilled.to_json()["miou"]


def test_the_simulated_demo_needs_nothing_and_can_be_run_again(tmp_path):
    settings = load_demo_settings(None, METHOD)
    # A folder that isn't there yet, in one that isn't either.
    out = tmp_path / "new" / "demo"
    first = demo(out, None, None, quiet, settings, DRIVE)
    model = first.run.model
    before = model.read_bytes()
    assert first.run.report.is_file()
    second = demo(out, None, None, quiet, settings, DRIVE)
    # 0.2 of 20 sweeps
    assert first.replay.sent == second.replay.sent == 4
    assert model.read_bytes() == before


def test_a_bag_without_a_label_map_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(InputError, match="needs its label map"):
        demo(tmp_path / "out", Path("drive"), None, quiet)
    assert not (tmp_path / "out").exists()


def test_a_bag_too_short_to_show_anything_is_refused_before_the_node_is_started(tmp_path):
    bag = write_bag(tmp_path, Scene(clouds=6, images=0, points=street))
    settings = load_demo_settings(
        None,
        [
            "student.voxel_size=1", "student.loop.epochs=1", "student.loop.device=cpu",
            "student.split.calibration=0.3", "student.split.validation=0.3",
            "student.split.test=0", "distillation.teacher=none",
        ],
    )  # fmt: skip
    with pytest.raises(InputError, match=r"no test sweeps are left.*raise student\.split\.test"):
        demo(tmp_path / "out", bag, "pandaset", quiet, settings)


def test_a_node_that_can_not_be_configured_is_an_error_with_its_own_reason(tmp_path):
    model = tmp_path / "none.safetensors"
    with pytest.raises(InputError) as raised:
        replay(model, [RecordedCloud(0, b"")], 10.0, tmp_path / "node.log")
    expected = f"the node did not become active: can't configure: model {model}: no such file"
    assert str(raised.value) == expected


def test_a_node_whose_process_ends_is_an_error_with_its_last_line(tmp_path):
    with pytest.raises(InputError, match=r"did not become active.*precision is 'fp8', must be one"):
        replay(
            tmp_path / "none.safetensors", [RecordedCloud(0, b"")], 10.0, tmp_path / "node.log",
            parameters={"precision": "fp8"},
        )  # fmt: skip


def test_a_model_of_several_sweeps_is_refused_since_clouds_come_without_poses(
    tmp_path, tiny_metadata
):
    model = several_sweep_model(tmp_path / "two.safetensors", tiny_metadata)
    with pytest.raises(InputError, match="takes 2 sweeps, which needs the sensor's poses"):
        replay(model, [RecordedCloud(0, b"")], 10.0, tmp_path / "node.log")
