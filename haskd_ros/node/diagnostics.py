"""What the node reports about itself on /diagnostics. No ROS."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from haskd_ros.node.faults import FaultSummary
from haskd_ros.node.loaded_model import LoadedModel
from haskd_ros.node.parameters import Parameters
from haskd_ros.node.window import Window
from haskd_ros.node.worker import FrameCounts
from haskd_ros.segmenter import Segmentation
from haskd_ros.taxonomy import UNLABELLED

OK, WARN, ERROR = 0, 1, 2
"""diagnostic_msgs/DiagnosticStatus levels."""


@dataclass(frozen=True)
class Status:
    """One task's state; `values` are shown in this order."""

    name: str
    level: int
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


def each_status(
    tasks: Mapping[str, Callable[[], Status]], on_fault: Callable[[BaseException], str]
) -> list[Status]:
    """The statuses of all tasks, by their names: one that fails is an error of its own and silences
    none of the others.

    Args:
        on_fault: notes an exception and gives it in one line.
    """
    statuses = []
    for name, status_of in tasks.items():
        try:
            statuses.append(status_of())
        except Exception as error:
            statuses.append(Status(name, ERROR, f"can't be reported: {on_fault(error)}"))
    return statuses


def faults_status(faults: FaultSummary, time_s: float, window_s: float) -> Status:
    """Whether something went wrong in the node that nobody foresaw.

    Args:
        time_s: now, of the clock of `faults`.
        window_s: how long one counts as recent.
    """
    if faults.last is None:
        return Status("internal faults", OK, "none")
    ago_s = time_s - faults.last_s
    values = {
        "count": str(faults.count),
        "last": faults.last,
        "time since the last (s)": f"{ago_s:.0f}",
    }
    if ago_s < window_s:
        return Status("internal faults", ERROR, f"survived: {faults.last}", values)
    return Status("internal faults", WARN, f"{faults.count} so far, none recently", values)


def model_status(
    model: LoadedModel | None, *, active: bool, finalized: bool, error: str | None
) -> Status:
    """Which model labels, and the state of the node's life cycle.

    Args:
        model: None where the node is not configured.
        active: whether the node receives clouds.
        finalized: whether it has ended.
        error: why the last attempt to configure or to activate it failed.
    """
    if model is None:
        state = {"state": "finalized" if finalized else "unconfigured"}
        if error is not None:
            return Status("model", ERROR, error, state)
        return Status("model", WARN, "not configured: no model loaded", state)
    segmenter = model.segmenter
    values = {
        "path": str(model.path),
        "sha256": model.digest,
        "device": str(segmenter.device),
        "engine": segmenter.engine,
        "precision": segmenter.precision,
        "classes": ", ".join(model.taxonomy.names),
        "state": "active" if active else "inactive",
    }
    if error is not None:
        return Status("model", ERROR, error, values)
    if not active:
        return Status("model", WARN, "loaded, not active", values)
    return Status("model", OK, f"{model.path.name} on {segmenter.device}", values)


def input_status(
    silence_s: float | None,
    rate_hz: float,
    *,
    topic: str,
    warn_s: float,
    error_s: float,
    lost: int,
    age_s: float = 0.0,
    max_age_s: float = 0.0,
    faults: Sequence[str] = (),
) -> Status:
    """Whether clouds are received.

    Args:
        silence_s: since the newest cloud was received, see `DiagnosticsMonitor.silence_s`; None
            before the first.
        rate_hz: of the clouds received recently.
        warn_s, error_s: silence that is worth a warning, and an error.
        lost: clouds that the middleware lost since the last report.
        age_s: of the newest cloud's stamp when it was received; below 0 it was in the future.
        max_age_s: that it may have, to either side; 0: any.
        faults: what is wrong with the node's clock, or the clouds' stamps.
    """
    values = {"topic": topic, "rate (Hz)": f"{rate_hz:.2f}"}
    if silence_s is None:
        level, message = WARN, f"no cloud received yet on {topic}"
    else:
        values["age of the newest cloud (s)"] = f"{silence_s:.3f}"
        if silence_s >= warn_s:
            level = ERROR if silence_s >= error_s else WARN
            message = f"silent for {silence_s:.1f} s"
        else:
            level, message = OK, f"{rate_hz:.1f} Hz"
    if max_age_s and abs(age_s) > max_age_s:
        where = "old" if age_s > 0 else "ahead of the node's clock"
        level, message = ERROR, f"{message}; the stamps are {abs(age_s):,.1f} s {where}"
    for fault in faults:
        level, message = max(level, WARN), f"{message}; {fault}"
    if lost:
        level, message = max(level, WARN), f"{message}; {lost} clouds lost on the way recently"
    return Status("input", level, message, values)


