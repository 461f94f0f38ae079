"""The managed ROS 2 node `segment`: PointCloud2 in, labelled PointCloud2 out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.task import Future as RclpyFuture
from std_srvs.srv import Trigger

from haskd_ros.clouds.memory import give_back_freed_memory
from haskd_ros.node.guarded_node import GuardedNode, noted
from haskd_ros.node.loaded_model import (
    LabellingSetup,
    LoadedModel,
    free_gpu_memory,
    load_beside,
    load_model,
    model_path,
)
from haskd_ros.node.outputs import diagnostic_array
from haskd_ros.node.parameters.declared import DeclaredParameters
from haskd_ros.node.parameters.qos import ignored_overrides
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.node.pipeline import LabellingPipeline
from haskd_ros.node.poses.other_lidars import topics_to_merge
from haskd_ros.node.poses.sensor import check_poses
from haskd_ros.node.poses.transforms import Transforms
from haskd_ros.node.reports.diagnostics import DiagnosticsMonitor
from haskd_ros.node.reports.faults import MOST_CHARACTERS, LogPeriods, in_one_line
from haskd_ros.node.reports.statuses import (
    Status,
    each_status,
    faults_status,
    frames_status,
    model_status,
)
from haskd_ros.node.worker import FrameCounts, RunInThread, in_new_thread, submit
from haskd_ros.text import shown

FINAL_REPORT_TIMEOUT = Duration(seconds=0.5)
"""How long an ending node waits for its last report to be received."""

LOADED_BY = {"model": str, "memory.half_life": float}
"""Parameters that may ask for another model, or for the same one loaded another way."""

_Result = TypeVar("_Result")


class SegmentNode(GuardedNode):
    """Labels clouds, the newest first.

    configure loads the model, activate starts the pipeline, deactivate stops it, cleanup frees the
    model and its device. Callbacks run in one thread, the executor's; the network in the worker's.
    """

    def __init__(self, run_in_thread: RunInThread) -> None:
        """
        Args:
            run_in_thread: has a function run in the thread that is to compute.

        Raises:
            InputError, rclpy.exceptions.ParameterException: a parameter is not allowed.
        """
        super().__init__("segment", self._on_clock)
        self._run_in_thread = run_in_thread
        self._transforms = Transforms(self)
        self._pipeline: LabellingPipeline | None = None
        self._declared = DeclaredParameters(self, self._check_parameters, self._on_parameters)
        self.finalized = False
        self._error: str | None = None
        self._counts = FrameCounts()
        self._monitor = DiagnosticsMonitor(self.parameters.diagnostics_window)
        self._next_model: LoadedModel | None = None
        self._log_periods = LogPeriods()
        self.create_service(Trigger, "~/reload", self._reload, callback_group=self.changing)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # The node's own clock may stand still, and just then silence has to be reported.
        self._report_timer = self.create_timer(
            self.parameters.diagnostics_period,
            self._report,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    # Life cycle

    @noted
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        start = time.perf_counter()
        parameters = self.parameters
        try:
            model = self._compute(lambda: load_model(parameters)).result()
            setup = LabellingSetup(model, parameters)
            self._transforms.check(parameters, poses=setup.needs_poses)
            check_poses(parameters, needed=setup.needs_poses)
            topics_to_merge(self, parameters)
            self._pipeline = LabellingPipeline(
                self,
                setup,
                counts=self._counts,
                monitor=self._monitor,
                faults=self.faults,
                transforms=self._transforms,
                run_in_thread=self._run_in_thread,
            )
        except BaseException as error:  # whatever it is, the node can be configured again
            self._fail("configure", error)
            return TransitionCallbackReturn.FAILURE
        self._error = None
        text = (
            f"model {model.path} on {model.segmenter.device} by {model.segmenter.engine} "
            f"in {model.segmenter.precision}, ready after {time.perf_counter() - start:.1f} s; "
            f"classes: {', '.join(model.taxonomy.names)}"
        )
        self.get_logger().info(shown(text, MOST_CHARACTERS))
        return super().on_configure(state)

    @noted
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        start = time.perf_counter()
        result = super().on_activate(state)
        try:
            self._configured.start()
        except BaseException as error:
            super().on_deactivate(state)
            self._fail("activate", error)
            return TransitionCallbackReturn.FAILURE
        self._error = None
        self.get_logger().info(
            f"active after {time.perf_counter() - start:.1f} s of warming up, "
            f"waiting for clouds on {self._configured.input_topic}"
        )
        if (ignored := ignored_overrides(self)) is not None:
            self.get_logger().warning(ignored)
        self._report()
        return result

    @noted
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._report()
        return super().on_deactivate(state)

    @noted
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return super().on_cleanup(state)

    @noted
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._release()
        self.finalized = True
        self.get_logger().info(str(self._counts))
        self._report()
        self._diagnostics.wait_for_all_acked(FINAL_REPORT_TIMEOUT)
        return super().on_shutdown(state)

    @noted
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._drop()
        return super().on_error(state)

    def end(self) -> None:
        """Finalize, from whatever state of the life cycle; never raises."""
        if self.finalized:
            return
        try:
            self.trigger_shutdown()
        except Exception as error:
            self.faults.note(error)
        self._drop()

    @property
    def _configured(self) -> LabellingPipeline:
        """The pipeline of a configured node."""
        if self._pipeline is None:
            raise RuntimeError("the node is not configured")
        return self._pipeline

    def _fail(self, transition: str, error: BaseException) -> None:
        """Say in the log, and on /diagnostics until it has gone well, why a transition failed."""
        self._error = f"can't {transition}: {in_one_line(error)}"
        self.get_logger().error(self._error)
        self._report()

    def _stop(self) -> None:
        if self._pipeline is not None:
            self._pipeline.stop()

    def _release(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is None:
            return
        pipeline.close()
        give_back_freed_memory()
        free_gpu_memory()

    def _drop(self) -> None:
        """Stop and release, whatever goes wrong."""
        for step in (self._stop, self._release):
            try:
                step()
            except BaseException as error:
                self.faults.note(error)

    def _compute(self, function: Callable[[], _Result]) -> Future[_Result]:
        """Have a function called where the network runs."""
        if self._pipeline is None:
            return submit(function, self._run_in_thread)
        return self._pipeline.call(function)

    # Parameters

    @property
    def parameters(self) -> Parameters:
        """The values in effect."""
        return self._declared.current

    def _setup(self, parameters: Parameters) -> LabellingSetup | None:
        """For clouds from now on; None where the node is not configured.

        Raises:
            InputError: the parameters don't fit the model.
        """
        if self._pipeline is None:
            return None
        model, following = self._pipeline.setup.model, self._next_model
        if following is not None and following.path == model_path(parameters):
            model = following
        return LabellingSetup(model, parameters)

    def _check_parameters(self, parameters: Parameters) -> None:
        """Refuse parameters that don't fit the model or the installation."""
        setup = self._setup(parameters)
        needed = parameters.needs_poses if setup is None else setup.needs_poses
        self._transforms.check(parameters, poses=needed)
        check_poses(parameters, needed=needed)
        topics_to_merge(self, parameters)

    def _on_parameters(self, parameters: Parameters) -> None:
        timer, period_ns = self._report_timer, int(1e9 * parameters.diagnostics_period)
        if timer.timer_period_ns != period_ns:
            timer.timer_period_ns = period_ns
            # It would wait out the old period; reset by each change it might never fire.
            if (timer.time_until_next_call() or 0) > period_ns:
                timer.reset()
        pipeline, setup = self._pipeline, self._setup(parameters)
        if pipeline is not None and setup is not None:
            model = pipeline.setup.model
            pipeline.replace(setup)
            if setup.model is not model:
                self._tell_model(setup.model)
        self._next_model = None

    # Reload

    async def _reload(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Load the model file again; the old model labels until the new one is warm, and stays
        where that fails."""
        pipeline = self._pipeline
        if pipeline is None:
            response.message = "not configured: there is no model to be replaced"
            return response
        try:
            model = await self._loaded(self.parameters)
            if self._pipeline is not pipeline:
                response.message = "deactivated meanwhile; the old model is kept"
                return response
            # Parameters are changed in this thread too, so nothing can come between.
            setup = LabellingSetup(model, self.parameters)
            self._transforms.check(self.parameters, poses=setup.needs_poses)
            check_poses(self.parameters, needed=setup.needs_poses)
            replaced = pipeline.replace(setup)
        except BaseException as error:
            response.message = f"the old model goes on: {in_one_line(error)}"
            self.get_logger().error(f"can't reload: {in_one_line(error)}")
            return response
        await self._done(replaced)
        response.success = True
        response.message = self._tell_model(model)
        return response

    async def before_parameters(self, changes: Mapping[str, object]) -> None:
        """Load the model that a configured node is to go on with.

        Raises:
            InputError: as `load_model`, or a parameter is not allowed.
        """
        self._next_model = None
        if self._pipeline is None:
            return
        # What is of another type is refused when it is set.
        relevant: dict[str, Any] = {
            name: changes[name]
            for name, kind in LOADED_BY.items()
            if isinstance(changes.get(name), kind)
        }
        parameters, current = self.parameters.changed(relevant), self._pipeline.setup.model
        is_other = parameters.model != self.parameters.model
        if is_other or not current.can_follow(parameters):
            self._next_model = await self._loaded(parameters)

    async def _loaded(self, parameters: Parameters) -> LoadedModel:
        """A warm model, loaded beside the one that labels."""
        loading = submit(partial(load_beside, parameters), in_new_thread)
        return (await self._done(loading)).result()

    def _tell_model(self, model: LoadedModel) -> str:
        text = f"model {model.path} ({model.digest})"
        self.get_logger().info(f"reloaded {text}")
        return text

    # Diagnostics

    def _report(self) -> None:
        """Publish the node's state on /diagnostics."""
        setup = None if self._pipeline is None else self._pipeline.setup
        topic = None if self._pipeline is None else self._pipeline.input_topic
        now_s, now = time.perf_counter(), self.get_clock().now()
        statuses = each_status({"model": self._model_status}, self.faults.note)
        if setup is None or topic is None:
            statuses.append(frames_status(self._counts.as_dict(), {}))
        else:
            statuses += self._monitor.statuses(
                now_s,
                now.nanoseconds,
                topic=topic,
                counts=self._counts,
                trained_entropy=setup.model.metadata.sensor.entropy,
                parameters=setup.parameters,
                on_fault=self.faults.note,
            )
        window_s = self.parameters.diagnostics_window
        statuses.append(faults_status(self.faults.summary, now_s, window_s))
        self._diagnostics.publish(
            diagnostic_array(
                statuses,
                node=self.get_fully_qualified_name(),
                hardware="" if self._pipeline is None else self._pipeline.sensor,
                stamp=now.to_msg(),
            )
        )

    def _model_status(self) -> Status:
        pipeline = self._pipeline
        return model_status(
            None if pipeline is None else pipeline.setup.model,
            active=pipeline is not None and pipeline.input_topic is not None,
            finalized=self.finalized,
            error=self._error,
        )

    def _on_clock(self, notice: str, jump_ns: int) -> None:
        now_s = time.perf_counter()
        self._monitor.clock_noticed(now_s, notice, jump_ns)
        if self._log_periods.is_due("clock", now_s):
            self.get_logger().warning(notice)

    async def _done(self, future: Future[_Result]) -> Future[_Result]:
        """The same future once it is done; other callbacks run meanwhile."""
        finished: RclpyFuture[None] = RclpyFuture()

        def finish(_: Future[_Result]) -> None:
            # Not the future itself, which holds this function: what it has loaded, a model say,
            # would stay until Python looks for cycles.
            finished.set_result(None)
            # It looks at what waits only when it wakes.
            if self.executor is not None:
                self.executor.wake()

        future.add_done_callback(finish)
        await finished
        return future
