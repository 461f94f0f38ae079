"""Points whose intensity, time or unit is odd: what the examination says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yard

from haskd_training.data.preparing.examination.examination import Examination
from haskd_training.data.preparing.examination.examine import examine
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.recording import RecordingConfig


def examined(folder: Path, **changes) -> Examination:
    return examine(yard.record(folder, **changes), "yard", RecordingConfig())


def the_one(examination: Examination, code: str) -> Finding:
    assert [finding.code for finding in examination.findings] == [code]
    return examination.findings[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_returns_without_a_number_for_intensity_are_told(tmp_path: Path, value: float) -> None:
    def rows(number: int) -> np.ndarray:
        found = yard.points()
        found["intensity"][::5] = value
        return found

    finding = the_one(examined(tmp_path, rows=rows), "intensity-not-finite")
    # 99 of 495 points
    assert finding.outcome == "doubtful" and "at 20.0% of the returns" in finding.message


def test_a_time_of_two_values_a_point_is_told_as_not_read(tmp_path: Path) -> None:
    def rows(number: int) -> np.ndarray:
        return yard.points([*yard.POINT, ("timestamp", "<u4"), ("high", "<u4")])

    messages = list(yard.Yard(rows=rows).messages())
    for _, topic, message in messages:
        if topic == yard.POINTS:
            # Low and high half of 64 bits, which no PointField has, as one field of two values.
            field = next(field for field in message.fields if field.name == "timestamp")
            field.count = 2
            message.fields = [field for field in message.fields if field.name != "high"]
    bag = yard.write(tmp_path, messages)
    finding = the_one(examine(bag, "yard", RecordingConfig()), "point-times-unknown")
    assert finding.outcome == "doubtful"
    assert "field timestamp holds 2 values a point" in finding.message


def test_points_in_mm_are_told_from_points_in_a_map(tmp_path: Path) -> None:
    def rows(number: int) -> np.ndarray:
        found = yard.points()
        for axis in "xyz":
            found[axis] *= 1000
        return found

    found = {finding.code: finding for finding in examined(tmp_path, rows=rows).findings}
    # The nearest point lies at (3, 0, -2) m: 3,606 of what the cloud is in.
    assert "every point is more than 3,606 m from" in found["points-far-away"].message
    assert "are they in m?" in found["points-far-away"].message


def test_intensity_may_be_named_as_the_old_point_cloud_did(tmp_path: Path) -> None:
    def rows(number: int) -> np.ndarray:
        names = ["intensities" if name == "intensity" else name for name, _ in yard.POINT]
        return yard.points().astype(list(zip(names, [kind for _, kind in yard.POINT])))

    found = examined(tmp_path, rows=rows)
    assert found.findings == ()
    assert found.sensor.intensity_field == "intensities"


def test_a_share_of_all_points_is_written_as_one(tmp_path: Path) -> None:
    def rows(number: int) -> np.ndarray:
        found = yard.points()
        found["intensity"] *= -1
        return found

    found = {finding.code: finding for finding in examined(tmp_path, rows=rows).findings}
    assert "below 0 in 100 % of the points" in found["intensity-negative"].message
