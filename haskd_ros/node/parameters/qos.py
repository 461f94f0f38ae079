"""Which QoS policies of the node's topics users may override by parameters."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

from haskd_ros.text import listed

OVERRIDABLE = QoSOverridingOptions(
    (
        QoSPolicyKind.HISTORY,
        QoSPolicyKind.DEPTH,
        QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY,
    )
)

PREFIX = "qos_overrides."


def ignored_overrides(node: Node) -> str | None:
    """What to say of overrides that were given at start and that no topic of the node has taken:
    another topic, a policy that can't be overridden, a misspelt one. rclpy says nothing of them.

    Args:
        node: with all its topics.
    """
    with node.handle:
        given = node.handle.get_parameters(Parameter)
    ignored = sorted(
        name for name in given if name.startswith(PREFIX) and not node.has_parameter(name)
    )
    if not ignored:
        return None
    known = sorted(node.get_parameters_by_prefix(PREFIX.rstrip(".")))
    return f"QoS overrides that have no effect: {listed(ignored)}; there are {listed(known)}"
