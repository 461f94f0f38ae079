"""Clocks that are set ahead, and sensors whose clocks differ: what the examination says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yard

from haskd_training.data.preparing.examination.examine import examine
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.recording import RecordingConfig

YEAR_NS = 31_557_600 * 10**9


def findings(bag: Path) -> dict[str, Finding]:
    found = examine(bag, "yard", RecordingConfig()).findings
    return {finding.code: finding for finding in found}


def test_a_clock_that_is_set_ahead_is_told_once_for_all_senders(tmp_path: Path) -> None:
    first = yard.Yard(clouds=6)
    # Recorded 1 s after the first ones began, by a clock that is a year ahead.
    second = yard.Yard(clouds=6, clock_ns=yard.START_NS + YEAR_NS, static=(),
                       begin_ns=yard.START_NS + 10**9)  # fmt: skip
    found = findings(yard.write(tmp_path, [*first.messages(), *second.messages()]))
    assert found.keys() == {"stamps-jump"}
    jump = found["stamps-jump"]
    assert jump.outcome == "doubtful"
    # A year less the 0.5 s from the first cloud to the last one before: 365.25 days.
    assert "jump forward by 365.2 days at message 6" in jump.message
    for sender in (yard.POINTS, yard.IMAGES, yard.INFO, "/tf (base_link)"):
        assert sender in str(jump)


def test_a_clock_that_is_set_together_with_the_recorder_s_is_told(tmp_path: Path) -> None:
    later = {"clock_ns": yard.START_NS + YEAR_NS, "begin_ns": yard.START_NS + YEAR_NS}
    messages = [*yard.Yard().messages(), *yard.Yard(static=(), **later).messages()]
    assert findings(yard.write(tmp_path, messages)).keys() == {"stamps-jump"}


def test_a_pause_is_no_jump(tmp_path: Path) -> None:
    later = yard.START_NS + 600 * 10**9
    pause = yard.Yard(static=(), clock_ns=later, begin_ns=later)
    assert findings(yard.write(tmp_path, [*yard.Yard().messages(), *pause.messages()])) == {}


def test_a_camera_whose_clock_is_five_seconds_ahead_is_told(tmp_path: Path) -> None:
    # 80 clouds are 8 s: the stamps overlap.
    messages = []
    for recorded, topic, message in yard.Yard(clouds=80).messages():
        if topic in (yard.IMAGES, yard.INFO):
            stamp = message.header.stamp
            header = yard.header(stamp.sec * 10**9 + stamp.nanosec + 5 * 10**9, yard.CAMERA)
            message = replace(message, header=header)
        messages.append((recorded, topic, message))
    found = findings(yard.write(tmp_path, messages))
    offset = found["clocks-offset"]
    assert offset.subject == yard.POINTS and offset.outcome == "doubtful"
    assert f"stamps are 5.0 s behind those of {yard.IMAGES} that were recorded" in offset.message


def test_transforms_from_the_future_are_told(tmp_path: Path) -> None:
    messages = []
    for recorded, topic, message in yard.Yard(clouds=20).messages():
        if topic == "/tf":
            message.transforms[0].header = yard.header(recorded + 8 * 10**9, "odom")
        messages.append((recorded, topic, message))
    found = findings(yard.write(tmp_path, messages))
    assert "stamps are 8.0 s behind those of /tf that were" in found["clocks-offset"].message
