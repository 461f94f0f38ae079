"""Nodes that Nav2's life cycle manager leads; the manager is a copy of its behaviour."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

import rclpy
from lifecycle_msgs.msg import State
from nav2_manager import Nav2Manager
from rclpy.context import Context
from robot import DOMAIN, cloud_of, some_points

UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
    State.PRIMARY_STATE_FINALIZED,
)
OPTIONS = ("warmup_points:=0", "autostart:=false", "device:=cpu")


@pytest.fixture
def manager(ros_environment):
    """Makes the manager of some nodes."""
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN + 1)
    node = rclpy.create_node("lifecycle_manager", context=context)
    yield lambda *names: Nav2Manager(node, names)
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_nav2_leads_the_node_through_its_whole_life(start, second_robot, manager, tiny_model):
    front = start(f"model:={tiny_model}", *OPTIONS, namespace="/front")
    own = start(f"model:={tiny_model}", *OPTIONS)
    led = manager("front/segment", "segment")
    second_robot.subscribe("output/segmentation")
    for again in (True, False):
        assert led.startup()
        assert led.states() == [ACTIVE, ACTIVE]
        assert second_robot.label(cloud_of(some_points())).width == 2000
        assert led.pause()
        assert led.states() == [INACTIVE, INACTIVE]
        assert led.resume()
        assert second_robot.label(cloud_of(some_points())).width == 2000
        if again:
            assert led.reset()
            assert led.states() == [UNCONFIGURED, UNCONFIGURED]
    assert led.shutdown()
    assert led.states() == [FINALIZED, FINALIZED]
    for node in (front, own):
        assert node.end() == 0
        assert "Traceback" not in node.log


def test_after_a_model_that_can_not_be_loaded_nav2_starts_the_nodes_again(
    start, manager, tiny_model, tmp_path
):
    model = tmp_path / "model.safetensors"
    good = start(f"model:={tiny_model}", *OPTIONS, namespace="/front")
    bad = start(f"model:={model}", *OPTIONS)
    led = manager("front/segment", "segment")
    assert not led.startup()
    assert led.states() == [INACTIVE, UNCONFIGURED]
    bad.wait_for_log(f"can't configure: model {model}: no such file")
    model.write_bytes(tiny_model.read_bytes())
    # A node that is configured already can't be configured: Nav2 has to reset before
    assert not led.startup()
    assert led.reset(hard=True)
    assert led.states() == [UNCONFIGURED, UNCONFIGURED]
    assert led.startup()
    assert led.states() == [ACTIVE, ACTIVE]
    for node in (good, bad):
        assert node.end() == 0
        assert "Traceback" not in node.log
