"""What has happened to the clouds, as the node reports it on /diagnostics. No ROS."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from haskd_ros.node.parameters.values import Parameters
from haskd_ros.node.reports.statuses import (
    Status,
    each_status,
    frames_status,
    input_status,
    labels_status,
    latency_status,
    sensor_status,
)
from haskd_ros.node.reports.window import Window
from haskd_ros.node.worker import FrameCounts
from haskd_ros.segmentation import Segmentation
from haskd_ros.taxonomy import UNLABELLED


class DiagnosticsMonitor:
    """What has happened to the clouds recently, and the statuses that follow from it. The pipeline
    notes what it does; a timer takes the statuses.

    Args:
        window_s: over which rates and percentiles are taken.

    Attributes:
        sensor_mismatches: what the clouds have that those of the training had not; None: unknown.
        input_fault: gives what is wrong with the input's topic.
        further: tasks of others, by name.
    """

    def __init__(self, window_s: float) -> None:
        self._received = Window(window_s)
        self._latency = Window(window_s)
        self._unlabelled = Window(window_s)
        self._entropy = Window(window_s)
        self._beyond_training = Window(window_s)
        self._newest_ns: int | None = None
        self._newest_s = 0.0
        self._clock = (0, -math.inf)
        self._clock_notice = ("", -math.inf)
        self._stamp_fault: str | None = None
        self._age_s = 0.0
        self._label_fault: str | None = None
        self._rejected: Counter[str] = Counter()
        self._labelled = self._lost = 0
        self.sensor_mismatches: Sequence[str] | None = None
        self.input_fault: Callable[[], str | None]
        self.further: Mapping[str, Callable[[], Status]]
        self.let_go()

    def restart(self) -> None:
        """Forget the age of the newest cloud and the comparison with the training."""
        self._newest_ns = self.sensor_mismatches = self._label_fault = None

    def let_go(self) -> None:
        """Of whoever tells about inputs and further tasks."""
        self.input_fault, self.further = lambda: None, {}

    def cloud_received(
        self,
        time_s: float,
        now_ns: int,
        stamp_ns: int | None = None,
        stamp_fault: str | None = None,
    ) -> None:
        """Note a cloud.

        Args:
            time_s: of a clock that never goes back.
            now_ns: by the node's clock, which may.
            stamp_ns: its stamp; None: it has none worth looking at.
            stamp_fault: what is wrong with its stamp, see `clock.stamp_fault`.
        """
        # A clock without a time says nothing of a stamp's age.
        self._age_s = (now_ns - stamp_ns) / 1e9 if now_ns and stamp_ns is not None else 0.0
        self._received.add(time_s)
        self._newest_ns, self._newest_s = now_ns, time_s
        self._stamp_fault = stamp_fault

    def clock_noticed(self, time_s: float, notice: str, jump_ns: int = 0) -> None:
        """Note something odd about /clock.

        Args:
            time_s: as of `cloud_received`.
            notice: in a few words.
            jump_ns: by which the time has jumped ahead: that was no silence.
        """
        self._clock_notice = notice, time_s
        if self._newest_ns:
            self._newest_ns += jump_ns

    def cloud_labelled(
        self, time_s: float, total_ms: float, result: Segmentation, fault: str | None = None
    ) -> None:
        """Note a cloud that was labelled and published, message in to message out in `total_ms`;
        `fault`: why it has no label at all."""
        self._latency.add(time_s, total_ms)
        self._label_fault = fault
        if not len(result.class_id):
            return
        known = result.class_id != UNLABELLED
        self._unlabelled.add(time_s, 1 - known.mean())
        entropy = float(result.entropy[known].mean()) if known.any() else math.nan
        self._entropy.add(time_s, entropy)
        self._beyond_training.add(time_s, result.beyond_training)

    def silence_s(self, now_ns: int, time_s: float | None = None) -> float | None:
        """s since the newest cloud was received, by the node's clock; None before the first. A
        clock that has jumped back, as when a bag starts again, starts the silence anew.

        Args:
            time_s: as of `cloud_received`; counts instead where the node's clock has no time yet.
        """
        if self._newest_ns is None:
            return None
        if not now_ns and time_s is not None:
            return time_s - self._newest_s
        # 0 stands for a cloud that came before the first time on /clock.
        self._newest_ns = min(self._newest_ns or now_ns, now_ns)
        return (now_ns - self._newest_ns) / 1e9

    def _clock_fault(self, time_s: float, now_ns: int, still_s: float) -> str | None:
        """What is wrong with the node's clock: without a time, or standing still for `still_s`."""
        last_ns, moved_s = self._clock
        if now_ns != last_ns:
            self._clock = now_ns, time_s
        if not now_ns:
            return "use_sim_time is true and there is no time on /clock"
        if now_ns == last_ns and time_s - moved_s >= still_s:
            silence = time_s - self._newest_s if self._newest_ns is not None else math.inf
            quiet = f", no cloud for {silence:.1f} s" if still_s <= silence < math.inf else ""
            return f"the time on /clock has stood still for {time_s - moved_s:.1f} s{quiet}"
        return None

    def _input_status(
        self, time_s: float, now_ns: int, parameters: Parameters, *, topic: str, lost: int
    ) -> Status:
        notice, noticed_s = self._clock_notice
        faults = [
            self._clock_fault(time_s, now_ns, parameters.diagnostics_silence_error),
            self.input_fault(),
            notice if time_s - noticed_s < parameters.diagnostics_window else None,
            None if self._stamp_fault is None else f"the clouds' stamps: {self._stamp_fault}",
        ]
        return input_status(
            self.silence_s(now_ns, time_s),
            self._received.rate(time_s),
            topic=topic,
            warn_s=parameters.diagnostics_silence_warn,
            error_s=parameters.diagnostics_silence_error,
            lost=lost,
            age_s=self._age_s,
            max_age_s=parameters.diagnostics_max_age,
            faults=[fault for fault in faults if fault is not None],
        )

    def _labels_status(self, time_s: float, trained_entropy: float | None) -> Status:
        unlabelled, entropy = self._unlabelled.values(time_s), self._entropy.values(time_s)
        beyond = int(self._beyond_training.values(time_s).sum())
        return labels_status(unlabelled, entropy, trained_entropy, self._label_fault, beyond)

    def statuses(
        self,
        time_s: float,
        now_ns: int,
        *,
        topic: str,
        counts: FrameCounts,
        trained_entropy: float | None,
        parameters: Parameters,
        on_fault: Callable[[BaseException], str],
    ) -> list[Status]:
        """Of an active node.

        Args:
            time_s, now_ns: as of `cloud_received`.
            topic: on which clouds are received.
            trained_entropy: of the model's calibration, nats; None: not known.
            parameters: of the node.
            on_fault: as of `each_status`.
        """
        of_labels = self._unlabelled, self._entropy, self._beyond_training
        for window in (self._received, self._latency, *of_labels):
            window.seconds = parameters.diagnostics_window
        rejected = counts.rejected_by_reason()
        newly_rejected, self._rejected = rejected - self._rejected, rejected
        labelled, self._labelled = counts.labelled - self._labelled, counts.labelled
        lost, self._lost = counts.lost - self._lost, counts.lost
        max_ms = parameters.diagnostics_max_latency
        tasks: dict[str, Callable[[], Status]] = {
            "input": partial(
                self._input_status, time_s, now_ns, parameters, topic=topic, lost=lost
            ),
            **self.further,
            "latency": lambda: latency_status(self._latency.values(time_s), max_ms),
            "frames": lambda: frames_status(counts.as_dict(), newly_rejected, labelled),
            "labels": partial(self._labels_status, time_s, trained_entropy),
            "sensor": lambda: sensor_status(self.sensor_mismatches),
        }
        return each_status(tasks, on_fault)
