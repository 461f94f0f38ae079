"""Clouds and images that TF places nowhere, or elsewhere than one thinks."""

from __future__ import annotations

from pathlib import Path

import yard

from haskd_training.data.preparing.examination.examination import Examination
from haskd_training.data.preparing.examination.examine import examine
from haskd_training.data.preparing.prepare import prepare
from haskd_training.recordings.recording import RecordingConfig


def examined(bag: Path) -> Examination:
    return examine(bag, "yard", RecordingConfig())


def said(examination: Examination) -> dict[str, tuple[str, str]]:
    found = {finding.code: (finding.outcome, finding.message) for finding in examination.findings}
    assert len(found) == len(examination.findings)
    return found


def test_a_hole_in_tf_is_a_warning_with_what_is_lost(tmp_path: Path) -> None:
    messages = [
        message
        for message in yard.Yard(clouds=40).messages()
        if message[1] != "/tf" or not 1 <= (message[0] - yard.START_NS) / 1e9 <= 2.5
    ]
    found = said(examined(yard.write(tmp_path, messages)))
    # Poses from 0 to 0.95 s and from 2.55 s on, 0.02 s beyond included: clouds at 1.0 to 2.5 s have
    # none, which are 16 of 40; images 20 ms later, at 1.02 to 2.52 s.
    assert found.keys() == {"clouds-without-pose", "images-without-pose"}
    outcome, message = found["clouds-without-pose"]
    assert outcome == "doubtful" and "24 of 40 clouds have a pose" in message
    outcome, message = found["images-without-pose"]
    assert outcome == "left out" and "24 of 40 images have a pose" in message


def test_clouds_of_a_frame_that_tf_lacks_are_told_as_left_out(tmp_path: Path) -> None:
    frames = ["lidar", "lidar", "lidar_top"]
    bag = yard.record(tmp_path, cloud_frame=lambda number: frames[number % 3])
    found = said(examined(bag))
    assert found.keys() == {"frames-change", "clouds-not-placed"}
    outcome, message = found["clouds-not-placed"]
    assert outcome == "left out"
    assert "2 of 6 clouds are in frame lidar_top, which TF does not connect to lidar" in message
    report = prepare([bag], tmp_path / "labels.yaml", tmp_path / "cache")
    assert report.sweeps_skipped == {"TF does not connect lidar_top to lidar": 2}


def test_clouds_without_a_frame_are_told_as_the_reason(tmp_path: Path) -> None:
    found = said(examined(yard.record(tmp_path, cloud_frame=lambda number: "")))
    assert found.keys() == {"frame-missing", "camera-left-out"}
    assert found["frame-missing"][1].startswith("6 of 6 clouds name no frame")
    assert "TF does not connect a frame without name to" in found["camera-left-out"][1]


def test_a_single_cloud_without_a_frame_is_taken_to_be_in_that_of_the_others(
    tmp_path: Path,
) -> None:
    bag = yard.record(tmp_path, cloud_frame=lambda number: "" if number == 2 else "lidar")
    found = said(examined(bag))
    assert "1 of 6 clouds name no frame" in found["frame-missing"][1]
    assert "they are taken to be in lidar" in found["frame-missing"][1]


def test_clouds_in_odom_are_not_said_to_lack_motion(tmp_path: Path) -> None:
    found = said(examined(yard.record(tmp_path, cloud_frame=lambda number: "odom")))
    assert found.keys() == {"clouds-in-fixed-frame"}
    outcome, message = found["clouds-in-fixed-frame"]
    assert outcome == "doubtful" and "front moves against odom" in message


def test_a_transform_of_a_frame_to_itself_is_passed_over(tmp_path: Path) -> None:
    loop = yard.transforms((yard.START_NS, "lidar", "lidar", (1, 0, 0), yard.STRAIGHT))
    # It comes first, so that it would be the parent that counts.
    messages = [(yard.START_NS - 1, "/tf_static", loop), *yard.Yard().messages()]
    found = examined(yard.write(tmp_path, messages))
    assert said(found).keys() == {"tf-of-itself"}
    assert found.recording.world_frame == "odom"
