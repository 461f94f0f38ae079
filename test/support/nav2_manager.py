"""A life cycle manager that leads nodes as nav2_lifecycle_manager does: the same calls in the same
order, each transition by its number and followed by a look at the state. It has no bonds, as with
`bond_timeout: 0.0`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

TARGET = {
    Transition.TRANSITION_CONFIGURE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_CLEANUP: State.PRIMARY_STATE_UNCONFIGURED,
    Transition.TRANSITION_ACTIVATE: State.PRIMARY_STATE_ACTIVE,
    Transition.TRANSITION_DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: State.PRIMARY_STATE_FINALIZED,
}
UPWARDS = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
WAIT_S = 120.0
AGAIN_S = 10.0
"""Until a state is asked for once more: a node answers nobody whom it has not discovered yet, and a
client in rclpy can't tell."""


class Nav2Manager:
    """
    Args:
        node: whose clients are used; spun here.
        node_names: as in Nav2's parameter, relative to the node's namespace.
    """

    def __init__(self, node: Node, node_names: Sequence[str]) -> None:
        self._names = tuple(node_names)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._change = {n: node.create_client(ChangeState, f"{n}/change_state") for n in node_names}
        self._state = {n: node.create_client(GetState, f"{n}/get_state") for n in node_names}

    def startup(self) -> bool:
        return self._all(Transition.TRANSITION_CONFIGURE) and self.resume()

    def pause(self) -> bool:
        return self._all(Transition.TRANSITION_DEACTIVATE)

    def resume(self) -> bool:
        return self._all(Transition.TRANSITION_ACTIVATE)

    def reset(self, hard: bool = False) -> bool:
        went = self._all(Transition.TRANSITION_DEACTIVATE, hard)
        went = (went or hard) and self._all(Transition.TRANSITION_CLEANUP, hard)
        return went or hard

    def shutdown(self) -> bool:
        steps = (
            Transition.TRANSITION_DEACTIVATE,
            Transition.TRANSITION_CLEANUP,
            Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
        )
        went = [self._all(step) for step in steps]  # each, whatever became of the one before
        return all(went)

    def spin(self) -> None:
        self._executor.spin()

    def states(self) -> list[int]:
        return [self._ask_state(name) for name in self._names]

    def _all(self, transition: int, hard: bool = False) -> bool:
        """All nodes through a transition, downwards from the last one; stops at the first that
        fails, unless it is a hard change."""
        order: Iterable[str] = self._names if transition in UPWARDS else reversed(self._names)
        return all(self._one(name, transition) or hard for name in order)

    def _one(self, name: str, transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        self._ask_state(name)  # whose answer shows that the node has discovered this one
        if not self._call(self._change[name], request, WAIT_S).success:
            return False
        return self._ask_state(name) == TARGET[transition]

    def _ask_state(self, name: str) -> int:
        end = time.monotonic() + WAIT_S
        while True:
            try:
                answer = self._call(self._state[name], GetState.Request(), AGAIN_S)
                return int(answer.current_state.id)
            except TimeoutError:
                if time.monotonic() > end:
                    raise

    def _call(self, client: Any, request: Any, wait_s: float) -> Any:
        if not client.wait_for_service(WAIT_S):
            raise TimeoutError(f"no service {client.srv_name}")
        future = client.call_async(request)
        self._executor.spin_until_future_complete(future, wait_s)
        if not future.done():
            raise TimeoutError(f"no answer from {client.srv_name}")
        return future.result()


def main() -> None:
    """As `ros2 run nav2_lifecycle_manager lifecycle_manager` with `autostart` and without bonds."""
    rclpy.init()
    node = rclpy.create_node("lifecycle_manager")
    defaults = {"node_names": [""], "autostart": False, "bond_timeout": 4.0}
    values = {
        name: node.declare_parameter(name, default).value for name, default in defaults.items()
    }
    assert values["autostart"] and values["bond_timeout"] == 0.0
    manager = Nav2Manager(node, values["node_names"])
    assert manager.startup()
    node.get_logger().info("Managed nodes are active")
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        manager.spin()
