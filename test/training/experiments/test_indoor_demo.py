"""The whole path in small rooms, with a real node over real DDS."""

from __future__ import annotations

import json

import pytest
from small_run import METHOD, quiet

from haskd_ros import model_file
from haskd_training.experiments.indoor_demo import SETTINGS, indoor_demo, load_indoor_settings
from haskd_training.simulation.indoor import FlatConfig

pytestmark = pytest.mark.live

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")


def test_flats_become_labelled_coloured_clouds(tmp_path):
    settings = load_indoor_settings(
        None, [*METHOD, "student.voxel_size=0.3", "selection.window_s=1.6"]
    )
    flat = FlatConfig(frames=36, image_width=80, image_height=60)
    result = indoor_demo(tmp_path / "out", quiet, settings, flat, (1, 1))
    # 36 frames at 3 Hz: twelve seconds, a keyframe every 1.5 s once 3 s are full
    assert 5 <= result.replay.sent <= 8
    assert result.evaluation.sweeps == len(result.replay.replies) >= 4
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    metadata = model_file.load(result.run.model)[1]
    assert [each.name for each in metadata.channels] == ["rgb"]
    assert metadata.taxonomy.names[:3] == ("ceiling", "floor", "wall")
    # What the node says is what the model says of the same keyframes, colours included
    alone = result.run.distilled.to_json()["miou"], result.run.baseline.to_json()["miou"]
    assert min(abs(result.evaluation.to_json()["miou"] - miou) for miou in alone) < 0.02
    saved = json.loads((tmp_path / "out/indoor/demo.json").read_text())
    assert saved["frames"]["sent"] == result.replay.sent
    assert load_indoor_settings(None, []).student.channels == ("rgb",) and SETTINGS
