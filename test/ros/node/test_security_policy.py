"""The policy of SROS 2 that comes with the package."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

REPOSITORY = Path(__file__).resolve().parents[3]

# What a node has only by its parameters, or where a package is installed.
SOMETIMES = {"/clock", "/tf", "/tf_static", "/odom", "/segment/output/label_info"}
# Of Iron and later.
LATER = {"/segment/get_type_description"}

LEAST = (15, 1, 12)
"""Publishers, subscriptions, services to wait for: the middleware hears of one after the other."""


def allowed(kind: str, how: str) -> set[str]:
    """Full names of the topics or services that the policy allows."""
    policy = ElementTree.parse(REPOSITORY / "config" / "segment.policy.xml")
    return {
        re.sub("^~", "/segment", expression.text)
        for group in policy.iter(f"{kind}s")
        if group.get(how) == "ALLOW"
        for expression in group
    }


def test_the_policy_allows_what_a_node_has_and_no_more(segment, robot):
    names = {"publisher": set(), "subscriber": set(), "service": set()}

    def have() -> dict[str, set[str]]:
        for what, found in names.items():
            known = getattr(robot.node, f"get_{what}_names_and_types_by_node")("segment", "/")
            found |= {name for name, _ in known}
        return names

    robot.wait(lambda: ("segment", "/") in robot.node.get_node_names_and_namespaces())
    robot.wait(lambda: all(len(found) >= least for found, least in zip(have().values(), LEAST)))
    # The launch file's name for the input.
    names["subscriber"] = {
        "/lidar/points" if name == "/segment/input/points" else name for name in names["subscriber"]
    }
    assert allowed("topic", "publish") - SOMETIMES == names["publisher"] - SOMETIMES
    assert allowed("topic", "subscribe") - SOMETIMES == names["subscriber"] - SOMETIMES
    assert allowed("service", "reply") - LATER == names["service"] - LATER


def test_the_policy_covers_one_node_in_its_own_enclave():
    policy = ElementTree.parse(REPOSITORY / "config" / "segment.policy.xml").getroot()
    assert policy.get("version") == "0.2.0"
    assert [enclave.get("path") for enclave in policy.iter("enclave")] == ["/segment"]
    assert [profile.attrib for profile in policy.iter("profile")] == [
        {"ns": "/", "node": "segment"}
    ]
    assert not any("*" in (expression.text or "") for expression in policy.iter("topic"))
