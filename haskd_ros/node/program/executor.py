"""The executor of the node: callbacks run one after the other, and none can end it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.context import Context
from rclpy.executors import (
    ConditionReachedException,
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
)

from haskd_ros.node.reports.faults import InternalFaults

MOST_FAILED_WAITS = 100
"""In a row; then ROS itself is broken, and only a new process can help."""

_PAUSE_S = 0.1


class SurvivingExecutor(SingleThreadedExecutor):
    """What a callback raises, whatever its kind, is noted and costs that one call. rclpy's own
    executors raise it out of `spin_once`, which ends the node.

    Args:
        faults: notes it.
        ends: whether to wait no longer; asked when the executor wakes.
    """

    def __init__(
        self,
        faults: InternalFaults,
        *,
        context: Context | None = None,
        ends: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(context=context)
        self._faults, self._ends = faults, ends
        self._failed_waits = 0

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for a callback, and run it.

        Raises:
            ExternalShutdownException: the context has been shut down.
            Exception: waiting failed `MOST_FAILED_WAITS` times in a row.
        """
        try:
            task, entity, _ = self.wait_for_ready_callbacks(
                timeout_sec=timeout_sec, condition=self._ends
            )
        except (ShutdownException, TimeoutException, ConditionReachedException):
            self._failed_waits = 0
            return
        except ExternalShutdownException:
            raise
        except Exception as error:
            self._failed_waits += 1
            if self._failed_waits >= MOST_FAILED_WAITS:
                raise
            self._faults.note(error)
            time.sleep(_PAUSE_S)
            return
        self._failed_waits = 0
        try:
            task()
        except BaseException as error:  # a task keeps an Exception, but lets SystemExit through
            self._faults.note(error)
            task.set_exception(RuntimeError("noted"))
            task.exception()
            _release(entity)
            return
        if (raised := task.exception()) is not None:
            self._faults.note(raised)
            _release(entity)


def _release(entity: Any) -> None:
    """Let an entity be waited for again. rclpy leaves it, and all of its callback group, blocked
    where not the callback failed but taking the message for it."""
    if entity is None:
        return
    entity._executor_event = False
    group = entity.callback_group
    if group is not None and getattr(group, "_active_entity", None) is entity:
        group.ending_execution(entity)
