"""A node that fails in a transition of its life cycle says so and can try again."""

from __future__ import annotations

import gc
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import TransitionCallbackReturn
from robot import DOMAIN_OF_THIS_PROCESS

from haskd_ros.node.inputs import InputSubscription
from haskd_ros.node.segment_node import SegmentNode

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@pytest.fixture
def node_of(ros_environment, tiny_model):
    """Makes the node in this process, with parameters; one thread computes, as in its own."""
    nodes = []

    def make(*parameters: str) -> SegmentNode:
        given = (f"model:={tiny_model}", "warmup_points:=100", "device:=cpu", *parameters)
        arguments = [part for each in given for part in ("-p", each)]
        rclpy.init(args=["--ros-args", *arguments], domain_id=DOMAIN_OF_THIS_PROCESS)
        nodes.append(SegmentNode(run_in_thread=pool.submit))
        return nodes[-1]

    with ThreadPoolExecutor(1) as pool:
        yield make
        for node in nodes:
            node.end()
            node.destroy_node()
            rclpy.shutdown()


def test_a_subscription_that_fails_leaves_the_computing_thread_free(node_of):
    node = node_of("qos_overrides./segment/input/points.subscription.depth:=many")
    assert node.trigger_configure() == SUCCESS
    for _ in range(2):  # the second would wait for the first one's worker for ever
        assert node.trigger_activate() == FAILURE
    assert node.trigger_cleanup() == node.trigger_configure() == SUCCESS


def test_an_output_that_can_not_be_made_is_told_and_leaves_nothing_behind(node_of):
    name = "qos_overrides./segment/output/filtered.publisher.depth"
    node = node_of(f"{name}:=many")
    for _ in range(2):
        assert node.trigger_configure() == FAILURE
    topics = {topic for topic, _ in node.get_publisher_names_and_types_by_node("segment", "/")}
    assert "/segment/output/segmentation" not in topics
    assert node.faults.summary.count == 0


def test_a_node_that_was_cleaned_up_holds_no_model(node_of):
    node = node_of()
    assert node.trigger_configure() == node.trigger_activate() == SUCCESS
    model = weakref.ref(node._pipeline.setup.model.segmenter)
    assert node.trigger_deactivate() == node.trigger_cleanup() == SUCCESS
    gc.collect()
    assert model() is None


def test_what_ends_a_transition_is_told_and_the_next_one_works(node_of, monkeypatch):
    node = node_of()
    assert node.trigger_configure() == node.trigger_activate() == SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(InputSubscription, "close", lambda self: sys.exit("no"))
        assert node.trigger_deactivate() == TransitionCallbackReturn.ERROR
    assert "SystemExit: no" in node.faults.summary.last
    # A node that has handled its error is unconfigured, and the computing thread is free.
    assert node.trigger_configure() == node.trigger_activate() == SUCCESS


def test_diagnostics_say_why_a_node_is_not_active(start, second_robot, tiny_model):
    start(
        f"model:={tiny_model}", "device:=cpu", "diagnostics.period:=0.1",
        "qos_overrides./segment/input/points.subscription.depth:=many",
    )  # fmt: skip
    second_robot.subscribe("/diagnostics", DiagnosticArray)

    def errors() -> list[str]:
        return [
            message.status[0].message
            for message in second_robot.received["/diagnostics"]
            if message.status[0].level == DiagnosticStatus.ERROR
        ]

    second_robot.wait(lambda: bool(errors()))
    assert errors()[0].startswith("can't activate: ") and "depth" in errors()[0]
