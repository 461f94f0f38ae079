"""Commands that wait, for the launch file:

python -m haskd_ros.node.once active NODE COMMAND...   until a life cycle node is active
python -m haskd_ros.node.once cloud TOPIC COMMAND...   until a PointCloud2 has come; {frame} in the
                                                  command becomes its frame

A node that is quick has become active before launch hears of any of its transitions, so it is
asked; and RViz shows nothing until it is told a frame, which only the sensor knows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import PointCloud2

_PATIENCE_S = 1.0
"""For an answer; then the node is asked again."""

_PAUSE_S = 0.1


def active(node: Node, name: str) -> dict[str, str]:
    """Return once the life cycle node of this name, with its namespace, is there and active."""
    client = node.create_client(GetState, f"{name}/get_state")
    while True:
        if client.wait_for_service(timeout_sec=_PATIENCE_S):
            answer = client.call_async(GetState.Request())
            rclpy.spin_until_future_complete(node, answer, timeout_sec=_PATIENCE_S)
            if answer.done() and answer.result().current_state.id == State.PRIMARY_STATE_ACTIVE:
                return {}
        rclpy.spin_once(node, timeout_sec=_PAUSE_S)


def cloud(node: Node, topic: str) -> dict[str, str]:
    """What stands for {frame} once a cloud has come."""
    came: list[PointCloud2] = []
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(PointCloud2, topic, came.append, qos)
    while not came:
        # Not without an end: only between two steps an interrupt gets through.
        rclpy.spin_once(node, timeout_sec=_PAUSE_S)
    return {"{frame}": came[0].header.frame_id}


WAITS: dict[str, Callable[[Node, str], dict[str, str]]] = {"active": active, "cloud": cloud}


def main() -> None:
    """Wait for what is asked for, then become the command that follows."""
    what, name, *command = sys.argv[1:]
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        # An underscore hides a node from `ros2 node list`.
        node = rclpy.create_node(f"_once_{what}_{os.getpid()}")
        node.get_logger().info(f"{command[0]} waits for {name}")
        known = WAITS[what](node, name)
    except KeyboardInterrupt:
        # Whoever ended the launch has ended nothing else by it.
        sys.exit(0)
    finally:
        rclpy.shutdown()
    for place, value in known.items():
        command = [part.replace(place, value) for part in command]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