def latency_status(milliseconds: np.ndarray, limit_ms: float) -> Status:
    """Message in to message out of the clouds labelled recently.

    Args:
        milliseconds: [n].
        limit_ms: that the 95th percentile should keep; 0: none.
    """
    if not len(milliseconds):
        return Status("latency", OK, "no cloud was labelled recently")
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    values = {"p50 (ms)": p50, "p95 (ms)": p95, "p99 (ms)": p99, "max (ms)": milliseconds.max()}
    texts = {name: f"{value:.1f}" for name, value in values.items()} | {
        "clouds": str(len(milliseconds)),
        "limit of p95 (ms)": f"{limit_ms:.1f}" if limit_ms else "none",
    }
    if limit_ms and p95 > limit_ms:
        message = f"p95 {p95:.0f} ms is above the limit of {limit_ms:.0f} ms"
        return Status("latency", WARN, message, texts)
    return Status("latency", OK, f"p95 {p95:.0f} ms", texts)


def frames_status(
    counts: Mapping[str, int], newly_rejected: Mapping[str, int], newly_labelled: int = 0
) -> Status:
    """How many clouds were labelled, and how many were not and why. That none is labelled of those
    that should be is an error.

    Args:
        counts: since the start, see `FrameCounts.as_dict`.
        newly_rejected: by reason, since the last report.
        newly_labelled: since the last report.
    """
    values = {name: str(count) for name, count in counts.items()}
    if newly_rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in newly_rejected.items())
        if not newly_labelled:
            return Status("frames", ERROR, f"every cloud rejected recently: {reasons}", values)
        return Status("frames", WARN, f"rejected recently: {reasons}", values)
    return Status("frames", OK, f"{counts.get('labelled', 0)} labelled", values)


def labels_status(
    unlabelled: np.ndarray,
    entropy: np.ndarray,
    trained_entropy: float | None,
    fault: str | None = None,
    beyond_training: int = 0,
) -> Status:
    """Whether the labels look like those of the training.

    Args:
        unlabelled: [n] share of the points without a label, of each cloud labelled recently.
        entropy: [n] their mean entropy over the labelled points, nats; NaN where there is none.
        trained_entropy: on clouds like the training's, held back from it; None: not known.
        fault: why the newest cloud has no label at all.
        beyond_training: points of those clouds, see `Segmentation`.
    """
    if not len(unlabelled):
        return Status("labels", OK, "no cloud was labelled recently")
    share = float(unlabelled.mean())
    known = entropy[~np.isnan(entropy)]
    mean = float(known.mean()) if len(known) else None
    values = {
        "unlabelled (%)": f"{100 * share:.1f}",
        "beyond the training's inputs (points)": str(beyond_training),
        "mean entropy (nats)": "-" if mean is None else f"{mean:.3f}",
        "mean entropy in training (nats)": (
            "not known" if trained_entropy is None else f"{trained_entropy:.3f}"
        ),
    }
    if fault is not None:
        return Status("labels", WARN, fault, values)
    if share > 0.5:
        return Status("labels", WARN, f"{100 * share:.0f} % of the points have no label", values)
    if mean is not None and trained_entropy and mean > 2 * trained_entropy:
        message = (
            f"the model is unsure: mean entropy {mean:.2f}, in training {trained_entropy:.2f}; "
            "another sensor or another environment?"
        )
        return Status("labels", WARN, message, values)
    return Status("labels", OK, f"{100 * (1 - share):.0f} % of the points labelled", values)


def sensor_status(mismatches: Sequence[str] | None) -> Status:
    """Whether the clouds look like those of the training.

    Args:
        mismatches: one message each; None: no cloud was compared yet.
    """
    if mismatches is None:
        return Status("sensor", OK, "no cloud was compared with the training's yet")
    if mismatches:
        values = {f"mismatch {number}": text for number, text in enumerate(mismatches, 1)}
        return Status("sensor", WARN, "not like the clouds the model was trained on", values)
    return Status("sensor", OK, "like the clouds the model was trained on")


class DiagnosticsMonitor:
    """What has happened to the clouds recently, and the statuses that follow from it. The pipeline
    notes what it does; a timer takes the statuses.

    Args:
        window_s: over which rates and percentiles are taken.
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
        self.input_fault: Callable[[], str | None] = lambda: None
        self.motion_status: Callable[[], Status] = lambda: Status("motion", OK, "off")

    def restart(self) -> None:
        """Forget the age of the newest cloud and the comparison with the training."""
        self._newest_ns = self.sensor_mismatches = self._label_fault = None

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
            "motion": self.motion_status,
            "latency": lambda: latency_status(self._latency.values(time_s), max_ms),
            "frames": lambda: frames_status(counts.as_dict(), newly_rejected, labelled),
            "labels": partial(self._labels_status, time_s, trained_entropy),
            "sensor": lambda: sensor_status(self.sensor_mismatches),
        }
        return each_status(tasks, on_fault)
