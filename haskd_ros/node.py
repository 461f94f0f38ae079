"""The managed ROS 2 node `segment`: PointCloud2 in, labelled PointCloud2 out."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any, NamedTuple

import numpy as np
import rclpy
import torch
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

# From here, because the module that defines them has another name on Humble.
from rclpy.publisher import PublisherEventCallbacks
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import SubscriptionEventCallbacks
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Float32

from haskd_ros import parameters
from haskd_ros.dds import profile_environment
from haskd_ros.errors import InputError
from haskd_ros.output_clouds import (
    packed_color_table,
    segmentation_points,
    visualization_points,
)
from haskd_ros.pointcloud import CloudError, create_cloud, read_xyz_intensity
from haskd_ros.segmenter import Segmentation, Segmenter
from haskd_ros.taxonomy import UNLABELLED
from haskd_ros.worker import FrameCounts, NewestFirstWorker

DEFAULT_MODEL = Path(__file__).parent / "data" / "street.safetensors"
INPUT_TOPIC = "~/input/points"
STAGES = ("preprocess", "inference", "postprocess", "total", "latency")
LOG_PERIOD_S = 5.0
"""A rejected cloud is logged at once, further ones for the same reason not more often than this."""


class Arrival(NamedTuple):
    """A cloud and when it came: seconds of `time.perf_counter`."""

    cloud: PointCloud2
    time: float


class SegmentNode(LifecycleNode):
    """Labels clouds, the newest first.

    configure loads the model, activate subscribes and starts the worker, deactivate ends both,
    cleanup lets the model and its device go. Callbacks run in the executor's thread, the network in
    the worker's.
    """

    def __init__(self, run_worker: Callable[[Callable[[], None]], None]) -> None:
        """
        Args:
            run_worker: has the worker's loop run in the thread that is to do the work.

        Raises:
            InputError, rclpy.exceptions.ParameterException: a parameter is not allowed.
        """
        super().__init__("segment")
        self._run_worker = run_worker
        parameters.declare(self)
        self.finalized = False
        self._counts = FrameCounts()
        self._last_log: dict[str, float] = {}
        self._segmenter: Segmenter | None = None
        self._outputs: dict[str, Any] = {}
        self._subscription: Any = None
        self._worker: NewestFirstWorker[Arrival] | None = None

    # Life cycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        values = parameters.values_of(self)
        model = Path(values["model"]).expanduser() if values["model"] else DEFAULT_MODEL
        start = time.perf_counter()
        try:
            self._segmenter = self._in_worker_thread(
                lambda: Segmenter.load(
                    model,
                    device=values["device"],
                    precision=values["precision"],
                    threads=values["threads"],
                )
            )
        except Exception as error:  # whatever it is, the node lives on and can be asked again
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            self.get_logger().error(f"can't configure: {kind}{error}")
            self._segmenter = None
            return TransitionCallbackReturn.FAILURE
        taxonomy = self._segmenter.taxonomy
        self._packed_colors = packed_color_table(taxonomy.color_table())
        self._create_outputs()
        self.get_logger().info(
            f"model {model} on {self._segmenter.device}, ready after "
            f"{time.perf_counter() - start:.1f} s; classes: {', '.join(taxonomy.names)}"
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        start = time.perf_counter()
        try:
            self._worker = NewestFirstWorker(
                self._work,
                replaced=lambda arrival: self._counts.add(replaced=1),
                warm_up=self._warm_up,
                run=self._run_worker,
            )
        except Exception as error:
            self.get_logger().error(f"can't activate: {type(error).__name__}: {error}")
            return TransitionCallbackReturn.FAILURE
        result = super().on_activate(state)
        topic = self.resolve_topic_name(INPUT_TOPIC)
        self._subscription = self.create_subscription(
            PointCloud2,
            INPUT_TOPIC,
            self._on_cloud,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._warn_of_qos(
                    f"a publisher of {topic} offers less than this node asks for; set this "
                    f"node's parameter qos_overrides.{topic}.subscription.{{policy}}"
                )
            ),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self.get_logger().info(
            f"active after {time.perf_counter() - start:.1f} s of warming up, "
            f"waiting for clouds on {self._subscription.topic_name}"
        )
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._release()
        self.finalized = True
        self.get_logger().info(str(self._counts))
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._release()
        return super().on_error(state)

    def _stop(self) -> None:
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None
        if self._worker is not None:
            if self._worker.stop() is not None:
                self._counts.reject("waiting when the node was deactivated")
            self._worker = None

    def _release(self) -> None:
        for output in self._outputs.values():
            self.destroy_lifecycle_publisher(output)
        self._outputs = {}
        self._segmenter = None
        torch.cuda.empty_cache()

    def _in_worker_thread(self, function: Callable[[], Segmenter]) -> Segmenter:
        """Call a function where the network runs: a second thread that computes with torch costs
        the first one its speed (see `main`)."""
        result: Future[Segmenter] = Future()

        def call() -> None:
            try:
                result.set_result(function())
            except Exception as error:
                result.set_exception(error)

        self._run_worker(call)
        return result.result()

    def _warm_up(self) -> None:
        """Label a made-up cloud, in the worker's thread: memory and torch's threads belong to the
        thread that first asks for them."""
        count = self.get_parameter("warmup_points").value
        points = np.random.default_rng(0).normal(0, (20, 20, 1, 1), (count, 4))
        self._segmenter(points.astype(np.float32))

    def _create_outputs(self) -> None:
        types = {"output/segmentation": PointCloud2, "output/visualization": PointCloud2}
        types |= {f"debug/{stage}_ms": Float32 for stage in STAGES}
        for name, message_type in types.items():
            self._outputs[name] = self.create_lifecycle_publisher(
                message_type,
                f"~/{name}",
                QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE),
                event_callbacks=PublisherEventCallbacks(
                    incompatible_qos=self._warn_of_qos(
                        f"a subscriber of ~/{name} asks for more than this node offers; "
                        "subscribe with another {policy}"
                    )
                ),
            )

    def _warn_of_qos(self, message: str) -> Callable[[Any], None]:
        def warn(event: Any) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
            self.get_logger().warning("no clouds: " + message.format(policy=policy))

        return warn

    # Clouds

    def _on_cloud(self, cloud: PointCloud2) -> None:
        self._counts.add(received=1)
        self._worker.put(Arrival(cloud, time.perf_counter()))

    def _work(self, arrival: Arrival) -> None:
        watched = {n for n, output in self._outputs.items() if output.get_subscription_count()}
        if not watched:
            self._counts.add(unwatched=1)
            return
        try:
            self._label(arrival, watched)
        except InputError as error:
            reason = error.reason if isinstance(error, CloudError) else "refused by the model"
            self._reject(reason, str(error))
        except Exception:  # a defect; the next cloud may do better
            self._reject("internal error", traceback.format_exc())
        else:
            self._counts.add(labelled=1)

    def _label(self, arrival: Arrival, watched: set[str]) -> None:
        cloud = arrival.cloud
        limits = parameters.values_of(self)
        start = time.perf_counter()
        points, intensity = read_xyz_intensity(cloud)
        if intensity is None and len(points):
            points = points[:, :3]
            self.get_logger().info(
                "clouds have no intensity; the mean of the training clouds stands in", once=True
            )
        decoded = time.perf_counter()
        result = self._segment(points, limits)
        segmented = time.perf_counter()

        if "output/segmentation" in watched:
            labelled = segmentation_points(
                points, result.class_id, result.probability, result.entropy
            )
            self._publish("output/segmentation", cloud, labelled)
        if "output/visualization" in watched:
            colored = visualization_points(points, result.class_id, self._packed_colors)
            self._publish("output/visualization", cloud, colored)
        published = time.perf_counter()

        stamp = cloud.header.stamp
        age_ns = self.get_clock().now().nanoseconds - (stamp.sec * 10**9 + stamp.nanosec)
        times = {
            "preprocess": 1e3 * (decoded - start) + result.timings.get("preprocess", 0.0),
            "inference": result.timings.get("inference", 0.0),
            "postprocess": result.timings.get("postprocess", 0.0) + 1e3 * (published - segmented),
            "total": 1e3 * (published - arrival.time),
            "latency": age_ns / 1e6,
        }
        for stage, milliseconds in times.items():
            if f"debug/{stage}_ms" in watched:
                self._outputs[f"debug/{stage}_ms"].publish(Float32(data=milliseconds))

    def _segment(self, points: np.ndarray, limits: dict[str, Any]) -> Segmentation:
        if not len(points):
            nothing = np.empty(0, np.float32)
            return Segmentation(np.empty(0, np.uint8), nothing, nothing)
        result = self._segmenter(
            points, min_range=limits["range.min"], max_range=limits["range.max"]
        )
        result.class_id[result.probability < limits["min_probability"]] = UNLABELLED
        return result

    def _publish(self, name: str, cloud: PointCloud2, points: np.ndarray) -> None:
        """Publish [N] points with the header and the shape of the cloud they came from."""
        organised = points.reshape(cloud.height, cloud.width)
        self._outputs[name].publish(create_cloud(cloud.header, organised, PointCloud2, PointField))

    def _reject(self, reason: str, message: str) -> None:
        self._counts.reject(reason)
        now = time.monotonic()
        if now - self._last_log.get(reason, -LOG_PERIOD_S) >= LOG_PERIOD_S:
            self._last_log[reason] = now
            self.get_logger().warning(f"cloud rejected: {message}")


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM.

    Returns:
        exit code: 0, or 2 where a parameter is not allowed.
    """
    signalled: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # A handler may interrupt itself: nothing in it may take a lock.
        signal.signal(number, lambda number, _: signalled.append(number))
    os.environ.update(profile_environment())
    # rclpy's own handlers would end the context while the worker still publishes.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    # Not a SimpleQueue: a signal at the end of its timeout makes that one wait for ever.
    loops: Queue[Callable[[], None]] = Queue()
    try:
        node = SegmentNode(run_worker=loops.put)
    except (InputError, ParameterException) as error:
        rclpy.logging.get_logger("segment").fatal(str(error))
        rclpy.shutdown()
        return 2

    # All of torch runs in the main thread and ROS in another one: as soon as a second thread
    # computes with torch, GNU OpenMP counts more threads than there are cores, and each of a
    # network's hundreds of parallel regions sleeps and wakes (on 2 cores half as long again).
    with ThreadPoolExecutor(1) as pool:
        spinning = pool.submit(_spin, node, signalled)
        while not spinning.done():
            with suppress(Empty):
                loops.get(timeout=0.1)()
        spinning.result()
    node.destroy_node()
    rclpy.shutdown()
    # A launch that is interrupted signals twice; the second must not kill a process that exits.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    return 0


def _spin(node: SegmentNode, signalled: list[int]) -> None:
    """Bring the node up, serve ROS until a signal has come, take the node down."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if (
            node.get_parameter("autostart").value
            and node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        ):
            node.trigger_activate()
        while not signalled:
            executor.spin_once(timeout_sec=0.2)
    finally:
        # Whatever has happened, the worker's loop must end, or the main thread never would.
        if not node.finalized:
            node.trigger_shutdown()
        executor.shutdown()


if __name__ == "__main__":
    sys.exit(main())
