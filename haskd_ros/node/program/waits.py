"""What `haskd_ros.node.once` waits for. Each wait gives values for placeholders in the command that
follows, or None where the process is to end first."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Event

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

Wait = Callable[[Node, str, Event], dict[str, str] | None]


def active(node: Node, name: str, asked: Event) -> dict[str, str] | None:
    """Until the life cycle node of this name, with its namespace, is there and active."""
    client: Client[GetState.Request, GetState.Response] = node.create_client(
        GetState, f"{name}/get_state"
    )
    while not asked.is_set():
        if client.wait_for_service(timeout_sec=_POLL_S):
            future = client.call_async(GetState.Request())
            rclpy.spin_until_future_complete(node, future, timeout_sec=_RESPONSE_TIMEOUT_S)
            response = future.result() if future.done() else None
            if response and response.current_state.id == State.PRIMARY_STATE_ACTIVE:
                return {}
        rclpy.spin_once(node, timeout_sec=_POLL_S)
    return None


def cloud(node: Node, topic: str, asked: Event) -> dict[str, str] | None:
    """Until the first cloud on this topic; its frame is the value for {frame}."""
    clouds: list[PointCloud2] = []
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(PointCloud2, topic, clouds.append, qos)
    while not clouds:
        if asked.is_set():
            return None
        rclpy.spin_once(node, timeout_sec=_POLL_S)
    return {"{frame}": clouds[0].header.frame_id}


WAITS: dict[str, Wait] = {"active": active, "cloud": cloud}


def wait(event: str, name: str, command: list[str], asked: Event) -> list[str] | None:
    """The command to run once the event has come, or None where the process is asked to end."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    # An underscore hides a node from `ros2 node list`.
    node = rclpy.create_node(f"_once_{event}_{os.getpid()}")
    node.get_logger().info(f"{command[0]} waits for {name}")
    values = WAITS[event](node, name, asked)
    rclpy.shutdown()
    if values is None:
        return None
    for placeholder, value in values.items():
        command = [part.replace(placeholder, value) for part in command]
    return command
