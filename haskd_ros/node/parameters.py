"""The node's parameters as ROS 2 knows them: declared, described, read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from haskd_ros.errors import InputError
from haskd_ros.node.parameter_table import PARAMETERS, ParameterInfo, check


def declare(node: Node, check_more: Callable[[Mapping[str, Any]], None] = lambda _: None) -> None:
    """Declare the table's parameters on a node and have every later change checked.

    Args:
        check_more: called with all values as they would stand after a change; refuses it with an
            InputError.

    Raises:
        InputError: a value given at start is not allowed.
        rclpy.exceptions.ParameterException: a value given at start has the wrong type or is out
            of bounds.
    """
    node.declare_parameters(
        "", [(info.name, _ros_value(info.default), descriptor(info)) for info in PARAMETERS]
    )
    check(values_of(node))

    def on_set(changes: list[Parameter]) -> SetParametersResult:
        try:
            values = values_of(node) | {change.name: change.value for change in changes}
            check(values)
            check_more(values)
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(on_set)


def values_of(node: Node) -> dict[str, Any]:
    """The values of the table's parameters on a node, by name."""
    return {info.name: node.get_parameter(info.name).value for info in PARAMETERS}


def settable_values(node: Node) -> dict[str, Any]:
    """Those that may have changed since the start."""
    return {
        info.name: node.get_parameter(info.name).value for info in PARAMETERS if not info.read_only
    }


def descriptor(info: ParameterInfo) -> ParameterDescriptor:
    """What `ros2 param describe` shows of a parameter, and what rclpy enforces."""
    message = ParameterDescriptor(
        name=info.name, description=info.description, read_only=info.read_only
    )
    if info.choices:
        message.additional_constraints = f"one of {', '.join(info.choices)}"
    if isinstance(info.default, float):
        message.floating_point_range = [
            FloatingPointRange(from_value=info.minimum, to_value=info.maximum)
        ]
    elif info.minimum is not None:
        message.integer_range = [
            IntegerRange(from_value=info.minimum, to_value=info.maximum, step=1)
        ]
    return message


def _ros_value(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
