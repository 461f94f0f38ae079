"""A node whose model reads colours."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from coloured import packed, rgb_model
from diagnostic_msgs.msg import DiagnosticArray
from robot import cloud_of, some_points, steady_node

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.segmenter import Segmenter

pytestmark = pytest.mark.live

WARN = b"\1"


def test_points_are_labelled_by_their_colours_and_missing_ones_are_told(
    ros_environment, robot, tiny_metadata, tmp_path, warm_starts
):
    model = rgb_model(tmp_path / "rgb.safetensors", tiny_metadata)
    plain = some_points()
    colours = np.random.default_rng(5).integers(0, 256, (len(plain), 3))
    rows = np.zeros(len(plain), [*plain.dtype.descr, ("rgb", "<f4")])
    for name in plain.dtype.names:
        rows[name] = plain[name]
    rows["rgb"] = packed(colours)
    robot.subscribe("/diagnostics", DiagnosticArray)
    robot.subscribe("output/segmentation")
    with steady_node(tmp_path, f"model:={model}", warm=warm_starts):
        labelled = read_points(robot.label(cloud_of(rows)))
        points = np.stack([rows[name] for name in ("x", "y", "z", "intensity")], 1)
        expected = Segmenter.load(model, device="cpu")(points, channels={"rgb": colours})
        assert labelled["class_id"].tolist() == expected.class_id.tolist()

    grey_folder = tmp_path / "grey"
    grey_folder.mkdir()
    with steady_node(grey_folder, f"model:={model}", warm=warm_starts):
        grey = read_points(robot.label(cloud_of(plain)))
        assert grey["class_id"].tolist() != labelled["class_id"].tolist()
        level, _, values = robot.told("sensor", "not like the clouds")
        assert level == WARN
        assert any(
            "no rgb in the clouds (fields rgb, rgba, r g b" in each for each in values.values()
        )
