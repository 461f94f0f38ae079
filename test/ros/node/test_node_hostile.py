"""The running node among senders and callers that mean harm, or know no better."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from diagnostic_msgs.msg import DiagnosticArray
from hostile_messages import FRAMES, STAMPS, hostile_messages
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from robot import cloud_of, python_path, some_points
from rosgraph_msgs.msg import Clock


@pytest.fixture
def diagnostics(segment, robot):
    """Messages of the input task, from now on."""
    robot.subscribe("/diagnostics", DiagnosticArray)
    robot.subscribe("output/segmentation")

    def messages() -> list[str]:
        found = (s for each in robot.received["/diagnostics"] for s in each.status)
        return [status.message for status in found if status.name == "/segment: input"]

    return messages


def test_another_period_of_reports_takes_effect_at_once(robot, diagnostics):
    assert robot.set_parameter("diagnostics.period", 60.0) == (True, "")
    robot.wait(lambda: bool(diagnostics()))  # the last one at the old period's end
    robot.received["/diagnostics"].clear()
    begun = time.monotonic()
    assert robot.set_parameter("diagnostics.period", 0.1) == (True, "")
    robot.wait(lambda: len(diagnostics()) > 5)
    assert time.monotonic() - begun < 30


def test_messages_whose_bytes_lie_are_counted_and_the_next_cloud_is_labelled(
    segment, robot, diagnostics
):
    robot.label(cloud_of(some_points(50)))
    for message in itertools.islice(hostile_messages(3), 200):
        robot.send_now(message)
        robot._executor.spin_once(timeout_sec=0.003)
    assert robot.label(cloud_of(some_points(50))).width == 50
    assert "internal fault" not in segment.log


@pytest.mark.parametrize(
    ("stamp", "frame"), list(zip(STAMPS, FRAMES[: len(STAMPS)], strict=True)), ids=str
)
def test_labels_come_back_under_the_clouds_own_header(robot, diagnostics, stamp, frame):
    cloud = cloud_of(some_points(50))
    cloud.header.stamp.sec, cloud.header.stamp.nanosec = stamp
    cloud.header.frame_id = frame
    replies = robot.received["output/segmentation"]
    robot.wait(lambda: robot.send(cloud) or any(reply.header == cloud.header for reply in replies))
    if stamp[0] < 0 or stamp[1] >= 10**9:
        said = "the clouds' stamps: "
        robot.wait(lambda: robot.send(cloud) or any(said in text for text in diagnostics()))


def test_a_time_on_the_clock_that_is_none_is_left_out_and_said(segment, robot, diagnostics):
    assert robot.set_parameter("use_sim_time", True) == (True, "")
    publisher = robot.node.create_publisher(Clock, "/clock", 10)
    # A rate is told without a clock too: the first time has to have come before the second does.
    robot.wait(lambda: publisher.get_subscription_count() > 0)

    def tick(sec: int, said: str) -> None:
        message = Clock()
        message.clock.sec = sec
        robot.received["/diagnostics"].clear()
        robot.wait(
            lambda: (
                publisher.publish(message)
                or robot.send(cloud_of(some_points(50)))
                or any(said in text for text in diagnostics())
            )
        )
        assert not any(text.startswith("silent") for text in diagnostics())

    tick(1000, " Hz")
    tick(-1, "a time on /clock was left out: -1 s, before 1970")
    tick(2**31 - 1, "the time on /clock has jumped ahead by 2,147,482,647 s")
    assert robot.set_parameter("use_sim_time", False) == (True, "")
    robot.node.destroy_publisher(publisher)


def test_a_parameter_of_a_type_that_is_none_is_refused(segment, robot):
    bad = Parameter(name="range.max", value=ParameterValue(type=200))
    request = SetParameters.Request(parameters=[bad])
    (result,) = robot.call(SetParameters, "set_parameters", request).results
    assert result.reason == "parameter range.max has type 200, must be 0 to 9"


def test_arguments_that_ros_refuses_end_with_a_reason_and_exit_code_2(ros_environment):
    done = subprocess.run(
        [sys.executable, "-m", "haskd_ros", "--ros-args", "-p", "crop.frame:=["],
        env={**os.environ, "PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()  # rcl has a line of its own
    assert "Traceback" not in done.stderr
    assert line.startswith("segment can't start: ") and "crop.frame:=[" in line
