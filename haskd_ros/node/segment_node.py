"""The managed ROS 2 node `segment`: PointCloud2 in, labelled PointCloud2 out."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import qos_policy_name_from_kind
from rclpy.task import Future as RclpyFuture
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger

from haskd_ros.clouds.class_rules import ClassRules
from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.clouds.sensor_match import mismatches
from haskd_ros.errors import InputError
from haskd_ros.node import diagnostics
from haskd_ros.node.dds import PROFILE, profile_variable
from haskd_ros.node.declared_parameters import DeclaredParameters
from haskd_ros.node.inputs import InputSubscription
from haskd_ros.node.labelling import LabelledCloud, label_cloud
from haskd_ros.node.outputs import OutputPublishers, diagnostic_array
from haskd_ros.node.parameters import Parameters
from haskd_ros.node.transforms import Transforms
from haskd_ros.node.windows import RateLimit
from haskd_ros.node.worker import FrameCounts, NewestFirstWorker, answer
from haskd_ros.segmenter import DEFAULT_MODEL, Segmenter

LOG_PERIOD_S = 5.0
"""A rejected or lost cloud is logged at once, further ones for the same reason not more often than
this."""
SENSOR_CHECK_PERIOD_S = 60.0
"""How often a cloud is compared with those of the training."""


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
        self._transforms = Transforms(self)
        self._segmenter: Segmenter | None = None
        self._declared_parameters = DeclaredParameters(self, self._check, self._on_parameters)
        self.finalized = False
        self._counts = FrameCounts()
        self._health = diagnostics.Health(self._declared_parameters.current.diagnostics_window)
        self._limit = RateLimit()
        self._last_log: dict[str, float] = {}
        self._sensor_checked = -SENSOR_CHECK_PERIOD_S
        self._outputs: OutputPublishers | None = None
        self._input: InputSubscription | None = None
        self._worker: NewestFirstWorker[Arrival] | None = None
        # It waits for the worker without keeping the clouds waiting.
        self._reloading = MutuallyExclusiveCallbackGroup()
        self.create_service(Trigger, "~/reload", self._reload, callback_group=self._reloading)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # By a clock that goes on when the node's own stands still: silence is what is to be told.
        self._report_timer = self.create_timer(
            self._declared_parameters.current.diagnostics_period,
            self._report,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    # Life cycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        start = time.perf_counter()
        try:
            self._segmenter = self._in_worker_thread(self._load).result()
        except Exception as error:  # whatever it is, the node lives on and can be asked again
            self.get_logger().error(f"can't configure: {_said(error)}")
            self._segmenter = None
            return TransitionCallbackReturn.FAILURE
        self._outputs = OutputPublishers(self, self._warn_of_qos)
        self.get_logger().info(
            f"model {self._model_path} on {self._segmenter.device} by {self._segmenter.engine} "
            f"in {self._segmenter.precision}, ready after {time.perf_counter() - start:.1f} s; "
            f"classes: {', '.join(self._segmenter.taxonomy.names)}"
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
        self._outputs.describe(self._segmenter.taxonomy)
        self._health.activated()
        self._sensor_checked = -SENSOR_CHECK_PERIOD_S
        self._input = InputSubscription(
            self, self._on_cloud, self._on_lost, self._counts, self._warn_of_qos
        )
        self.get_logger().info(
            f"active after {time.perf_counter() - start:.1f} s of warming up, "
            f"waiting for clouds on {self._input.topic}"
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
        if self._input is not None:
            self._input.close()
            self._input = None
        if self._worker is not None:
            if self._worker.stop() is not None:
                self._counts.reject("waiting when the node was deactivated")
            self._worker = None

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        self._segmenter = None
        torch.cuda.empty_cache()

    # The model

    @property
    def _model_path(self) -> Path:
        given = self._declared_parameters.current.model
        return Path(given).expanduser() if given else DEFAULT_MODEL

    def _load(self) -> Segmenter:
        """Read the model file that the parameters name.

        Raises:
            InputError: no model, a device that is not there, or parameters that name classes which
                the model lacks.
        """
        parameters = self._declared_parameters.current
        segmenter = Segmenter.load(
            self._model_path,
            device=parameters.device,
            precision=parameters.precision,
            threads=parameters.threads,
        )
        _check_classes(parameters, segmenter)
        self._transforms.check(parameters)
        self._model_digest = hashlib.sha256(self._model_path.read_bytes()).hexdigest()[:12]
        return segmenter

    def _in_worker_thread(self, function: Callable[[], Any]) -> Future[Any]:
        """Have a function called where the network runs: a second thread that computes with torch
        costs the first one its speed (see `__main__`)."""
        if self._worker is not None:
            return self._worker.call(function)
        result: Future[Any] = Future()
        self._run_worker(partial(answer, function, result))
        return result

    def _warm_up(self) -> None:
        """Label a made-up cloud, in the worker's thread: memory and torch's threads belong to the
        thread that first asks for them."""
        self._warm(self._segmenter)

    def _warm(self, segmenter: Segmenter) -> None:
        count = self._declared_parameters.current.warmup_points
        points = np.random.default_rng(0).normal(0, (20, 20, 1, 1), (count, 4))
        segmenter(points.astype(np.float32))

    async def _reload(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Load the model file anew; the old model labels until the new one is warm, and goes on
        where that fails."""
        if self._segmenter is None:
            response.message = "not configured: there is no model to be replaced"
            return response
        loaded = RclpyFuture()

        def load() -> None:
            segmenter = self._load()
            self._warm(segmenter)
            self._segmenter = segmenter

        self._in_worker_thread(load).add_done_callback(loaded.set_result)
        finished = await loaded
        if finished.cancelled():
            response.message = "deactivated meanwhile; the old model is kept"
        elif (error := finished.exception()) is not None:
            response.message = f"the old model goes on: {_said(error)}"
            self.get_logger().error(f"can't reload: {_said(error)}")
        else:
            response.success = True
            response.message = f"model {self._model_path} ({self._model_digest})"
            self.get_logger().info(f"reloaded {response.message}")
            self._sensor_checked = -SENSOR_CHECK_PERIOD_S
            if self._outputs is not None:
                self._outputs.describe(self._segmenter.taxonomy)
        return response

    def _check(self, parameters: Parameters) -> None:
        """Refuse parameters that the model or the installation can't serve."""
        if self._segmenter is not None:
            _check_classes(parameters, self._segmenter)
        self._transforms.check(parameters)

    def _on_parameters(self, parameters: Parameters) -> None:
        self._report_timer.timer_period_ns = int(1e9 * parameters.diagnostics_period)

    def _warn_of_qos(self, message: str) -> Callable[[Any], None]:
        def warn(event: Any) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
            self.get_logger().warning("no clouds: " + message.format(policy=policy))

        return warn

    # Clouds

    def _on_cloud(self, cloud: PointCloud2) -> None:
        now = time.perf_counter()
        self._counts.add(received=1)
        self._health.arrived(now, self.get_clock().now().nanoseconds)
        if self._limit.allows(now, self._declared_parameters.current.max_rate):
            self._worker.put(Arrival(cloud, now))
        else:
            self._counts.add(limited=1)

    def _on_lost(self, number: int) -> None:
        self._counts.add(lost=number)
        self._warn_seldom(
            "lost on the way",
            f"{self._counts.lost} clouds were sent and lost on the way: mostly the sender's shared "
            f"memory is too small for them; start the sender with {profile_variable()}={PROFILE}",
        )

    def _work(self, arrival: Arrival) -> None:
        watched = self._outputs.watched()
        if not watched:
            self._counts.add(unwatched=1)
            return
        try:
            self._label(arrival, watched)
        except InputError as error:
            reason = error.reason if isinstance(error, CloudError) else "refused"
            self._reject(reason, str(error))
        except Exception:  # a defect; the next cloud may do better
            self._reject("internal error", traceback.format_exc())
        else:
            self._counts.add(labelled=1)

    def _label(self, arrival: Arrival, watched: set[str]) -> None:
        cloud = arrival.cloud
        parameters = self._declared_parameters.current
        to_box = partial(self._to_box, cloud, parameters)
        found = label_cloud(cloud, self._segmenter, parameters, to_box)
        if not found.has_intensity and len(found.points):
            self.get_logger().info(
                "clouds have no intensity; the mean of the training clouds stands in", once=True
            )
        segmented = time.perf_counter()
        kept = partial(found.filtered, parameters.filter_min_probability)
        self._outputs.publish(cloud, found.points, found.result, kept, watched)
        published = time.perf_counter()

        timings, stamp = found.result.timings, cloud.header.stamp
        total_ms = 1e3 * (published - arrival.time)
        age_ns = self.get_clock().now().nanoseconds - (stamp.sec * 10**9 + stamp.nanosec)
        self._outputs.publish_times(
            {
                "preprocess": found.decoding_ms + timings.get("preprocess", 0.0),
                "inference": timings.get("inference", 0.0),
                "postprocess": timings.get("postprocess", 0.0) + 1e3 * (published - segmented),
                "total": total_ms,
                "latency": age_ns / 1e6,
            },
            watched,
        )
        self._health.labelled(published, total_ms, found.result)
        if published - self._sensor_checked >= SENSOR_CHECK_PERIOD_S:
            self._sensor_checked = published
            self._compare_sensor(found)

    def _to_box(self, cloud: PointCloud2, parameters: Parameters) -> np.ndarray | None:
        frame = parameters.crop_frame
        if not frame or frame == cloud.header.frame_id:
            return None
        return self._transforms.matrix(frame, cloud.header.frame_id, cloud.header.stamp)

    def _compare_sensor(self, found: LabelledCloud) -> None:
        """Warn where the clouds are not like those of the training."""
        differences = mismatches(found.points, found.has_intensity, self._segmenter.metadata)
        self._health.mismatches = [difference.message for difference in differences]
        if differences:
            self.get_logger().warning(
                "labels may be wrong, the clouds are not like those the model was trained on: "
                + "; ".join(self._health.mismatches)
            )

    def _reject(self, reason: str, message: str) -> None:
        self._counts.reject(reason)
        self._warn_seldom(reason, f"cloud rejected: {message}")

    def _warn_seldom(self, reason: str, message: str) -> None:
        now = time.monotonic()
        if now - self._last_log.get(reason, -LOG_PERIOD_S) >= LOG_PERIOD_S:
            self._last_log[reason] = now
            self.get_logger().warning(message)

    # Diagnostics

    def _report(self) -> None:
        """Tell /diagnostics how the node is."""
        statuses = [self._model_status()]
        if self._worker is not None:
            statuses += self._health.statuses(
                time.perf_counter(),
                self.get_clock().now().nanoseconds,
                self._input.topic,
                self._counts,
                self._segmenter.metadata.sensor.get("entropy"),
                self._declared_parameters.current,
            )
        self._diagnostics.publish(
            diagnostic_array(
                statuses,
                self.get_fully_qualified_name(),
                self._model_path.name,
                self.get_clock().now().to_msg(),
            )
        )

    def _model_status(self) -> diagnostics.Status:
        if self._segmenter is None:
            return diagnostics.Status("model", diagnostics.WARN, "not configured: no model loaded")
        values = {
            "path": str(self._model_path),
            "sha256": self._model_digest,
            "device": str(self._segmenter.device),
            "engine": self._segmenter.engine,
            "precision": self._segmenter.precision,
            "classes": ", ".join(self._segmenter.taxonomy.names),
        }
        if self._worker is None:
            return diagnostics.Status("model", diagnostics.WARN, "loaded, not active", values)
        return diagnostics.Status(
            "model", diagnostics.OK, f"{self._model_path.name} on {self._segmenter.device}", values
        )


def _check_classes(parameters: Parameters, segmenter: Segmenter) -> None:
    """Refuse classes that the model doesn't have."""
    ClassRules.of(
        segmenter.taxonomy,
        class_remap=parameters.class_remap,
        filter_classes=parameters.filter_classes,
    )


def _said(error: BaseException) -> str:
    """An error in one line; what is no user's mistake with its type."""
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
