"""The node with a model of several sweeps, with Odometry from a robot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
pytest.importorskip("nav_msgs", reason="needs nav_msgs (pip install '.[ros-wheels]')")

from placed_clouds import PlacedClouds
from robot import some_points, steady_node
from several_sweeps import several_sweep_model

from haskd_ros.clouds.sweeps import Moment, SweepHistory
from haskd_ros.node.labelling import label_cloud
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmenter import Segmenter

pytestmark = pytest.mark.live

WARN = b"\1"


@pytest.fixture(scope="module")
def model(tiny_metadata, tmp_path_factory):
    return several_sweep_model(tmp_path_factory.mktemp("three") / "m.safetensors", tiny_metadata, 3)


@pytest.fixture(scope="module")
def node(ros_environment, model, tmp_path_factory, warm_starts):
    with steady_node(
        tmp_path_factory.mktemp("sweeps"), f"model:={model}", "warmup_points:=1000",
        "diagnostics.period:=0.2", "diagnostics.max_age:=0.0", "poses.timeout:=1.0",
        "poses.source:=odometry", "poses.odometry_topic:=/odom", "precision:=fp32",
        warm=warm_starts,
    ) as node:  # fmt: skip
        yield node


def test_the_node_stacks_as_everybody_does_and_says_where_it_can_not(node, model, robot):
    clouds = PlacedClouds(robot)
    clouds.wait_for_node()

    def stamp_ns(at_s: float) -> int:
        return clouds.start_ns + round(at_s * 1e9)

    segmenter, history = Segmenter.load(model, device="cpu", precision="fp32"), SweepHistory(3)
    parameters = replace(DEFAULTS, precision="fp32")
    points, alone = some_points(), []
    for number in range(4):
        at_s, at_x = 0.1 * number, 1.3 * number
        cloud = clouds.cloud(points, stamp_ns(at_s))
        pose = np.eye(4)
        pose[0, 3] = at_x
        earlier, _ = history.before(stamp_ns(at_s))
        assert len(earlier) == min(number, 2)
        expected = label_cloud(
            cloud, segmenter, parameters, history=history,
            moment=Moment(stamp_ns(at_s), pose, earlier),
        ).result.probability  # fmt: skip
        clouds.answer(cloud, at_x, expected)
        alone.append(expected)
    assert not np.array_equal(alone[0], alone[3])
    _, _, values = robot.told(
        "sweeps", "", lambda told: int(told.get("clouds labelled with all", 0)) > 1
    )
    assert values["poses"] == "odometry on /odom"
    # Three clouds are kept, no more, however many came
    assert values["points kept"] == str(3 * len(points))

    # Where nobody knows the place a cloud is labelled by itself
    clouds.answer(clouds.cloud(points, stamp_ns(5.0)), None, alone[0])
    level, message, _ = robot.told("sweeps", "older than")
    assert level == WARN and "with fewer than 3 sweeps recently" in message

    # A bag that starts again
    clouds.answer(clouds.cloud(points, stamp_ns(-60.0)), 0.0, alone[0])
    level, _, _ = robot.told("sweeps", "time went back: labelled by 1 of 3 sweeps")
    assert level == WARN
