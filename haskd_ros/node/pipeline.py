"""The way of a cloud through the node: received, labelled, published."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_policy_name_from_kind
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import PointCloud2

from haskd_ros.clouds.crop import frame_name
from haskd_ros.clouds.memory import give_back_freed_memory
from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.errors import InputError
from haskd_ros.node.clock import nanoseconds, stamp_fault
from haskd_ros.node.dds.profiles import lost_clouds_advice
from haskd_ros.node.inputs import InputSubscription, wrong_type_advice
from haskd_ros.node.labelling import label_cloud
from haskd_ros.node.loaded_model import LabellingSetup
from haskd_ros.node.outputs import OutputPublishers
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.node.poses.assembly import CloudAssembly
from haskd_ros.node.poses.transforms import Transforms
from haskd_ros.node.reports.diagnostics import DiagnosticsMonitor
from haskd_ros.node.reports.faults import (
    MOST_CHARACTERS,
    InternalFaults,
    LogPeriods,
    in_one_line,
    is_out_of_memory,
)
from haskd_ros.node.sensor_watch import SensorWatch
from haskd_ros.node.worker import (
    FrameCounts,
    NewestFirstWorker,
    RateLimit,
    RunInThread,
    in_new_thread,
    submit,
)
from haskd_ros.text import shown

_Result = TypeVar("_Result")


class ReceivedCloud(NamedTuple):
    """A cloud and when it was received: seconds of `time.perf_counter`."""

    cloud: PointCloud2
    time: float


class LabellingPipeline:
    """From the subscription to the publishers. It lives as long as the node is configured, and
    runs, from `start` to `stop`, as long as the node is active.

    Clouds are received in the executor's thread; they are labelled and published in the worker's.

    Args:
        node: to which topics and log belong.
        setup: of the first clouds.
        counts, monitor: note what happens to the clouds.
        faults: notes what nobody foresaw.
        transforms: where the frame of the crop box is.
        run_in_thread: runs the worker's loop in the thread that is to compute.

    Attributes:
        sensor: frame of the newest cloud; empty before the first.
    """

    def __init__(
        self,
        node: LifecycleNode,
        setup: LabellingSetup,
        *,
        counts: FrameCounts,
        monitor: DiagnosticsMonitor,
        faults: InternalFaults,
        transforms: Transforms,
        run_in_thread: RunInThread,
    ) -> None:
        self._setup: LabellingSetup | None = setup
        self.sensor = ""
        self._node, self._counts, self._monitor = node, counts, monitor
        self._faults = faults
        self._transforms, self._run_in_thread = transforms, run_in_thread
        self._outputs = OutputPublishers(node, self._warn_of_qos)
        self._assembly = CloudAssembly(node, transforms, self._warn_seldom, self._warn_of_qos)
        self._running: _Running | None = None
        self._rate_limit = RateLimit()
        self._log_periods = LogPeriods()
        self._last_size = 0, 0
        self._sensor_watch = SensorWatch(
            node, monitor, self._warn, self._warn_seldom, setup.parameters.intensity_scale
        )

    @property
    def setup(self) -> LabellingSetup:
        """Read once per cloud, so that a new one holds from the next cloud on.

        Raises:
            RuntimeError: it has been closed.
        """
        if self._setup is None:
            raise RuntimeError("the pipeline is closed")
        return self._setup

    # Life cycle, in the executor's thread

    @property
    def input_topic(self) -> str | None:
        """On which clouds are received; None where the pipeline is not running."""
        return None if self._running is None else self._running.subscription.topic

    def start(self) -> None:
        """Warm up, then receive clouds. The publishers have to be active.

        Raises:
            Exception: whatever the network raised.
        """
        parameters = self.setup.parameters
        worker = NewestFirstWorker(
            self._process,
            on_replaced=lambda _: self._counts.add(replaced=1),
            on_fault=self._faults.note,
            warm_up=partial(self.setup.model.warm_up, parameters.warmup_points),
            run_in_thread=self._run_in_thread,
        )
        self._outputs.describe(self.setup.model)
        self._monitor.restart()
        self._monitor.input_fault = self._input_fault
        self._monitor.further = self._assembly.statuses(lambda: self.setup)
        self._assembly.forget()
        self._sensor_watch.restart(parameters.intensity_scale)
        try:
            self._assembly.follow(self.setup)
            subscription = InputSubscription(
                self._node,
                partial(self._receive, worker),
                on_lost=self._on_lost,
                counts=self._counts,
                warn_of_qos=self._warn_of_qos,
            )
        except BaseException:
            self._assembly.close()
            worker.stop()  # the thread that it runs in is the only one that computes
            raise
        self._running = _Running(worker, subscription)

    def stop(self) -> None:
        """Receive nothing more and finish the cloud in work."""
        if self._running is None:
            return
        running, self._running = self._running, None
        try:
            running.subscription.close()
            self._assembly.close()
        finally:
            # Whatever went wrong: the thread that it runs in is the only one that computes.
            if running.worker.stop() is not None:
                self._counts.reject("waiting when the node was deactivated")

    def close(self) -> None:
        """Destroy the publishers, and leave nothing behind that holds the model: rclpy itself goes
        on to hold what it has called, and a model holds the memory of its largest cloud."""
        self._monitor.let_go()
        self._assembly.forget()
        self._outputs.close()
        self._sensor_watch.forget_model()
        self._setup = None

    def call(self, function: Callable[[], _Result]) -> Future[_Result]:
        """Have a function called where the network runs, between two clouds: a second thread that
        computes with torch would slow the first one down (see `process`).

        Returns:
            its result; cancelled where the pipeline is stopped before.
        """
        if self._running is None:
            return submit(function, self._run_in_thread)
        return self._running.worker.call(function)

    def replace(self, setup: LabellingSetup) -> Future[None]:
        """Label with this from the next cloud on. The classes of another model are described at
        once, in the worker's thread, as all that is published.

        Returns:
            done once no cloud is in work that is labelled as before.
        """
        if self._running is not None:
            self._assembly.follow(setup)
        is_other = setup.model is not self.setup.model
        self._setup = setup
        replaced = self.call(self._describe_classes)
        if is_other:
            self._sensor_watch.forget_model()
            # Two models were at work at once, and one has just gone.
            replaced.add_done_callback(lambda _: in_new_thread(give_back_freed_memory))
        return replaced

    def _describe_classes(self) -> None:
        if self._running is not None:
            self._outputs.describe(self.setup.model)

    # Receiving, in the executor's thread

    def _receive(self, worker: NewestFirstWorker[ReceivedCloud], cloud: PointCloud2) -> None:
        now = time.perf_counter()
        self._counts.add(received=1)
        self.sensor = frame_name(cloud.header.frame_id)
        stamp = cloud.header.stamp
        fault = stamp_fault(stamp)
        self._last_size = cloud.width * cloud.height, cloud.point_step
        self._monitor.cloud_received(
            now,
            self._node.get_clock().now().nanoseconds,
            None if fault else nanoseconds(stamp),
            fault,
        )
        if self._rate_limit.allows(now, self.setup.parameters.max_rate):
            worker.put(ReceivedCloud(cloud, now))
        else:
            self._counts.add(rate_limited=1)

    def _input_fault(self) -> str | None:
        """What is wrong with what is offered on the input topic."""
        topic = self.input_topic
        fault = None if topic is None else wrong_type_advice(self._node, topic)
        if fault is not None:
            self._warn_seldom("input type", f"no clouds: {fault}")
        return fault

    def _on_lost(self, number: int) -> None:
        self._counts.add(lost=number)
        advice = lost_clouds_advice(get_rmw_implementation_identifier(), *self._last_size)
        self._warn_seldom(
            "lost on the way",
            f"{self._counts.lost} clouds were sent and lost on the way: mostly the sender's "
            f"buffer or the receiver's is too small for them; {advice}",
        )

    # Labelling, in the worker's thread

    def _process(self, received: ReceivedCloud) -> None:
        """Label and publish a cloud, or count why not."""
        try:
            setup, topics = self.setup, self._outputs.subscribed_topics()
            frame = received.cloud.header.frame_id
            self._outputs.publish_legend(setup.model, frame)
            if topics:
                self._label(received, setup, topics)
        except InputError as error:
            reason = error.reason if isinstance(error, CloudError) else "refused"
            self._reject(reason, str(error))
        except BaseException as error:
            if is_out_of_memory(error):
                self._reject("out of memory", in_one_line(error))
            else:  # a defect; the next cloud may do better
                self._counts.reject("internal error")
                self._faults.note(error)
        else:
            self._counts.add(**{"labelled" if topics else "without_subscriber": 1})

    def _label(self, received: ReceivedCloud, setup: LabellingSetup, topics: set[str]) -> None:
        started, model, parameters = time.perf_counter(), setup.model, setup.parameters
        cloud, refine, moment, history = self._assembly(received.cloud, setup)
        assembly_ms = 1e3 * (time.perf_counter() - started)
        labelled = label_cloud(
            cloud,
            model.segmenter,
            parameters,
            unit=self._sensor_watch.unit(parameters.intensity_scale),
            crop_transform=partial(self._crop_transform, cloud, parameters),
            refine=refine,
            moment=moment,
            history=history,
        )
        self._sensor_watch.tell_intensity(labelled)
        if labelled.is_beyond_range:
            self._counts.add(beyond_range=1)
            self._warn_seldom("beyond range", f"no label: {labelled.beyond_range_message}")
        segmented = time.perf_counter()
        self._outputs.publish(
            cloud,
            labelled,
            model=model,
            topics=topics,
        )
        published = time.perf_counter()

        timings, stamp = labelled.result.timings, cloud.header.stamp
        total_ms = 1e3 * (published - received.time)
        age_ns = self._node.get_clock().now().nanoseconds - nanoseconds(stamp)
        self._outputs.publish_times(
            {
                "preprocess": assembly_ms + labelled.decoding_ms + timings.get("preprocess", 0.0),
                "inference": timings.get("inference", 0.0),
                "postprocess": timings.get("postprocess", 0.0) + 1e3 * (published - segmented),
                "total": total_ms,
                "latency": age_ns / 1e6,
            },
            topics,
        )
        self._monitor.cloud_labelled(
            published,
            total_ms,
            labelled.result,
            fault=labelled.beyond_range_message if labelled.is_beyond_range else None,
        )
        self._sensor_watch.compare(labelled, model, published)

    def _crop_transform(self, cloud: PointCloud2, parameters: Parameters) -> np.ndarray | None:
        """[4, 4] from the frame of a cloud to that of the crop box; None: the same frame."""
        frame = parameters.crop_frame
        if not frame or frame_name(frame) == frame_name(cloud.header.frame_id):
            return None
        return self._transforms.matrix(frame, cloud.header.frame_id, cloud.header.stamp)

    # Warnings

    def _reject(self, reason: str, message: str) -> None:
        self._counts.reject(reason)
        self._warn_seldom(reason, f"cloud rejected: {message}")

    def _warn_seldom(self, kind: str, message: str) -> None:
        if self._log_periods.is_due(kind, time.monotonic()):
            self._warn(message)

    def _warn(self, message: str) -> None:
        """Log a warning that may quote what a sender or a file says."""
        self._node.get_logger().warning(shown(message, MOST_CHARACTERS))

    def _warn_of_qos(self, message: str) -> Callable[[Any], None]:
        """A callback for incompatible QoS, from a message with a gap for the `{policy}`."""

        def warn(event: Any) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
            self._warn("incompatible QoS, no clouds: " + message.format(policy=policy))

        return warn


class _Running(NamedTuple):
    """What there is only while the node is active."""

    worker: NewestFirstWorker[ReceivedCloud]
    subscription: InputSubscription
