"""The node's parameters in ROS 2: declared, described, followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rcl_interfaces.msg import Parameter as ParameterMessage
from rclpy.node import Node
from rclpy.parameter import Parameter

from haskd_ros.errors import InputError
from haskd_ros.node.parameters.info import ParameterInfo
from haskd_ros.node.parameters.qos import PREFIX
from haskd_ros.node.parameters.values import DEFAULTS, PARAMETERS, Parameters
from haskd_ros.node.reports.faults import in_one_line
from haskd_ros.text import QUOTED_CHARACTERS, listed, shown

_MISSPELT = 0.85
"""Similarity from which a name is taken for one of ours. A misspelt `model` has 0.8, but so has
another node's `max_range` to our `max_rate`."""


class DeclaredParameters:
    """The values that are in effect, always at hand: nothing is read from ROS per cloud.

    Args:
        node: that has the parameters; belongs to an executor before the first is changed.
        check: called with the values as they would be after a change; refuses it with an
            InputError.
        on_change: called with the new values once a change is in effect.

    Attributes:
        current: replaced as a whole by a change.

    Raises:
        InputError: a value given at start is not allowed, or a name is none of a parameter and
            all but one.
        rclpy.exceptions.ParameterException: a value given at start has the wrong type or is out
            of bounds.
    """

    def __init__(
        self,
        node: Node,
        check: Callable[[Parameters], None],
        on_change: Callable[[Parameters], None],
    ) -> None:
        self._node, self._check, self._on_change = node, check, on_change
        given = _given(node)
        for info in PARAMETERS:
            # rclpy refuses a whole number for a float, which is how most people write 5 Hz.
            fitted = _fitted_numbers(info, given)
            node.declare_parameter(
                info.name,
                _declared(info) if fitted is None else fitted,
                descriptor(info),
                ignore_override=fitted is not None,
            )
        _check_names(node, given)
        # `[]` in a YAML file has no type, and so leaves a parameter without a value.
        for info in PARAMETERS:
            if info.default == () and not node.get_parameter_or(info.name).value:
                node.set_parameters([_typed(info, [])])
        self.current = self._read()
        node.add_on_set_parameters_callback(self._before_change)
        # A change that this class allows may still be refused by another callback, so its values
        # count only once rclpy has stored them. Humble has no callback for that moment.
        self._is_notified = hasattr(node, "add_post_set_parameters_callback")
        if self._is_notified:
            node.add_post_set_parameters_callback(lambda _: self._after_change())

    def _before_change(self, changes: list[Parameter[Any]]) -> SetParametersResult:
        try:
            self._check(
                self.current.changed({each.name: _from_ros(each.value) for each in changes})
            )
        except InputError as error:
            return SetParametersResult(successful=False, reason=in_one_line(error))
        if not self._is_notified and self._node.executor is not None:
            # Its task runs after the callback that is changing the parameters, and before the next.
            self._node.executor.create_task(self._after_change)
        return SetParametersResult(successful=True)

    def _after_change(self) -> None:
        self.current = self._read()
        self._on_change(self.current)

    def _read(self) -> Parameters:
        return DEFAULTS.changed(
            {info.name: _from_ros(self._node.get_parameter(info.name).value) for info in PARAMETERS}
        )


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


def _given(node: Node) -> Mapping[str, Parameter[Any]]:
    """Values given at start, by the names of the parameters."""
    with node.handle:
        given: dict[str, Parameter[Any]] = node.handle.get_parameters(Parameter)
    return given


def _fitted_numbers(info: ParameterInfo, given: Mapping[str, Parameter[Any]]) -> Any:
    """What is given for a parameter of floats, as floats; None where nothing is, or no numbers."""
    if info.name not in given:
        return None
    fitted = info.fitted(given[info.name].value)
    numbers = fitted if isinstance(fitted, list) else [fitted]
    is_of_floats = isinstance(info.default, float) or info.length is not None
    fits = is_of_floats and numbers and all(type(each) is float for each in numbers)
    return fitted if fits else None


def _check_names(node: Node, given: Iterable[str]) -> None:
    """Look at the names given at start that no parameter has. rclpy says nothing of them, and not
    whether they stood in an entry for this node or in one for all nodes, as `/**`: so a name that
    resembles none of ours may be another node's, and is only logged.

    Raises:
        InputError: a name is nearly one of ours.
    """
    unknown = sorted(
        name
        for name in given
        # Those are declared with their topic, see `ignored_overrides`.
        if not node.has_parameter(name) and not name.startswith(PREFIX)
    )
    ours = [info.name for info in PARAMETERS]
    for name in unknown:
        if likely := get_close_matches(name, ours, 1, _MISSPELT):
            raise InputError(
                f"there is no parameter {shown(name, QUOTED_CHARACTERS)}, {likely[0]} was "
                f"probably meant; parameters: {listed(ours)}"
            )
    if unknown:
        node.get_logger().warning(
            f"given, but no parameters of this node, which leaves them out: {listed(unknown)}"
        )


def fit_types(parameters: Iterable[ParameterMessage]) -> None:
    """Give values of a request the types of the node's parameters, see `ParameterInfo.fitted`.

    Raises:
        InputError: a value has a type that ROS doesn't know; rclpy would fail on it.
    """
    known = {kind.value for kind in Parameter.Type}
    infos = {info.name: info for info in PARAMETERS}
    for parameter in parameters:
        if parameter.value.type not in known:
            raise InputError(
                f"parameter {shown(parameter.name, QUOTED_CHARACTERS)} has type "
                f"{parameter.value.type}, must be {min(known)} to {max(known)}"
            )
        if parameter.name in infos:
            value = Parameter.from_parameter_msg(parameter).value
            fitted = infos[parameter.name].fitted(value)
            if fitted is not value:
                parameter.value = _typed(infos[parameter.name], fitted).get_parameter_value()


def _declared(info: ParameterInfo) -> Any:
    """The default, or, since an empty list tells no type, the type."""
    if info.default == ():
        return Parameter.Type.STRING_ARRAY
    return list(info.default) if isinstance(info.default, tuple) else info.default


def _typed(info: ParameterInfo, value: Any) -> Parameter[Any]:
    """A parameter whose type is the declared one where its value is an empty list."""
    if info.default == () and value == []:
        return Parameter(info.name, Parameter.Type.STRING_ARRAY, value)
    return Parameter(info.name, value=value)


def _from_ros(value: Any) -> Any:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
