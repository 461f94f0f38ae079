"""The examination of a recording: what it finds in a yard with one thing wrong, or with none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yard

from haskd_ros.errors import InputError
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.index import INDEX
from haskd_training.data.preparing.examination.examination import Examination
from haskd_training.data.preparing.examination.examine import examine, examine_clouds
from haskd_training.data.preparing.prepare import prepare
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.recording import RecordingConfig


def examined(folder: Path, **changes) -> Examination:
    return examine(yard.record(folder, **changes), "yard", RecordingConfig())


def the_one(examination: Examination, code: str) -> Finding:
    """The finding of a code, where it is the only finding."""
    assert [finding.code for finding in examination.findings] == [code]
    return examination.findings[0]


def test_nothing_is_found_in_a_sound_recording(tmp_path):
    found = examined(tmp_path)
    assert found.findings == ()
    topics = {topic.topic: topic for topic in found.topics}
    # Clouds and images every 0.1 s, 6 of them.
    for topic in (yard.POINTS, yard.IMAGES, yard.INFO):
        assert topics[topic].messages == 6
        assert topics[topic].rate_hz == pytest.approx(10)
        assert topics[topic].longest_gap_s == pytest.approx(0.1)
    assert topics[yard.POINTS].frames == {"lidar": 6}
    assert (topics["/tf"].messages, topics["/tf_static"].messages) == (12, 1)
    recording = found.recording
    assert (recording.lidar_frame, recording.world_frame) == ("lidar", "odom")
    assert (recording.messages, recording.stop_ns) == (12, None)


def test_the_sensor_is_described_by_its_points(tmp_path):
    sensor = examined(tmp_path).sensor
    assert sensor.fields == {"x": "float32", "y": "float32", "z": "float32",
                             "intensity": "float32", "label": "uint8"}  # fmt: skip
    # 17 x 17 + 17 x 8 + 7 x 10 = 495
    assert sensor.points == {"p5": 495, "median": 495, "p95": 495}
    # 289 points of 50, 136 of 100, 70 (14 %) of 200
    assert sensor.intensity == {"p5": 50, "median": 50, "p95": 200}
    # Lowest: the ground at x = 3. Of 6 x 495 values the 1st percentile is at place 29.7: the 30
    # lowest are those of y = 0, 0.5 and 1, the last atan(-2 / 3.162) = -32.31 degrees; y = 1.5 has
    # atan(-2 / 3.354) = -30.81. 0.3 * -32.31 + 0.7 * -30.81 = -31.26.
    # Highest: the wall's top row. The 30 highest are those of y = 0, 0.5 and 1, the last
    # atan(2 / 12.042) = 9.43; y = 1.5 has atan(2 / 12.093) = 9.39. 99 % is place 2939.3, between.
    assert sensor.elevation_deg["min"] == pytest.approx(-31.26, abs=0.02)
    assert sensor.elevation_deg["max"] == pytest.approx(9.40, abs=0.02)
    assert sensor.beams is None


def test_beams_are_the_rings(tmp_path):
    dtype = [*yard.POINT, ("ring", "<u2")]

    def rows(number: int) -> np.ndarray:
        found = yard.points(dtype)
        found["ring"] = np.arange(len(found)) % 16
        return found

    assert examined(tmp_path, rows=rows).sensor.beams == 16


def test_a_recording_is_cut_where_its_clock_was_set_back(tmp_path):
    again = yard.Yard(begin_ns=yard.START_NS + 5 * 10**9, y=100.0, static=(), rows=other_rows)
    bag = yard.write(tmp_path, [*yard.Yard().messages(), *again.messages()])
    found = examine(bag, "yard", RecordingConfig())
    finding = the_one(found, "stamps-go-back")
    assert finding.outcome == "left out" and finding.is_warning
    # The last cloud before has 0.5 s; the first one again 0 s.
    assert "go back by 500 ms at message 6" in finding.message
    assert "6 of 12 clouds" in finding.message
    assert found.recording.stop_ns == yard.START_NS + 5 * 10**9

    report = prepare([bag], tmp_path / "labels.yaml", tmp_path / "cache")
    cache = Cache.open(tmp_path / "cache")
    assert (report.sweeps, report.images) == (6, 6)
    # On the first pass base_link has y = 0, on the second 100.
    assert {row.T_world_lidar[1][3] for row in cache.sweeps} == {0.0}


def test_a_message_that_is_late_is_no_restart(tmp_path):
    messages = list(yard.Yard().messages())
    # The third cloud is recorded after the fourth.
    messages = [
        (recorded + (150_000_000 if k == clouds_of(messages)[2] else 0), topic, message)
        for k, (recorded, topic, message) in enumerate(messages)
    ]
    found = examine(yard.write(tmp_path, messages), "yard", RecordingConfig())
    finding = the_one(found, "stamps-out-of-order")
    assert not finding.is_warning
    # 0.2 s comes after 0.3 s.
    assert "1 of 6 messages come after later ones, by up to 100 ms" in finding.message
    assert found.recording.stop_ns is None


def other_rows(number: int) -> np.ndarray:
    return yard.points()[::2]


def clouds_of(messages: list) -> list[int]:
    return [k for k, (_, topic, _) in enumerate(messages) if topic == yard.POINTS]


def test_two_sensors_that_take_turns_on_a_topic_are_no_restart(tmp_path):
    # The second one's clouds are 30 ms late throughout; both have one frame.
    late = [
        (recorded + 50_000_000, topic, yard.cloud(yard.START_NS + 100_000_000 * k - 30_000_000,
                                                  yard.points()[:400]))
        for k, (recorded, topic, _) in enumerate(
            item for item in yard.Yard().messages() if item[1] == yard.POINTS
        )
    ]  # fmt: skip
    bag = yard.write(tmp_path, [*yard.Yard().messages(), *late])
    found = examine(bag, "yard", RecordingConfig())
    assert "stamps-go-back" not in [finding.code for finding in found.findings]


@pytest.mark.parametrize(("stamp", "distance"), [(600 * 10**9, "50.7 years"), (0, "50.7 years")])
def test_clouds_by_another_clock_than_the_images_are_told(tmp_path, stamp, distance):
    # 1,600,000,000 s are 50.7 years of 365.25 days.
    found = examined(tmp_path, cloud_clock_ns=stamp + 10**9)
    finding = the_one(found, "clocks-apart")
    assert finding.is_warning
    assert f"stamps are {distance} before those of {yard.IMAGES}, /tf" in finding.message
    assert "not by the recorder's clock" in finding.message
    assert [camera.seen for camera in found.cameras] == [None]


def test_a_stamp_of_zero_is_told_and_cuts_nothing(tmp_path):
    messages = list(yard.Yard().messages())
    first = clouds_of(messages)[0]
    messages[first] = (*messages[first][:2], yard.cloud(0, yard.points()))
    found = examine(yard.write(tmp_path, messages), "yard", RecordingConfig())
    told = {finding.code: finding.message for finding in found.findings}
    assert told.keys() == {"stamp-zero", "clouds-without-pose"}
    assert "1 of 6 messages have stamp 0" in told["stamp-zero"]
    assert "5 of 6 clouds have a pose" in told["clouds-without-pose"]
    assert found.recording.stop_ns is None


def test_stamps_that_stand_still_are_told(tmp_path):
    messages = list(yard.Yard().messages())
    for number, k in enumerate(clouds_of(messages)[3:], 3):
        rows = yard.points()
        rows["x"] += number
        messages[k] = (*messages[k][:2], yard.cloud(yard.START_NS + 200_000_000, rows))
    found = examine(yard.write(tmp_path, messages), "yard", RecordingConfig())
    assert (
        "3 of 6 clouds have the stamp of the one before"
        in the_one(found, "stamps-stand-still").message
    )


def test_a_cloud_that_is_there_twice_is_used_once(tmp_path):
    messages = list(yard.Yard().messages())
    twice = [(messages[k][0] + 10**6, *messages[k][1:]) for k in clouds_of(messages)]
    bag = yard.write(tmp_path, [*messages, *twice])
    finding = the_one(examine(bag, "yard", RecordingConfig()), "clouds-repeated")
    assert finding.outcome == "repaired"
    assert "6 of 12 clouds" in finding.message
    report = prepare([bag], tmp_path / "labels.yaml", tmp_path / "cache")
    assert report.sweeps == 6


def test_frames_that_change_within_a_topic_are_told(tmp_path):
    static = [*yard.Yard().static, ("base_link", "rear", (-3, 0, 2), (0.0, 0.0, 1.0, 0.0))]
    found = examined(
        tmp_path, static=static, cloud_frame=lambda number: "rear" if number % 3 else "lidar"
    )
    finding = the_one(found, "frames-change")
    assert "lidar (2), rear (4)" in finding.message
    assert found.recording.lidar_frame == "rear"


def test_an_intensity_that_is_nan_throughout_is_told(tmp_path):
    def rows(number: int) -> np.ndarray:
        found = yard.points()
        found["intensity"] = np.nan
        return found

    finding = the_one(examined(tmp_path, rows=rows), "intensity-nan")
    assert finding.is_warning and "NaN throughout all clouds" in finding.message


def test_clouds_in_a_map_far_away_are_told(tmp_path):
    def rows(number: int) -> np.ndarray:
        found = yard.points()
        found["x"] += 3000
        return found

    found = examined(tmp_path, rows=rows)
    finding = next(one for one in found.findings if one.code == "points-far-away")
    # The nearest point is the ground at x = 3, y = 0, z = -2.
    assert "more than 3,003 m from the origin of its frame lidar" in finding.message
    assert "is the cloud in the sensor's frame?" in finding.message


def test_a_camera_without_an_optical_frame_sees_nothing_and_what_it_would_see_is_told(tmp_path):
    static = [
        ("base_link", "lidar", (0, 0, 2), yard.STRAIGHT),
        ("base_link", "camera_link", (0.5, 0, 1.5), yard.STRAIGHT),
    ]
    names = {"info": lambda t: yard.camera_info(t, "camera_link"),
             "image": lambda t: yard.picture(t, "camera_link")}  # fmt: skip
    found = examined(tmp_path / "wrong", static=static, **names)
    finding = the_one(found, "camera-sees-nothing")
    sound = examined(tmp_path / "sound").cameras[0]
    assert found.cameras[0].seen == 0 and 0.3 < sound.seen < 0.9
    assert f"with x ahead and z up it sees {sound.seen:.1%}" in finding.message


def test_how_k_was_fitted_to_binned_images_is_told(tmp_path):
    def info(time_ns: int):
        """By the book: the full size and its K, and binning of 2 x 2; images have half the size."""
        full = yard.camera_info(time_ns, focal=300.0)
        full.width, full.height, full.binning_x, full.binning_y = 400, 240, 2, 2
        full.k[[2, 5]] = 200, 120
        return full

    examination = examined(tmp_path, info=info)
    finding = the_one(examination, "camera-info-fitted")
    assert (finding.subject, finding.outcome) == (yard.IMAGES, "repaired")
    assert finding.message == (
        "images of 200 x 120 px are binned 2 x 2: K is fitted (6 of 6 images)"
    )
    # Half of (300, 200, 120)
    K = examination.recording.cameras[0].model.K
    assert (K[0, 0], K[0, 2], K[1, 2]) == (150, 100, 60)


def test_what_a_camera_sees_is_worked_out_at_the_time_of_its_image(tmp_path):
    def rows(number: int) -> np.ndarray:
        return np.array(SEEN, yard.POINT)

    # 20 ms later the camera, 0.5 m ahead, is 0.1 m further: depth x - 0.6. It is 0.5 m below the
    # LiDAR, so that z = -2 is 1.5 m below it: v = 60 + 150 * 1.5 / depth. At x = 4.4, depth 3.8,
    # v = 119.2, inside; at x = 4.3, depth 3.7, v = 120.8, outside (and inside without the 0.1 m:
    # 119.2). u = 100 - 150 * y / depth: at x = 10.6, y = 6.6: 1.0; at y = 6.8: -2.
    SEEN = [
        (4.4, 0.0, -2.0, 50, 1),
        (4.3, 0.0, -2.0, 50, 1),
        (10.6, 6.6, 0.0, 50, 2),
        (10.6, 6.8, 0.0, 50, 2),
        (-5.0, 0.0, 0.0, 50, 2),
    ]
    assert examined(tmp_path, rows=rows).cameras[0].seen == pytest.approx(2 / 5)


def test_labels_are_counted_by_class_and_cloud(tmp_path):
    def rows(number: int) -> np.ndarray:
        found = yard.points()
        if number >= 4:
            found["label"] = 0
        return found

    bag = yard.record(tmp_path, rows=rows)
    report = prepare([bag], tmp_path / "labels.yaml", tmp_path / "cache")
    finding = next(one for one in report.findings if one.code == "labels-in-part")
    assert "4 of 6 clouds are labelled, the first is cloud 0, the last cloud 3" in finding.message


def test_what_is_found_is_said_before_anything_is_written_and_kept(tmp_path):
    bag = yard.record(tmp_path, cloud_clock_ns=10**9)
    cache = tmp_path / "cache"
    said: list[tuple[str, bool]] = []

    def say(finding: Finding) -> None:
        # Of the cache there is nothing yet but the lock that keeps others out.
        written = (cache / INDEX).exists() or any(cache.glob("*.safetensors"))
        said.append((finding.code, written))

    labels = tmp_path / "labels.yaml"
    first = prepare([bag], labels, cache, say=say)
    assert said == [("clocks-apart", False)]
    again = prepare([bag], labels, cache, say=say)
    assert said == [("clocks-apart", False), ("clocks-apart", True)]
    assert again.up_to_date and again.findings == first.findings


def test_strict_refuses_a_warning_and_writes_nothing(tmp_path):
    bag = yard.record(tmp_path, cloud_clock_ns=10**9)
    with pytest.raises(InputError, match=r"/points: stamps are 50.7 years before"):
        prepare([bag], tmp_path / "labels.yaml", tmp_path / "cache", strict=True)
    assert not (tmp_path / "cache").exists()


def test_where_each_cloud_is_taken_by_itself_a_clock_that_is_set_back_loses_nothing(tmp_path):
    again = yard.Yard(begin_ns=yard.START_NS + 5 * 10**9, static=(), rows=other_rows)
    bag = yard.write(tmp_path, [*yard.Yard().messages(), *again.messages()])
    finding = the_one(examine_clouds(bag, None), "stamps-go-back")
    assert not finding.is_warning
