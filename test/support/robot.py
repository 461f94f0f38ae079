"""The other side of the node: its process, and a robot that sends clouds and subscribes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header
from warm_start import WarmProcess, WarmStarts

from haskd_ros.clouds.pointcloud import create_cloud
from haskd_training.robot.live.node_client import NODE, NodeReport, read_report

REPOSITORY = Path(__file__).resolve().parents[2]
DOMAIN = 1 + 2 * (os.getpid() % 49)
"""Of the node that most tests share; a test's own node lives in the next one. Two processes
of tests that start together share none."""
DOMAIN_OF_THIS_PROCESS = 99
"""Of nodes that a test makes in its own process: what rclpy leaves behind of them stays in its
domain until the process ends, and a robot there would take it for the node it looks for."""
WAIT_S = 60.0
RESPONSE_TIMEOUT_S = 10.0
"""For the response of a service; then the request is sent again."""
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
POINT = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4")])


def python_path() -> str:
    """This repository, and then where a sourced ROS installation keeps its packages."""
    return os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])


class NodeProcess:
    """`python -m haskd_ros` and what it logs.

    Args:
        warm: starts it; None for a fresh interpreter, as a user's.
    """

    process: subprocess.Popen | WarmProcess

    def __init__(
        self,
        folder: Path,
        domain: int,
        *parameters: str,
        namespace: str = "",
        warm: WarmStarts | None = None,
    ) -> None:
        self._log = folder / f"node{namespace.replace('/', '-')}.log"
        arguments = ["--ros-args"]
        arguments += [part for parameter in parameters for part in ("-p", parameter)]
        if namespace:
            arguments += ["-r", f"__ns:={namespace}"]
        env = {**os.environ, "ROS_DOMAIN_ID": str(domain), "PYTHONPATH": python_path()}
        if warm is not None:
            self.process = warm.start(arguments, env, self._log)
            return
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "haskd_ros", *arguments],
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for_log(self, text: str) -> None:
        wait_until(lambda: text in self.log or self.process.poll() is not None)
        assert text in self.log, self.log

    def close(self) -> None:
        """End it if it has not ended. A killed process leaves its 281 MB of shared memory behind,
        and after some dozens of them the machine has none left."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(WAIT_S / 4)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def end(self, number: int = signal.SIGINT) -> int:
        """The exit code after a signal that comes again and again, as from an impatient user."""
        wait_until(lambda: self.process.send_signal(number) or self.process.poll() is not None)
        code = self.process.returncode
        if code < 0:
            print(f"ended by signal {-code}, its log:\n{self.log}")
        return code


@contextmanager
def steady_node(folder: Path, *parameters: str, warm: WarmStarts) -> Iterator[NodeProcess]:
    """One node for all tests of a file that leave it as it was; it has to end well."""
    node = NodeProcess(folder, DOMAIN, *parameters, warm=warm)
    node.wait_for_log("active")
    yield node
    assert node.end() == 0
    assert "Traceback" not in node.log


