"""Calibrations over time, and cameras that stand beside their frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from street_scene import NO_TURN, compressed, info, transforms

from haskd_training.recordings.camera_model import CalibrationError, calibration
from haskd_training.recordings.camera_track import (
    CameraTrack,
    RecordedCamera,
    paired,
    recorded_camera,
)
from haskd_training.recordings.transform_tree import TransformTree

SECOND = 10**9


def track(*infos: object, rectified: bool = False) -> CameraTrack:
    made = CameraTrack(rectified)
    for message in infos:
        made.add(message)
    return made


def focal(of: CameraTrack, stamp_ns: int, frame: str = "camera") -> float:
    return float(of.at(stamp_ns, frame).model.K[0, 0])


def test_the_calibration_is_the_last_one_at_or_before_the_image() -> None:
    of = track(*(info(k * SECOND, k=(f, 100, 60)) for k, f in ((1, 10), (2, 10), (3, 20), (4, 10))))
    found = [focal(of, round(s * SECOND)) for s in (0, 1, 2.9, 3, 3.9, 4, 99)]
    assert found == [10, 10, 10, 20, 20, 10, 10]


def test_messages_may_come_in_any_order() -> None:
    of = track(info(3 * SECOND, k=(20, 0, 0)), info(1 * SECOND, k=(10, 0, 0)))
    assert (focal(of, 2 * SECOND), focal(of, 3 * SECOND)) == (10, 20)


def test_a_frame_has_its_own_calibrations() -> None:
    of = track(
        info(1 * SECOND, "a", k=(10, 0, 0)),
        info(2 * SECOND, "b", k=(20, 0, 0)),
        info(3 * SECOND, "a", k=(10, 0, 0)),
    )
    assert (focal(of, 3 * SECOND, "a"), focal(of, 1 * SECOND, "b")) == (10, 20)
    # Of an image whose frame no CameraInfo has, the last one before it.
    assert focal(of, 2 * SECOND, "c") == 20


def test_a_track_tells_what_changes_and_what_it_passes_over() -> None:
    of = track(info(0, k=(0, 0, 0)), info(1, k=(150, 0, 0)), info(2, k=(300, 0, 0)))
    passed, changes = of.findings("/camera_info")
    assert passed.outcome == "repaired" and "1 CameraInfo passed over" in passed.message
    assert "changes once (focal length 150 -> 300 px)" in changes.message
    (without,) = track(info(0, "")).findings("/camera_info")
    assert without.code == "camera-info-without-frame"
    assert list(track(info(0), info(1)).findings("/camera_info")) == []


def test_a_track_without_a_usable_calibration_says_why() -> None:
    reason = "camera is not calibrated: K of its CameraInfo is zero"
    assert track(info(0, k=(0, 0, 0))).problem_of((200, 120)) == reason
    with pytest.raises(CalibrationError, match=reason):
        track(info(0, k=(0, 0, 0))).at(0, "camera")
    assert track().problem_of(None) == "no CameraInfo"
    assert "its CameraInfo is for 640 x 200 px" in str(
        track(info(0, size=(640, 200))).problem_of((200, 120))
    )


def test_an_odd_binned_size_may_be_rounded_either_way() -> None:
    read = calibration(info(0, size=(401, 241), k=(300, 200, 120), binning=2))
    for size in ((200, 120), (201, 121)):
        model, note = read.fitted(*size)
        assert (model.K[0, 0], model.width, model.height) == (150, *size)
        assert "binned 2 x 2" in note


@given(
    left=st.integers(0, 50), top=st.integers(0, 50), bins=st.integers(1, 4),
    width=st.integers(20, 100), height=st.integers(20, 100),
    pixel=st.tuples(st.floats(0, 400), st.floats(0, 400)),
)  # fmt: skip
def test_a_pixel_moves_as_its_image_is_cropped_and_binned(
    left: int, top: int, bins: int, width: int, height: int, pixel: tuple[float, float]
) -> None:
    roi = (left, top, width * bins, height * bins)
    full = calibration(info(0, size=(500, 500), k=(300, 240, 220), binning=bins, roi=roi))
    fitted, _ = full.fitted(width, height)
    direction = np.linalg.inv(full.model.K) @ [*pixel, 1]
    moved = (fitted.K @ direction)[:2]
    assert moved == pytest.approx([(pixel[0] - left) / bins, (pixel[1] - top) / bins], abs=1e-6)


def test_what_was_fitted_is_told() -> None:
    assert calibration(info(0)).fitted(200, 120)[1] == ""
    assert (
        "CameraInfo of 400 x 240 px: K is scaled"
        in (calibration(info(0, size=(400, 240))).fitted(200, 120)[1])
    )
    assert (
        "cropped at (40, 10)"
        in (calibration(info(0, size=(400, 240), roi=(40, 10, 200, 120))).fitted(200, 120)[1])
    )
    assert calibration(info(0, roi=(40, 10, 0, 0))).fitted(200, 120)[0].K[0, 2] == 100
    assert "K is used as it is" in calibration(info(0, binning=2)).fitted(200, 120)[1]


def camera(name: str, frame: str, p3: float) -> RecordedCamera:
    return RecordedCamera(
        name=name, topic=f"/{name}/image_rect", info_topic=f"/{name}/camera_info", frame=frame,
        image_frame=frame, track=track(info(0, frame, p3=p3), rectified=True),
    )  # fmt: skip


def tree(*edges: tuple) -> TransformTree:
    made = TransformTree(0, SECOND)
    made.add(transforms(0, *edges), static=True)
    return made


def shift_of(one: RecordedCamera) -> list[float]:
    T = one.optics(one.track.first, 0)
    return [0, 0, 0] if T is None else T[:3, 3].round(6).tolist()


def test_a_right_camera_in_the_left_one_s_frame_is_shifted() -> None:
    (left, right), (finding,) = paired([camera("l", "f", 0), camera("r", "f", -45)], tree())
    # P[3] / fx = -45 px m / 150 px.
    assert (shift_of(left), shift_of(right)) == ([0, 0, 0], [-0.3, 0, 0])
    assert (finding.code, finding.outcome) == ("stereo-right", "repaired")


def test_a_right_camera_that_tf_places_is_not_shifted() -> None:
    placed = tree(("l", "r", (0.3, 0, 0), NO_TURN))
    (_, right), (finding,) = paired([camera("l", "l", 0), camera("r", "r", -45)], placed)
    assert shift_of(right) == [0, 0, 0]
    assert finding.outcome == "noted"


def test_cameras_shifted_against_one_that_was_not_recorded_are_told_by_their_distance() -> None:
    # As the colour cameras of a car whose reference is a grey one: 0.06 m and -0.47 m.
    placed = tree(("l", "r", (0.53, 0, 0), NO_TURN))
    cameras, _ = paired([camera("l", "l", 9), camera("r", "r", -70.5)], placed)
    assert [shift_of(one) for one in cameras] == [[0, 0, 0], [0, 0, 0]]


def test_a_right_camera_alone_is_shifted_by_the_book_and_doubted() -> None:
    (right,), (finding,) = paired([camera("r", "r", -45)], tree())
    assert shift_of(right) == [-0.3, 0, 0]
    assert finding.outcome == "doubtful" and "0.3 m beside" in finding.message


def test_a_camera_tells_how_its_images_and_camera_info_fit() -> None:
    of = track(info(0, "mount", size=(400, 240)))
    one = recorded_camera("c", "/c/image", "/c/camera_info", track=of, image=compressed(0))
    codes = {finding.code: finding for finding in one.findings()}
    assert "its images are in frame camera, its CameraInfo in mount; mount is used" in (
        codes["camera-frames-differ"].message
    )
    assert one.model is not None and one.model.K[0, 0] == 75
    assert np.array_equal(one.model.K[:2, 2], [50, 30])
