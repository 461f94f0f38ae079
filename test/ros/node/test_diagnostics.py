"""What the node reports about itself, from numbers made up here."""

import numpy as np
import pytest

from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.node.reports.diagnostics import DiagnosticsMonitor
from haskd_ros.node.reports.statuses import (
    ERROR,
    OK,
    WARN,
    Status,
    frames_status,
    input_status,
    labels_status,
    latency_status,
    sensor_status,
)
from haskd_ros.node.reports.window import Window
from haskd_ros.node.worker import FrameCounts
from haskd_ros.segmentation import Segmentation

SECOND = 10**9


@pytest.mark.parametrize(
    ("silence", "level"), [(None, WARN), (0.1, OK), (1.0, WARN), (4.9, WARN), (5.0, ERROR)]
)
def test_silence_is_reported(silence, level):
    status = input_status(silence, 10.0, topic="/points", warn_s=1.0, error_s=5.0, lost=0)
    assert status.level == level


@pytest.mark.parametrize(("silence", "level"), [(None, WARN), (0.1, WARN), (5.0, ERROR)])
def test_lost_clouds_are_at_least_a_warning(silence, level):
    status = input_status(silence, 10.0, topic="/points", warn_s=1.0, error_s=5.0, lost=7)
    assert status.level == level
    assert status.message.endswith("; 7 clouds lost on the way recently")


def test_the_clock_that_goes_back_is_not_a_silence():
    monitor = DiagnosticsMonitor(10.0)
    assert monitor.silence_s(0) is None
    monitor.cloud_received(0.0, 100 * SECOND)
    assert monitor.silence_s(103 * SECOND) == 3.0
    # The bag starts again: no cloud since, and the silence is measured from there
    assert monitor.silence_s(10 * SECOND) == 0.0
    assert monitor.silence_s(12 * SECOND) == 2.0


def test_latency_is_judged_by_its_95th_percentile():
    # 1 .. 100 ms: 95 % of them up to 95.05
    milliseconds = np.arange(1.0, 101.0)
    status = latency_status(milliseconds, 96.0)
    assert (status.level, status.values["p50 (ms)"], status.values["p95 (ms)"]) == (
        OK, "50.5", "95.0",
    )  # fmt: skip
    assert latency_status(milliseconds, 95.0).level == WARN
    assert latency_status(milliseconds, 0.0).level == OK
    assert latency_status(np.empty(0), 1.0).level == OK


def test_a_rejection_is_reported_once():
    assert frames_status({"labelled": 3}, {}).level == OK
    status = frames_status({"labelled": 3}, {"no field x": 2}, newly_labelled=1)
    assert (status.level, status.message) == (WARN, "rejected recently: 2 no field x")


def test_that_every_cloud_is_rejected_is_an_error():
    status = frames_status({"labelled": 3}, {"no field x": 2})
    assert (status.level, status.message) == (ERROR, "every cloud rejected recently: 2 no field x")


@pytest.mark.parametrize(
    ("stamp_s", "level", "said"),
    [
        (99.0, OK, "1.0 Hz"),
        (98.9, ERROR, "1.0 Hz; the stamps are 1.1 s old"),
        (101.0, OK, "1.0 Hz"),
        (161.5, ERROR, "1.0 Hz; the stamps are 61.5 s ahead of the node's clock"),
    ],
)
def test_stamps_far_from_the_node_s_clock_are_an_error(stamp_s, level, said):
    monitor = DiagnosticsMonitor(10.0)
    monitor.cloud_received(0.0, 99 * SECOND, 99 * SECOND)
    monitor.cloud_received(1.0, 100 * SECOND, int(stamp_s * SECOND))
    status = status_of(monitor, "input", 1.0, 100 * SECOND)
    assert (status.level, status.message) == (level, said)
    # A clock without a time says nothing of a stamp.
    monitor.cloud_received(1.0, 0, int(stamp_s * SECOND))
    assert "stamps" not in status_of(monitor, "input", 1.0, 0).message


def status_of(monitor: DiagnosticsMonitor, name: str, time_s: float, now_ns: int) -> Status:
    """One of an active node's, with the default limits (stamps: 1 s)."""
    statuses = monitor.statuses(
        time_s,
        now_ns,
        topic="/points",
        counts=FrameCounts(),
        trained_entropy=None,
        parameters=DEFAULTS,
        on_fault=str,
    )
    (status,) = (each for each in statuses if each.name == name)
    return status


def segmentation(class_id, entropy, beyond=0):
    class_ids = np.array(class_id, np.uint8)
    return Segmentation(class_ids, np.ones(4, np.float32), np.array(entropy), beyond)


def test_entropy_is_that_of_the_labelled_points():
    monitor = DiagnosticsMonitor(10.0)
    # Two of four points labelled, entropies 0.1 and 0.3; then none
    monitor.cloud_labelled(0.0, 5.0, segmentation([0, 1, 255, 255], [0.1, 0.3, 9.0, 9.0], 2))
    monitor.cloud_labelled(1.0, 5.0, segmentation([255] * 4, [9.0] * 4, 1))
    labels = status_of(monitor, "labels", 1.0, 0)
    assert labels.values["unlabelled (%)"] == "75.0"
    assert labels.values["mean entropy (nats)"] == "0.200"
    assert labels.values["beyond the training's inputs (points)"] == "3"


def test_a_model_that_is_unsure_is_reported():
    share = np.array([0.1, 0.2])
    assert labels_status(share, np.array([0.3, np.nan]), 0.2).level == OK
    status = labels_status(share, np.array([0.5, 0.3]), 0.19)
    assert status.level == WARN and "mean entropy 0.40, in training 0.19" in status.message
    assert labels_status(share, np.array([9.0]), None).level == OK
    assert labels_status(np.array([0.6]), np.array([np.nan]), 0.2).level == WARN


def test_every_mismatch_is_listed():
    assert sensor_status(None).level == OK
    assert sensor_status([]).level == OK
    status = sensor_status(["range 1 m", "intensity 3"])
    assert status.level == WARN
    assert list(status.values.values()) == ["range 1 m", "intensity 3"]


def test_a_window_forgets_what_is_older_than_it():
    window = Window(10.0)
    for time in (0.0, 4.0, 8.0):
        window.add(time, 10 * time)
    assert window.values(10.0).tolist() == [0.0, 40.0, 80.0]
    assert window.rate(10.0) == pytest.approx(2 / 8)
    assert window.values(14.5).tolist() == [80.0]
    assert window.rate(14.5) == 0.0
    assert window.values(30.0).tolist() == []


def test_clouds_that_came_at_the_same_time_have_no_rate():
    window = Window(1.0)
    window.add(0.0)
    window.add(0.0)
    assert window.rate(0.0) == 0.0
