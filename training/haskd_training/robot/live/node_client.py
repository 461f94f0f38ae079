"""The other side of a segmentation node: its topics, its life cycle, what it reports about itself.

With `views/over_time/live_clouds.py` the only file of the training half that imports ROS.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from haskd_ros.errors import InputError

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray
    from lifecycle_msgs.srv import ChangeState, GetState
    from rclpy.client import Client
    from sensor_msgs.msg import PointCloud2

NODE = "/segment"
INPUT = f"{NODE}/input/points"
OUTPUT = f"{NODE}/output/segmentation"
STAGES = ("preprocess", "inference", "postprocess", "total")
TIMEOUT_S = 60.0
"""For a node to become active, and for its last report."""
RESPONSE_TIMEOUT_S = 2.0
"""For the response of a service; then the request is sent again. A node that has not yet discovered
its client responds to nobody (ros2/rmw_fastrtps#842)."""

_POLL_S = 0.02


@dataclass(frozen=True)
class NodeReport:
    """What a message on /diagnostics reports about a node.

    Attributes:
        state: of its life cycle: unconfigured, inactive, active or finalized.
        error: why it can't be configured or activated; None where it can.
        counts: of clouds since its start, by `FrameCounts.as_dict`'s names.
    """

    state: str
    error: str | None
    counts: Mapping[str, int]


def read_report(message: DiagnosticArray, node: str = NODE) -> NodeReport | None:
    """
    Args:
        node: fully qualified name.

    Returns:
        None where the message is another node's.
    """
    tasks = {status.name: status for status in message.status}
    model, frames = tasks.get(f"{node}: model"), tasks.get(f"{node}: frames")
    if model is None or frames is None:
        return None
    state = {pair.key: pair.value for pair in model.values}["state"]
    return NodeReport(
        state,
        model.message if model.level == model.ERROR else None,
        {pair.key: int(pair.value) for pair in frames.values},
    )


class NodeClient:
    """Sends clouds to a node and collects what it publishes, in a thread of its own.

    Attributes:
        outputs: (s of `time.perf_counter`, serialised cloud) of each labelled cloud.
        stages: ms of each of the node's `STAGES`, a value a labelled cloud.

    Raises:
        InputError: ROS 2 is not installed.
    """

    def __init__(self) -> None:
        try:
            import rclpy
            from diagnostic_msgs.msg import DiagnosticArray
            from lifecycle_msgs.srv import ChangeState, GetState
            from rclpy.executors import SingleThreadedExecutor
            from rclpy.qos import QoSProfile, ReliabilityPolicy
            from sensor_msgs.msg import PointCloud2
            from std_msgs.msg import Float32
        except ImportError as error:
            raise InputError(f"ROS 2 is not installed for this Python ({error})") from error

        self.outputs: list[tuple[float, bytes]] = []
        self.stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self._report: NodeReport | None = None
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("haskd_player", context=self._context)
        self._publisher = self._node.create_publisher(PointCloud2, INPUT, QoSProfile(depth=1))
        self._node.create_subscription(
            PointCloud2,
            OUTPUT,
            lambda cdr: self.outputs.append((time.perf_counter(), cdr)),
            QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE),
            raw=True,
        )
        for stage, values in self.stages.items():
            self._node.create_subscription(
                Float32,
                f"{NODE}/debug/{stage}_ms",
                lambda message, values=values: values.append(message.data),
                QoSProfile(depth=10),
            )
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._get_state: Client[GetState.Request, GetState.Response] = self._node.create_client(
            GetState, f"{NODE}/get_state"
        )
        self._change_state: Client[ChangeState.Request, ChangeState.Response] = (
            self._node.create_client(ChangeState, f"{NODE}/change_state")
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._spinning = threading.Thread(target=self._executor.spin, daemon=True)

    def __enter__(self) -> NodeClient:
        self._spinning.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import rclpy

        self._executor.shutdown()
        self._spinning.join()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def wait_until_active(self, is_alive: Callable[[], bool]) -> bool:
        """
        Args:
            is_alive: whether the node's process runs.

        Returns:
            False where the process has ended before, or the time is over.

        Raises:
            InputError: the node can't be configured or activated, for the reason that it reports.
        """
        from lifecycle_msgs.msg import State
        from lifecycle_msgs.srv import GetState

        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline and is_alive():
            response = self._call(self._get_state, GetState.Request(), is_alive)
            if response and response.current_state.id == State.PRIMARY_STATE_ACTIVE:
                return True
            if self._report is not None and self._report.error is not None:
                raise InputError(f"the node did not become active: {self._report.error}")
            time.sleep(_POLL_S)
        return False

    def publish(self, cdr: bytes) -> None:
        """Send a serialised cloud."""
        self._publisher.publish(cdr)

    def has_subscriber(self) -> bool:
        """Whether the node's subscription is known already."""
        return self._publisher.get_subscription_count() > 0

    def deactivate(self, is_alive: Callable[[], bool]) -> Mapping[str, int]:
        """Deactivate the node.

        Returns:
            the counts of clouds in its report thereafter, when nothing is in work any more.

        Raises:
            InputError: there was no such report.
        """
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request()
        request.transition.id = Transition.TRANSITION_DEACTIVATE
        deadline = time.monotonic() + TIMEOUT_S
        self._call(self._change_state, request, is_alive)
        while self._report is None or self._report.state != "inactive":
            if time.monotonic() > deadline or not is_alive():
                raise InputError("the node did not report that it was deactivated; see its log")
            time.sleep(_POLL_S)
        return self._report.counts

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._report = read_report(message) or self._report

    def _call(self, client: Client[Any, Any], request: Any, is_alive: Callable[[], bool]) -> Any:
        """The response of a service; None where there was none in time."""
        deadline = time.monotonic() + RESPONSE_TIMEOUT_S
        while not client.service_is_ready():
            if time.monotonic() > deadline or not is_alive():
                return None
            time.sleep(_POLL_S)
        response = client.call_async(request)
        while not response.done():
            if time.monotonic() > deadline or not is_alive():
                return None
            time.sleep(_POLL_S)
        return response.result()


def deserialise(cdr: bytes) -> PointCloud2:
    """A cloud from its serialised message."""
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import PointCloud2

    return deserialize_message(cdr, PointCloud2)
