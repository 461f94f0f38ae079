"""Images that hold no picture, half of one, or the same one again: what the examination says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yard

from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.examination.examination import Examination
from haskd_training.data.preparing.examination.examine import examine
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.preparing.prepare import prepare
from haskd_training.recordings.recording import RecordingConfig


def examined(folder: Path, image: Callable[[int], Any] = yard.picture, **changes) -> Examination:
    bag = yard.record(folder, image=image, **changes)
    return examine(bag, "yard", RecordingConfig())


def said(examination: Examination) -> list[tuple[str, str, str]]:
    return [(finding.code, finding.outcome, finding.message) for finding in examination.findings]


def changed(number: int, change: Callable[[Any], None]) -> Callable[[int], Any]:
    """Pictures of which the one of a number is changed."""

    def image(time_ns: int) -> Any:
        message = yard.picture(time_ns)
        if (time_ns - yard.START_NS) // yard.PERIOD_NS == number:
            change(message)
        return message

    return image


def half(message: Any) -> None:
    message.data = message.data[: len(message.data) // 2]


def test_a_picture_that_is_cut_off_is_left_out_and_told(tmp_path: Path) -> None:
    found = examined(tmp_path, changed(3, half))
    message = "1 of 6 images are left out: cut off"
    assert said(found) == [("images-broken", "left out", message)]
    report = prepare([tmp_path / "yard"], tmp_path / "labels.yaml", tmp_path / "cache")
    assert report.images_skipped == {"image is cut off": 1}
    assert len(Cache.open(tmp_path / "cache").images) == 5


def test_a_first_image_without_data_does_not_hide_what_the_others_are(tmp_path: Path) -> None:
    deep = np.full((120, 200), 3000, "<u2")

    def image(time_ns: int) -> Any:
        data = deep.tobytes() if time_ns > yard.START_NS + yard.PERIOD_NS else b""
        kind = yard.STORE.types["sensor_msgs/msg/Image"]
        header = yard.header(time_ns, yard.CAMERA)
        return kind(header, 120, 200, "mono16", 0, 400, np.frombuffer(data, np.uint8))

    ((code, outcome, message),) = said(examined(tmp_path, image))
    assert (code, outcome) == ("camera-left-out", "left out")
    assert "its 6 images are not used: image encoding 'mono16' is not" in message


@pytest.mark.parametrize("text", ["h264", "bgr8; compressed hevc", "H265", "av1"])
def test_video_is_named_as_what_it_is(tmp_path: Path, text: str) -> None:
    def image(time_ns: int) -> Any:
        message = yard.picture(time_ns)
        message.format, message.data = text, np.frombuffer(b"\0\0\0\1\x67" + bytes(99), np.uint8)
        return message

    ((code, outcome, message),) = said(examined(tmp_path, image))
    assert (code, outcome) == ("camera-left-out", "left out")
    assert message.startswith(f"its 6 images are not used: format '{text}' is video")


def test_a_camera_none_of_whose_images_can_be_decoded_is_left_out(tmp_path: Path) -> None:
    def image(time_ns: int) -> Any:
        message = yard.picture(time_ns)
        message.data = np.zeros(500, np.uint8)
        return message

    ((code, outcome, message),) = said(examined(tmp_path, image))
    assert (code, outcome) == ("camera-left-out", "left out")
    assert "its 6 images are not used: none of them can be decoded: no picture in them" in message


def test_images_that_are_there_twice_are_told_and_used_once(tmp_path: Path) -> None:
    messages = list(yard.Yard().messages())
    again = [(at + 1, topic, message) for at, topic, message in messages if topic == yard.IMAGES]
    found = examine(yard.write(tmp_path, messages + again), "yard", RecordingConfig())
    message = "6 of 12 images are there already, to the byte; each is used once"
    assert said(found) == [("images-repeated", "repaired", message)]
    assert found.cameras[0].images == 6


def test_a_calibration_that_is_fitted_to_cropped_and_binned_images_is_told(tmp_path: Path) -> None:
    # Of 800 x 480 px the 400 x 240 from (160, 80) on, two by two: 200 x 120.
    def info(time_ns: int) -> Any:
        message = yard.camera_info(time_ns)
        message.width, message.height = 800, 480
        message.binning_x = message.binning_y = 2
        region = yard.STORE.types["sensor_msgs/msg/RegionOfInterest"]
        message.roi = region(160, 80, 240, 400, False)
        return message

    ((code, outcome, message),) = said(examined(tmp_path, info=info))
    assert (code, outcome) == ("camera-info-fitted", "repaired")
    assert "cropped at (160, 80) and binned 2 x 2: K is fitted (6 of 6 images)" in message


def broken(message: Any) -> None:
    """Of EXIF data that is none."""
    data = message.data.tobytes()
    exif = b"\xff\xe1\x00\x10Exif\0\0MM\xff\xff\xff\xff"
    message.data = np.frombuffer(data[:2] + exif + data[2:], np.uint8)


def enormous(message: Any) -> None:
    """Of 65,000 x 65,000 px, by its header."""
    octets = bytearray(message.data.tobytes())
    at = octets.index(b"\xff\xc0")
    octets[at + 5 : at + 9] = (65_000).to_bytes(2, "big") * 2
    message.data = np.frombuffer(bytes(octets), np.uint8)


def test_a_picture_that_is_too_large_is_left_out_and_told(tmp_path: Path) -> None:
    found = examined(tmp_path, changed(3, enormous))
    reason = "larger than 64 megapixels, the limit (max_image_megapixels)"
    message = f"1 of 6 images are left out: {reason}"
    assert said(found) == [("images-broken", "left out", message)]
    report = prepare([tmp_path / "yard"], tmp_path / "labels.yaml", tmp_path / "cache")
    assert report.images_skipped == {f"image is {reason}": 1}


def test_the_limit_is_a_setting(tmp_path: Path) -> None:
    yard.record(tmp_path)
    # 200 x 120 px are 0.024 megapixels.
    for limit, images in ((0.024, 6), (0.0239, 0)):
        config = PrepareConfig(max_image_megapixels=limit)
        prepare([tmp_path / "yard"], tmp_path / "labels.yaml", tmp_path / f"{limit}", config)
        assert len(Cache.open(tmp_path / f"{limit}").images) == images


def test_a_picture_with_broken_exif_ends_nothing(tmp_path: Path) -> None:
    yard.record(tmp_path, image=changed(3, broken))
    report = prepare([tmp_path / "yard"], tmp_path / "labels.yaml", tmp_path / "cache")
    assert sum(report.images_skipped.values()) + len(Cache.open(tmp_path / "cache").images) == 6
