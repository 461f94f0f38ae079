"""Commands that wait, for the launch file:

python -m haskd_ros.node.once active NODE COMMAND...   until a life cycle node is active
python -m haskd_ros.node.once cloud TOPIC COMMAND...   until a PointCloud2 has come; {frame} in the
                                                  command becomes its frame

The node's state is polled, since a quick node is active before launch receives any of its
transition events; and RViz shows nothing without a fixed frame, which only the clouds name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.client import Client
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import PointCloud2

_RESPONSE_TIMEOUT_S = 1.0
"""For a response; then the request is sent again."""

_POLL_S = 0.1


def active(node: Node, name: str) -> dict[str, str]:
    """Return once the life cycle node of this name, with its namespace, is there and active."""
    client: Client[GetState.Request, GetState.Response] = node.create_client(
        GetState, f"{name}/get_state"
    )
    while True:
        if client.wait_for_service(timeout_sec=_RESPONSE_TIMEOUT_S):
            future = client.call_async(GetState.Request())
            rclpy.spin_until_future_complete(node, future, timeout_sec=_RESPONSE_TIMEOUT_S)
            response = future.result() if future.done() else None
            if response and response.current_state.id == State.PRIMARY_STATE_ACTIVE:
                return {}
        rclpy.spin_once(node, timeout_sec=_POLL_S)


def cloud(node: Node, topic: str) -> dict[str, str]:
    """The frame of the first cloud on this topic, as a value for {frame}."""
    clouds: list[PointCloud2] = []
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(PointCloud2, topic, clouds.append, qos)
    while not clouds:
        # In short steps: an interrupt is handled only between two.
        rclpy.spin_once(node, timeout_sec=_POLL_S)
    return {"{frame}": clouds[0].header.frame_id}


WAITS: dict[str, Callable[[Node, str], dict[str, str]]] = {"active": active, "cloud": cloud}


def main() -> None:
    """Wait for an event, then become the command that follows."""
    event, name, *command = sys.argv[1:]
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        # An underscore hides a node from `ros2 node list`.
        node = rclpy.create_node(f"_once_{event}_{os.getpid()}")
        node.get_logger().info(f"{command[0]} waits for {name}")
        values = WAITS[event](node, name)
    except KeyboardInterrupt:
        # The launch was interrupted before the command was started: nothing has failed.
        sys.exit(0)
    finally:
        rclpy.shutdown()
    for placeholder, value in values.items():
        command = [part.replace(placeholder, value) for part in command]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
