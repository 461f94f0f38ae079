"""A life cycle node whose callbacks answer even where they fail."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from haskd_ros.errors import InputError
from haskd_ros.node.clock import ClockWatch
from haskd_ros.node.parameters.declared import fit_types
from haskd_ros.node.reports.faults import InternalFaults, in_one_line

_Node = TypeVar("_Node", bound="GuardedNode")
_Transition = Callable[[_Node, LifecycleState], TransitionCallbackReturn]


def noted(transition: _Transition[_Node]) -> _Transition[_Node]:
    """A transition of the life cycle whose exceptions are noted: rclpy drops them without a word,
    and lets some end the node."""

    @functools.wraps(transition)
    def run(node: _Node, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except BaseException as error:
            node.faults.note(error)
            return TransitionCallbackReturn.ERROR

    return run


class GuardedNode(LifecycleNode):
    """What its callbacks raise is noted by the executor (`SurvivingExecutor`). This class does what
    an executor can't: a service whose callback fails refuses instead of never answering, and
    /clock sets no time that is none.

    Args:
        name: of the node.
        on_clock: as of `ClockWatch`.

    Attributes:
        faults: those that nobody foresaw.
        changing: group of the services that change what the node works with: one after the other,
            while everything else goes on.
    """

    def __init__(self, name: str, on_clock: Callable[[str, int], None]) -> None:
        # Before rclpy's own constructor, which makes services and subscribes to /clock.
        self.faults = InternalFaults(lambda text: self.get_logger().error(text))
        self._clock_watch = ClockWatch(on_clock)
        self.changing = MutuallyExclusiveCallbackGroup()
        super().__init__(name)

    def create_service(
        self, srv_type: Any, srv_name: str, callback: Callable[..., Any], **options: Any
    ) -> Any:
        if srv_type in (SetParameters, SetParametersAtomically):
            callback, options = (
                self._setting(callback),
                {**options, "callback_group": self.changing},
            )
        return super().create_service(srv_type, srv_name, self._answering(callback), **options)

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        if topic == "/clock":
            callback = self._clock_watch.guarding(callback)
        return super().create_subscription(msg_type, topic, callback, *args, **options)

    async def before_parameters(self, changes: Mapping[str, object]) -> None:
        """Get ready what a change of parameters needs and what takes its time; called with the new
        values by name. Who overrides this refuses the change with an InputError."""

    def _setting(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """rclpy's callback that sets parameters, once all is ready for it. What can only be read
        may be set to the value that it has, as `ros2 param load` of a dump does."""

        async def set_parameters(request: Any, response: Any) -> Any:
            fit_types(request.parameters)
            given = [Parameter.from_parameter_msg(each) for each in request.parameters]
            await self.before_parameters({each.name: each.value for each in given})
            is_kept = [self._is_read_only_at(each) for each in given]
            request.parameters = [
                each for each, kept in zip(request.parameters, is_kept, strict=True) if not kept
            ]
            response = callback(request, response)
            if isinstance(request, SetParameters.Request):
                results = iter(response.results)
                response.results = [
                    SetParametersResult(successful=True) if kept else next(results)
                    for kept in is_kept
                ]
            return response

        return set_parameters

    def _is_read_only_at(self, given: Parameter[Any]) -> bool:
        """Whether a parameter can only be read, and has the given value."""
        return (
            self.has_parameter(given.name)
            and self.describe_parameter(given.name).read_only
            and self.get_parameter(given.name).value == given.value
        )

    def _answering(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """A service's callback that answers with a refusal where the given one fails."""

        def refusal(request: Any, response: Any, error: BaseException) -> Any:
            if not isinstance(error, InputError):
                self.faults.note(error)
            return refused(request, type(response)(), in_one_line(error))

        if inspect.iscoroutinefunction(callback):

            async def answer_later(request: Any, response: Any) -> Any:
                try:
                    return await callback(request, response)
                except BaseException as error:
                    return refusal(request, response, error)

            return answer_later

        def answer(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except BaseException as error:
                return refusal(request, response, error)

        return answer


def refused(request: Any, response: Any, reason: str) -> Any:
    """A response that says no, as far as its type has words for it."""
    if isinstance(request, SetParameters.Request):
        result = SetParametersResult(successful=False, reason=reason)
        response.results = [result] * len(request.parameters)
    elif isinstance(request, SetParametersAtomically.Request):
        response.result = SetParametersResult(successful=False, reason=reason)
    elif hasattr(response, "message"):
        response.message = reason
    return response
