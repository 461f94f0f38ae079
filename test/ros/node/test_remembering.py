"""The node's memory of what it said of a place, with Odometry from a robot."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
pytest.importorskip("nav_msgs", reason="needs nav_msgs (pip install '.[ros-wheels]')")

from diagnostic_msgs.msg import DiagnosticArray
from placed_clouds import PlacedClouds
from robot import some_points, steady_node

pytestmark = pytest.mark.live

OK, WARN = b"\0", b"\1"
HALF_LIFE_S = 2.0


@pytest.fixture(scope="module")
def node(ros_environment, tiny_model, tmp_path_factory, warm_starts):
    with steady_node(
        tmp_path_factory.mktemp("memory"), f"model:={tiny_model}", "warmup_points:=1000",
        "diagnostics.period:=0.2", "diagnostics.max_age:=0.0", "poses.timeout:=2.0",
        "poses.source:=odometry", "poses.odometry_topic:=/odom", "precision:=fp32",
        warm=warm_starts,
    ) as node:  # fmt: skip
        yield node


class Remembered(PlacedClouds):
    """Clouds one after the other, with the memory of those before."""

    def __init__(self, robot) -> None:
        super().__init__(robot)
        self.now_ns = self.start_ns

    def label(self, points: np.ndarray, after_s: float, at_x: float | None) -> np.ndarray:
        """The labels of a cloud so long after the one before, from a sensor at that x, with the
        memory; None: nobody knows where."""
        self.now_ns += round(after_s * 1e9)
        if at_x is None:
            return self._label(points)
        with_it = self._clouds_with_memory()
        while True:
            labels = self._label(points, at_x)
            # Odometry that reaches the node after its cloud is too late: then once more.
            if self._clouds_with_memory() > with_it:
                return labels

    def _label(self, points: np.ndarray, at_x: float | None = None) -> np.ndarray:
        self.robot.received["/diagnostics"].clear()
        return self.answer(self.cloud(points, self.now_ns), at_x)

    def _clouds_with_memory(self) -> int:
        """So far, by the second report from now on: the first may have been on its way."""
        reports = self.robot.received["/diagnostics"]
        reports.clear()
        self.robot.wait(lambda: len(reports) > 1)
        return int(self.status("")[1].get("clouds labelled with it", 0))

    def status(self, text: str, places: int | None = None):
        """Level and values of a report since the last cloud with this text, and so many places."""
        level, _, values = self.robot.told(
            "memory",
            text,
            lambda told: places in (None, int(told.get("places remembered", -1))),
        )
        return level, values


@pytest.fixture
def remembering(node, robot):
    other = Remembered(robot)
    assert robot.set_parameter("memory.half_life", HALF_LIFE_S) == (True, "")
    other.wait_for_node()
    yield other
    assert robot.set_parameter("memory.half_life", 0.0) == (True, "")


def test_for_a_memory_the_model_is_loaded_in_torch(node, robot):
    robot.subscribe("/diagnostics", DiagnosticArray, 50)
    robot.told("model", "", lambda told: told["engine"] == "libhaskd")
    assert robot.set_parameter("memory.half_life", HALF_LIFE_S) == (True, "")
    robot.told("model", "", lambda told: told["engine"] == "compiled kernels")
    assert robot.set_parameter("memory.half_life", 0.0) == (True, "")


def test_a_place_is_labelled_with_what_was_said_of_it(remembering):
    points = some_points()
    first = remembering.label(points, 60.0, 0.0)
    again = remembering.label(points, HALF_LIFE_S, 0.0)
    # Whatever the voxel said counts a quarter beside the same again: where a point is alone in its
    # voxel nothing changes, elsewhere its neighbours count.
    voxel = np.floor(np.stack([points[axis] for axis in "xyz"], 1).astype(np.float64) / 0.2)
    _, place, number = np.unique(voxel, axis=0, return_inverse=True, return_counts=True)
    alone = number[place.ravel()] == 1
    assert alone.any()
    np.testing.assert_allclose(again["probability"][alone], first["probability"][alone], atol=1e-4)
    level, values = remembering.status("", len(number))
    assert level == OK and values["poses"] == "odometry on /odom"
    assert int(values["clouds labelled with it"]) >= 2


def test_what_was_seen_from_elsewhere_is_the_same_place(remembering):
    points = some_points()
    first = remembering.label(points, 60.0, 0.0)
    # From 5.13 m further on the same places are nearer; the network says something else of them,
    # and what it said before counts beside it.
    moved = points.copy()
    moved["x"] -= 5.13
    with_memory = remembering.label(moved, 0.1, 5.13)
    assert remembering.robot.set_parameter("memory.half_life", 0.0) == (True, "")
    without = remembering.label(moved, 0.1, None)
    assert (with_memory["class_id"] != without["class_id"]).any()
    agrees = [
        float((labels["class_id"] == first["class_id"]).mean()) for labels in (with_memory, without)
    ]
    assert agrees[0] > agrees[1]


def test_a_cloud_of_which_nobody_knows_the_place_is_labelled_and_warned_of(remembering):
    points = some_points()
    remembering.label(points, 60.0, None)
    level, values = remembering.status("clouds labelled without it recently")
    assert level == WARN
    assert int(values["clouds labelled without"]) >= 1
