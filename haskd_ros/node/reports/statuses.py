"""The tasks of /diagnostics: from figures to a level and a message each. No ROS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from haskd_ros.node.loaded_model import LoadedModel
from haskd_ros.node.reports.faults import FaultSummary

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
