"""A command that waits for a life cycle node: `python -m haskd_ros.when_active NODE COMMAND...`

The launch file starts the replay of a bag by it. A node that is quick has become active before
launch hears of any of its transitions, so the node is asked.
"""

from __future__ import annotations

import os
import sys

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.client import Client
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

_PATIENCE_S = 1.0
"""For an answer; then the node is asked again."""

_PAUSE_S = 0.1


def wait_until_active(name: str) -> None:
    """Return once the node is there and active.

    Args:
        name: of the node, with its namespace.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        # An underscore hides a node from `ros2 node list`.
        node = rclpy.create_node(f"_waits_for_{name.rpartition('/')[2]}_{os.getpid()}")
        client = node.create_client(GetState, f"{name}/get_state")
        while not _is_active(node, client):
            rclpy.spin_once(node, timeout_sec=_PAUSE_S)
    finally:
        rclpy.shutdown()


def _is_active(node: Node, client: Client) -> bool:
    if not client.wait_for_service(timeout_sec=_PATIENCE_S):
        return False
    answer = client.call_async(GetState.Request())
    rclpy.spin_until_future_complete(node, answer, timeout_sec=_PATIENCE_S)
    return answer.done() and answer.result().current_state.id == State.PRIMARY_STATE_ACTIVE


def main() -> None:
    """Wait for the node named first, then become the command that follows."""
    name, *command = sys.argv[1:]
    try:
        wait_until_active(name)
    except KeyboardInterrupt:
        sys.exit(130)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