class Robot:
    """The other side of the node's topics and services."""

    def __init__(self, domain: int) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node("robot", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.received: dict[str, list] = {}
        self._reports: dict[str, NodeReport] = {}
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._points: Publisher | None = None
        self._clients: dict[str, Client] = {}

    def publish_on(self, topic: str) -> None:
        """Send clouds on this topic from now on."""
        self._points = self.node.create_publisher(PointCloud2, topic, BEST_EFFORT)

    def subscribe(self, topic: str, message_type: type = PointCloud2, qos=10) -> None:
        """Collect what comes on a topic from now on; without a leading / it is one of the node."""
        if topic in self.received:
            self.received[topic].clear()
            return
        self.received[topic] = []
        name = topic if topic.startswith("/") else f"/segment/{topic}"
        self.node.create_subscription(message_type, name, self.received[topic].append, qos)

    def wait(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, lambda: self._executor.spin_once(timeout_sec=0.05))

    def send(self, cloud: PointCloud2) -> None:
        if self._points is None:
            self.publish_on("/segment/input/points")
        self.wait(lambda: self._points.get_subscription_count() > 0)
        self._points.publish(cloud)

    def send_now(self, cloud: PointCloud2) -> None:
        """On the topic of `publish_on`, whether somebody subscribes to it or not."""
        self._points.publish(cloud)

    def label(self, cloud: PointCloud2, topic: str = "output/segmentation") -> PointCloud2:
        """The node's labels of a cloud; sent again where best effort was not enough."""
        cloud.header.stamp = self.node.get_clock().now().to_msg()
        replies = self.received[topic]
        sent = 0.0

        def is_labelled() -> bool:
            nonlocal sent
            if time.monotonic() > sent + 2.0:
                sent = time.monotonic()
                self.send(cloud)
            return any(reply.header == cloud.header for reply in replies)

        self.wait(is_labelled)
        return replies[-1]

    def call(self, service_type: type, name: str, request):
        # A new one for each call would be kept by the node's middleware, one and all.
        client = self._clients.get(name)
        if client is None:
            client = self.node.create_client(service_type, f"/segment/{name}")
            self._clients[name] = client
        futures: list[Future] = []
        again = 0.0

        def has_response() -> bool:
            # A node that has not yet discovered this client responds to nobody
            # (ros2/rmw_fastrtps#842), which a client can only detect by a timeout.
            nonlocal again
            if time.monotonic() > again and client.service_is_ready():
                again = time.monotonic() + RESPONSE_TIMEOUT_S
                futures.append(client.call_async(request))
            return any(future.done() for future in futures)

        self.wait(has_response)
        return next(future.result() for future in futures if future.done())

    def change(self, transition: str) -> bool:
        """Lead the node through a transition of its life cycle; whether it went."""
        request = ChangeState.Request()
        request.transition.label = transition
        return self.call(ChangeState, "change_state", request).success

    def set_parameter(self, name: str, value) -> tuple[bool, str]:
        parameter = Parameter(name, value=value).to_parameter_msg()
        response = self.call(
            SetParameters, "set_parameters", SetParameters.Request(parameters=[parameter])
        )
        return response.results[0].successful, response.results[0].reason

    def told(
        self,
        task: str,
        text: str,
        is_meant: Callable[[Mapping[str, str]], bool] = lambda values: True,
    ) -> tuple[bytes, str, dict[str, str]]:
        """Level, message and values of what /diagnostics, which has been subscribed to, says of one
        of the node's tasks, with this text in its message; the newest of those collected."""
        self.wait(lambda: self.has_told(task, text, is_meant))
        return self._reports_of(task, text, is_meant)[-1]

    def has_told(self, task: str, text: str, is_meant: Callable[[Mapping[str, str]], bool]) -> bool:
        """Whether what `told` waits for is among the reports collected."""
        return bool(self._reports_of(task, text, is_meant))

    def _reports_of(
        self, task: str, text: str, is_meant: Callable[[Mapping[str, str]], bool]
    ) -> list[tuple[bytes, str, dict[str, str]]]:
        statuses = (
            (each.level, each.message, {value.key: value.value for value in each.values})
            for report in self.received["/diagnostics"]
            for each in report.status
            if each.name == f"/segment: {task}" and text in each.message
        )
        return [each for each in statuses if is_meant(each[2])]

    def final_counts(self, node: str = NODE) -> Mapping[str, int]:
        """What became of the clouds, as a node reports when it ends."""
        self.wait(lambda: node in self._reports and self._reports[node].state == "finalized")
        return self._reports[node].counts

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        node, _, _ = message.status[0].name.partition(": ")
        if (report := read_report(message, node)) is not None:
            self._reports[node] = report

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)


def wait_until(condition: Callable[[], bool], meanwhile=lambda: time.sleep(0.05)) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "waited too long"
        meanwhile()


def some_points(count: int = 2000) -> np.ndarray:
    random = np.random.default_rng(0)
    points = np.zeros(count, POINT)
    for name in ("x", "y", "z"):
        points[name] = random.uniform(-20, 20, count)
    points["intensity"] = random.uniform(0, 255, count)
    return points


def cloud_of(points: np.ndarray) -> PointCloud2:
    return create_cloud(Header(frame_id="lidar"), points, PointCloud2, PointField)
