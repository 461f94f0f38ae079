"""The process in which the segmentation node lives, from rclpy's start to its end."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from haskd_ros.errors import InputError
from haskd_ros.node.dds.profiles import profile_environment
from haskd_ros.node.program.ending import Ending
from haskd_ros.node.program.executor import SurvivingExecutor
from haskd_ros.node.reports.engine_log import pass_on_engine_log
from haskd_ros.node.reports.faults import MOST_CHARACTERS, in_one_line
from haskd_ros.node.segment_node import SegmentNode
from haskd_ros.text import shown

_LONGEST_WAIT_S = 1.0
"""Of the executor, should what is to wake it fail; each wait costs an idle node CPU time."""


def run_node(ending: Ending, args: list[str] | None = None) -> int:
    """Run the node until a signal ends it.

    Returns:
        exit code: 0, or 2 where a parameter is not allowed.
    """
    os.environ.update(profile_environment())
    # What is imported stays: Python need not look through all of torch for garbage, which takes the
    # interpreter's lock for tenths of a second, now and then and at the end.
    gc.freeze()
    try:
        # rclpy's own handlers would end the context while the worker still publishes.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # its types of error differ from one ROS to the next
        sys.stderr.write(f"segment can't start: {in_one_line(error)}\n")
        return 2
    loops: Queue[Callable[[], None]] = Queue()
    try:
        node = SegmentNode(run_in_thread=loops.put)
    except (InputError, ParameterException, NameValidationException) as error:
        rclpy.logging.get_logger("segment").fatal(shown(str(error), MOST_CHARACTERS))
        rclpy.shutdown()
        return 2
    pass_on_engine_log(node.get_logger())

    # All of torch runs in the main thread and ROS in another one: as soon as a second thread
    # computes with torch, GNU OpenMP counts more threads than there are cores, and each of a
    # network's hundreds of parallel regions sleeps and wakes (on 2 cores half as long again).
    ending.in_order.set()
    with ThreadPoolExecutor(1) as pool:
        spinning = pool.submit(_spin, node, ending)
        spinning.add_done_callback(lambda _: loops.put(lambda: None))
        while not spinning.done():
            try:
                loops.get()()
            except BaseException as error:
                node.faults.note(error)
        spinning.result()
    node.destroy_node()
    rclpy.shutdown()
    return 0


def _spin(node: SegmentNode, ending: Ending) -> None:
    """Bring the node up, serve ROS until a signal has come, take the node down."""
    executor = SurvivingExecutor(node.faults, ends=ending.asked.is_set)
    executor.add_node(node)
    ending.wake = executor.wake
    try:
        if (
            node.parameters.autostart
            and node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        ):
            node.trigger_activate()
        while not ending.asked.is_set():
            executor.spin_once(timeout_sec=_LONGEST_WAIT_S)
    finally:
        # Whatever has happened, the worker's loop must end, or the main thread never would.
        node.end()
        executor.shutdown()
        # It would keep the executor, and all that belongs to the node, from being freed.
        ending.wake = lambda: None
