"""The node with what is wrong on real robots: a clock without a time, clouds of a map, intensities
in another unit."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from robot import cloud_of, some_points
from rosgraph_msgs.msg import Clock

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.segmenter import Segmenter

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
QUICK = ("warmup_points:=1000", "diagnostics.period:=0.1")


def statuses(robot, task: str) -> list[DiagnosticStatus]:
    """Of one of the node's tasks, oldest first."""
    return [
        status
        for message in robot.received["/diagnostics"]
        for status in message.status
        if status.name == f"/segment: {task}"
    ]


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {value.key: value.value for value in status.values}


def test_without_a_time_on_the_clock_nothing_is_ok(start, second_robot, tiny_model):
    node = start(
        f"model:={tiny_model}", *QUICK, "use_sim_time:=true", "diagnostics.silence_error:=2.0"
    )
    robot = second_robot
    node.wait_for_log("active")
    robot.subscribe("/diagnostics", DiagnosticArray)
    robot.subscribe("output/segmentation")

    def has_rate() -> bool:
        """By real time, since there is no other."""
        robot.label(cloud_of(some_points()))
        return any(float(values(status)["rate (Hz)"]) > 0 for status in statuses(robot, "input"))

    robot.wait(has_rate)
    found = statuses(robot, "input")
    assert all(status.level != OK for status in found)
    assert "use_sim_time is true and there is no time on /clock" in found[-1].message
    # Clouds stop
    robot.wait(lambda: statuses(robot, "input")[-1].level == ERROR)
    assert statuses(robot, "input")[-1].message.startswith("silent for ")
    # A time comes, stands still, and is no reason to count the years since 1970
    clock = robot.node.create_publisher(Clock, "/clock", 10)
    message = Clock()
    message.clock.sec = 1_700_000_000
    robot.wait(
        lambda: clock.publish(message) or "stood still" in statuses(robot, "input")[-1].message
    )
    assert statuses(robot, "input")[-1].level != OK
    assert node.end() == 0


def test_a_cloud_in_map_coordinates_is_a_warning_and_counted(segment, robot):
    robot.subscribe("/diagnostics", DiagnosticArray)
    robot.subscribe("output/segmentation")
    points = some_points(300)
    wide = np.zeros(300, [(name, "f8" if name in "xyz" else "f4") for name in points.dtype.names])
    for name in points.dtype.names:
        wide[name] = points[name]
    wide["y"] += 5_411_932.25
    answer = read_points(robot.label(cloud_of(wide)))
    assert set(answer["class_id"]) == {255}
    assert answer["y"].tolist() == wide["y"].tolist()
    said = "every point is beyond the range of 100 m; is the cloud in the sensor's frame?"
    robot.wait(lambda: any(status.message == said for status in statuses(robot, "labels")))
    found = [status for status in statuses(robot, "labels") if status.message == said]
    assert {status.level for status in found} == {WARN}
    assert f"no label: {said}" in segment.log

    def counted() -> bool:
        frames = statuses(robot, "frames")[-1]
        return values(frames)["labelled, but all beyond the range"] != "0"

    robot.wait(counted)


def test_intensities_are_read_in_their_own_unit(start, second_robot, tiny_model):
    node = start(f"model:={tiny_model}", *QUICK)
    robot = second_robot
    robot.subscribe("output/segmentation")
    segmenter = Segmenter.load(tiny_model, device="cpu")
    points = some_points()
    for full in (1.0, 65535.0):
        scaled = points.copy()
        scaled["intensity"] *= full / 255
        raw = np.stack([scaled[name] for name in points.dtype.names], axis=1)
        expected = segmenter(raw, intensity_scale=full).class_id
        answer = read_points(robot.label(cloud_of(scaled)))["class_id"]
        np.testing.assert_array_equal(answer, expected)
    assert "an intensity of 1 is taken for a full return" in node.log
    assert "of 65535 is taken for a full return from now on, before it was 1" in node.log
    assert robot.set_parameter("intensity.scale", 255.0) == (True, "")
    raw = np.stack([points[name] for name in points.dtype.names], axis=1)
    answer = read_points(robot.label(cloud_of(points)))["class_id"]
    np.testing.assert_array_equal(answer, segmenter(raw).class_id)
    assert node.end() == 0


def test_intensity_that_is_nan_or_0_throughout_is_none_and_said_once(segment, robot, tiny_model):
    robot.subscribe("output/segmentation")
    points = some_points()
    raw = np.stack([points[name] for name in "xyz"], axis=1)
    expected = Segmenter.load(tiny_model, device="cpu")(raw).class_id
    for nothing in (np.nan, 0):
        points["intensity"] = nothing
        answer = read_points(robot.label(cloud_of(points)))["class_id"]
        np.testing.assert_array_equal(answer, expected)
    assert segment.log.count("clouds have no intensity, or NaN or 0 for all of it") == 1
