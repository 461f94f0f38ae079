"""Recordings with one thing odd: what `prepare` makes of their cameras, frames and clouds."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from street_scene import (
    MARK,
    MOUNTS,
    NO_TURN,
    OPTICAL,
    POINT,
    START_NS,
    TENTH_NS,
    Timed,
    camera,
    cloud,
    clouds,
    colours,
    compressed,
    info,
    motion,
    raw,
    static,
    times,
    transforms,
    write,
)

from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.prepare import PrepareConfig, prepare
from haskd_training.data.projection import project


def prepared(folder: Path, *parts: object, **config: object) -> tuple[Cache, object]:
    """The cache of a bag of these messages, and its report."""
    bag = write(folder / "drive", chain(*parts))
    report = prepare([bag], "pandaset", folder / "cache", PrepareConfig(overlays=0, **config))
    return Cache.open(folder / "cache"), report


def pixel(cache: Cache, image: int, sweep: int = 0, point: tuple = MARK) -> list[float]:
    model = cache.images[image].camera_model
    pixels = project(np.array([point]), cache.t_camera_lidar(image, sweep), model).pixels
    return np.round(pixels[0], 6).tolist()


def test_a_sound_recording_has_its_mark_where_it_belongs(tmp_path: Path) -> None:
    cache, report = prepared(tmp_path, [static()], clouds(), camera())
    assert (report.sweeps, report.images) == (4, 4)
    assert pixel(cache, 0) == [60, 72]


def test_each_image_has_the_calibration_of_its_time(tmp_path: Path) -> None:
    # From 0.2 s on the focal length is doubled: (100 - 300 * 2 / 7.5, 60 + 300 * 0.6 / 7.5).
    zoomed = (
        (
            ns,
            topic,
            info(ns, k=(300, 100, 60)) if "info" in topic and ns >= times(3)[2] else message,
        )
        for ns, topic, message in camera()
    )
    cache, _ = prepared(tmp_path, [static()], clouds(), zoomed)
    assert [pixel(cache, j) for j in range(4)] == [[60, 72], [60, 72], [20, 84], [20, 84]]


def test_an_empty_camera_info_is_passed_over(tmp_path: Path) -> None:
    empty = (
        (ns, topic, info(ns, k=(0, 0, 0)) if "info" in topic and ns == START_NS else message)
        for ns, topic, message in camera()
    )
    cache, report = prepared(tmp_path, [static()], clouds(), empty)
    assert report.images == 4
    assert pixel(cache, 0) == [60, 72]


@pytest.mark.parametrize(
    ("of_info", "expected"),
    [
        # The full image has twice the size: K is halved.
        ({"size": (400, 240), "k": (300, 200, 120), "binning": 2}, (150, 100, 60)),
        ({"size": (400, 240), "k": (300, 200, 120)}, (150, 100, 60)),
        # 40 px were cut off on the left and 10 at the top.
        ({"size": (400, 240), "k": (150, 140, 70), "roi": (40, 10, 200, 120)}, (150, 100, 60)),
        # Cut to 400 x 240 px at (40, 20), then binned: (240 - 40) / 2, (140 - 20) / 2.
        (
            {"size": (500, 300), "k": (300, 240, 140), "binning": 2, "roi": (40, 20, 400, 240)},
            (150, 100, 60),
        ),
        # A driver that fills in binning, and has scaled K already.
        ({"binning": 2}, (150, 100, 60)),
        # No size at all.
        ({"size": (0, 0)}, (150, 100, 60)),
    ],
)
def test_k_is_fitted_to_binned_cropped_and_resized_images(
    tmp_path: Path, of_info: dict, expected: tuple
) -> None:
    cache, _ = prepared(tmp_path, [static()], clouds(1), camera(1, **of_info))
    f, cx, cy = expected
    assert [[f, 0, cx], [0, f, cy], [0, 0, 1]] == cache.images[0].K
    assert pixel(cache, 0) == [60, 72]


def test_an_image_that_cannot_be_made_of_the_calibrated_one_is_left_out(tmp_path: Path) -> None:
    _, report = prepared(tmp_path, [static()], clouds(1), camera(1, size=(640, 200)))
    reason = "front: its images are 200 x 120 px, its CameraInfo is for 640 x 200 px"
    assert report.images_skipped == {reason: 1}


def stereo(frame: str, n: int = 1, p3: float = -45.0) -> list[Timed]:
    """A rectified pair 0.3 m apart: P[3] = -150 px * 0.3 m."""
    out: list[Timed] = []
    for ns in times(n):
        out.append((ns, "/left/camera_info", info(ns)))
        out.append((ns, "/left/image_rect/compressed", compressed(ns)))
        out.append((ns, "/right/camera_info", info(ns, frame, p3=p3)))
        out.append((ns, "/right/image_rect/compressed", compressed(ns, frame=frame)))
    return out


def test_the_right_camera_of_a_pair_stands_beside_the_left_one_s_frame(tmp_path: Path) -> None:
    cache, _ = prepared(tmp_path, [static()], clouds(1), stereo("camera"))
    by_name = {row.camera: j for j, row in enumerate(cache.images)}
    assert pixel(cache, by_name["left"]) == [60, 72]
    # 2 m to the left of the left camera, 2.3 m to the left of the right one:
    # 100 - 150 * 2.3 / 7.5.
    assert pixel(cache, by_name["right"]) == [54, 72]


def test_a_right_camera_that_tf_knows_is_not_moved_twice(tmp_path: Path) -> None:
    mounts = (*MOUNTS, ("camera", "camera_right", (0.3, 0, 0), NO_TURN))
    cache, _ = prepared(tmp_path, [static(*mounts)], clouds(1), stereo("camera_right"))
    by_name = {row.camera: j for j, row in enumerate(cache.images)}
    assert pixel(cache, by_name["right"]) == [54, 72]


def test_a_moving_right_camera_has_its_own_pose(tmp_path: Path) -> None:
    cache, _ = prepared(tmp_path, [static()], clouds(3), stereo("camera", 3), motion(3))
    j = next(j for j, row in enumerate(cache.images) if row.camera == "right")
    # Two sweeps and 1 m later the mark of that sweep is 8.5 m ahead of where the image was taken:
    # 100 - 150 * 2.3 / 8.5, 60 + 150 * 0.6 / 8.5.
    assert pixel(cache, j, sweep=2) == pytest.approx([59.411765, 70.588235], abs=1e-5)


def test_a_rectified_image_is_that_of_the_turned_camera(tmp_path: Path) -> None:
    # R turns the camera by 0.1 rad about its y axis (down): x' = cos x + sin z, z' = cos z - sin x.
    R = Rotation.from_euler("y", 0.1).as_matrix()
    messages = [
        (START_NS, "/front/camera_info", info(START_NS, r=R)),
        (START_NS, "/front/image_rect/compressed", compressed(START_NS)),
    ]
    cache, _ = prepared(tmp_path, [static()], clouds(1), messages)
    c, s = np.cos(0.1), np.sin(0.1)
    x, y, z = c * -2 + s * 7.5, 0.6, c * 7.5 + s * 2
    assert pixel(cache, 0) == pytest.approx([100 + 150 * x / z, 60 + 150 * y / z], abs=1e-5)


def test_a_camera_info_without_a_frame_has_the_image_s(tmp_path: Path) -> None:
    cache, report = prepared(tmp_path, [static()], clouds(), camera(frame=""))
    assert report.images == 4
    assert pixel(cache, 0) == [60, 72]


def test_a_camera_info_in_a_frame_that_tf_lacks_has_the_image_s(tmp_path: Path) -> None:
    cache, report = prepared(tmp_path, [static()], clouds(), camera(frame="usb_cam"))
    assert report.images == 4
    assert pixel(cache, 0) == [60, 72]


def test_two_cameras_on_one_topic_are_told_apart_by_their_frames(tmp_path: Path) -> None:
    # The second one looks back: the mark is behind it, and (-8, 2, -1) is 8.5 m behind base_link's
    # camera mount and 2 m to its right: 100 + 150 * 2 / 8.5, 60 + 150 * 0.6 / 8.5.
    back = (0.5, 0.5, -0.5, -0.5)
    mounts = (*MOUNTS, ("base_link", "camera_back", (0.5, 0, 1.6), back))
    messages = []
    for k, ns in enumerate(times(4)):
        frame = ("camera", "camera_back")[k % 2]
        messages.append((ns, "/front/camera_info", info(ns, frame, k=(150 + k % 2 * 150, 100, 60))))
        messages.append((ns, "/front/image/compressed", compressed(ns, frame=frame)))
    cache, _ = prepared(tmp_path, [static(*mounts)], clouds(), messages)
    assert [row.K[0][0] for row in cache.images] == [150, 300, 150, 300]
    assert pixel(cache, 2) == [60, 72]
    assert np.isnan(pixel(cache, 1)).all()
    behind = pixel(cache, 1, point=(-8, 2, -1))
    assert behind == pytest.approx([100 + 300 * 2 / 8.5, 60 + 300 * 0.6 / 8.5], abs=1e-5)


def two_lidars(n: int = 4) -> list[Timed]:
    """Every second cloud is of a LiDAR 3 m behind base_link, facing back."""
    frames = ("lidar", "lidar_rear")
    return [(ns, "/points", cloud(ns, frames[k % 2])) for k, ns in enumerate(times(n))]


REAR = ("base_link", "lidar_rear", (-3, 0, 2), (0.0, 0.0, 1.0, 0.0))


def test_each_cloud_is_placed_by_its_own_frame(tmp_path: Path) -> None:
    cache, _ = prepared(tmp_path, [static(*MOUNTS, REAR)], two_lidars(), camera(), motion())
    front, rear = (np.array(cache.sweeps[k].T_world_lidar) for k in (0, 1))
    assert front[:3, 3].tolist() == [0, 0, 2]
    # After 0.1 s the vehicle is at x = 0.5.
    assert rear[:3, 3] == pytest.approx([-2.5, 0, 2])
    assert rear[:3, 0] == pytest.approx([-1, 0, 0])
    # (-11, -2, -1) of the rear LiDAR is the mark's place: (8, 2, 1) of base_link.
    assert pixel(cache, 1, 1, (-11, -2, -1)) == pytest.approx([60, 72])


def test_each_cloud_is_placed_by_its_own_frame_where_no_motion_is_known(tmp_path: Path) -> None:
    cache, _ = prepared(tmp_path, [static(*MOUNTS, REAR)], two_lidars(), camera())
    assert cache.sweeps[1].T_world_lidar is None
    assert pixel(cache, 0, 1, (-11, -2, -1)) == pytest.approx([60, 72])
    assert pixel(cache, 0, 0) == [60, 72]


def test_a_cloud_that_tf_cannot_place_is_left_out(tmp_path: Path) -> None:
    cache, report = prepared(tmp_path, [static()], two_lidars(), camera())
    assert len(cache) == 2
    assert report.sweeps_skipped == {"TF does not connect lidar_rear to lidar": 2}


def test_without_images_no_cloud_has_to_be_placed(tmp_path: Path) -> None:
    cache, _ = prepared(tmp_path, [static()], two_lidars())
    assert len(cache) == 4


def test_what_is_recorded_twice_counts_once(tmp_path: Path) -> None:
    sound = [static(), *clouds(3), *camera(3)]
    # A second recorder's messages come a little later, with the same stamps.
    again = [(ns + TENTH_NS * 3 // 2, topic, message) for ns, topic, message in sound[1:]]
    cache, report = prepared(tmp_path, sound, again)
    assert (len(cache), report.images) == (3, 3)
    assert report.sweeps_skipped == {"in the recording already, to the byte": 3}
    assert report.images_skipped == {"in the recording already, to the byte": 3}


def test_clouds_of_one_stamp_with_other_points_are_not_the_same(tmp_path: Path) -> None:
    def moved(k: int) -> np.ndarray:
        return np.array([(8 + k, 2, -1, 51, 13)], POINT)

    still = [(ns, "/points", cloud(START_NS, points=moved(k))) for k, ns in enumerate(times(3))]
    cache, _ = prepared(tmp_path, [static()], still)
    assert len(cache) == 3


def test_a_mount_on_both_tf_topics_is_that_of_tf_static(tmp_path: Path) -> None:
    # An old publisher's last breath: another mount, a second before.
    before = START_NS - 10**9
    old = (before, "/tf", transforms(before, ("base_link", "camera", (9, 0, 0), OPTICAL)))
    cache, report = prepared(tmp_path, [old, static()], clouds(), camera())
    assert report.images == 4
    assert pixel(cache, 3) == [60, 72]


def test_odom_is_the_fixed_frame_where_map_is_corrected_now_and_then(tmp_path: Path) -> None:
    corrections = [
        (ns, "/tf", transforms(ns, ("map", "odom", (0.01, 0, 0), NO_TURN)))
        for ns in times(60)[::20]
    ]
    cache, report = prepared(tmp_path, [static()], corrections, clouds(60), camera(60), motion(60))
    assert (report.images, report.sweeps_without_pose) == (60, 0)
    # odom -> base_link at 1 s: x = 5; the LiDAR stands above it.
    assert np.array(cache.sweeps[10].T_world_lidar)[:3, 3] == pytest.approx([5, 0, 2])


def test_a_configured_fixed_frame_is_used_whatever_its_gaps(tmp_path: Path) -> None:
    corrections = [
        (ns, "/tf", transforms(ns, ("map", "odom", (0.01, 0, 0), NO_TURN)))
        for ns in times(60)[::20]
    ]
    _, report = prepared(
        tmp_path, [static()], corrections, clouds(60), camera(60), motion(60), fixed_frame="map"
    )
    assert report.images < 10


def test_a_loop_above_the_sensors_does_not_keep_their_images_out(tmp_path: Path) -> None:
    loop = ("lidar", "base_link", (0, 0, -2), NO_TURN)
    mounts = (MOUNTS[0], loop, ("lidar", "camera", (0.5, 0, -0.4), OPTICAL))
    cache, report = prepared(tmp_path, [static(*mounts)], clouds(), camera())
    assert report.images == 4
    assert pixel(cache, 0) == [60, 72]


def test_a_loop_between_the_sensors_is_named(tmp_path: Path) -> None:
    loop = ("lidar", "base_link", (0, 0, -2), NO_TURN)
    _, report = prepared(tmp_path, [static(*MOUNTS, loop)], clouds(1), camera(1))
    (reason,) = report.images_skipped
    assert "TF does not connect lidar to camera, because of its loop" in reason
    assert "lidar -> base_link -> lidar" in reason or "base_link -> lidar -> base_link" in reason


def test_frames_with_a_leading_slash_are_those_without(tmp_path: Path) -> None:
    slashed = [(f"/{parent}", f"/{child}", xyz, turn) for parent, child, xyz, turn in MOUNTS]
    messages = [(ns, "/points", cloud(ns, "/lidar")) for ns in times(2)]
    cache, report = prepared(
        tmp_path, [static(*slashed)], messages, camera(2, frame="/camera"), motion(2),
        fixed_frame="/odom",
    )  # fmt: skip
    assert pixel(cache, 0) == [60, 72]
    assert report.sweeps_without_pose == 0


def test_a_depth_camera_teaches_nothing(tmp_path: Path) -> None:
    depth = np.full((120, 200), 8000, np.uint16)
    told = "16UC1; png compressed "
    messages = []
    for ns in times(2):
        messages += [
            (ns, "/depth/camera_info", info(ns)),
            (ns, "/depth/image/compressed", compressed(ns, depth, told=told, suffix=".png")),
            (ns, "/deep/camera_info", info(ns)),
            (ns, "/deep/image", raw(ns, depth, "16UC1")),
            # A depth picture whose format doesn't say so.
            (ns, "/mute/camera_info", info(ns)),
            (ns, "/mute/image/compressed", compressed(ns, depth, told="png", suffix=".png")),
        ]
    cache, report = prepared(tmp_path, [static()], clouds(2), camera(2), messages)
    assert {row.camera for row in cache.images} == {"front"}
    assert sorted(report.images_skipped.values()) == [2, 2, 2]
    text = " ".join(report.images_skipped)
    assert "'16UC1' is not a colour or grey one of 8 bits: it is depth" in text
    assert "mute: image of 16 bits a channel" in text


def test_a_bayer_mosaic_in_a_jpeg_gets_its_colours(tmp_path: Path) -> None:
    rgb = colours()
    mosaic = rgb[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = rgb[::2, ::2, 0], rgb[1::2, 1::2, 2]
    told = "bayer_rggb8; jpeg compressed "
    messages = [
        (START_NS, "/front/camera_info", info(START_NS)),
        (START_NS, "/front/image/compressed", compressed(START_NS, mosaic, told=told)),
    ]
    cache, _ = prepared(tmp_path, [static()], clouds(1), messages)
    middle = cache.image(0)[20:100, 80:120].reshape(-1, 3)
    assert np.abs(middle.mean(0) - (220, 30, 30)).max() < 8


def again(messages: object) -> list[Timed]:
    """The same stamps, recorded 3 s later: a simulation that was reset."""
    return [(ns + 3 * 10**9, topic, message) for ns, topic, message in messages]


def test_what_follows_a_restarted_clock_calibrates_nothing(tmp_path: Path) -> None:
    zoomed = camera(6, k=(300, 100, 60))
    second = again([*clouds(6), *zoomed])
    cache, report = prepared(tmp_path, [static()], clouds(6), camera(6), motion(6), second)
    assert (report.sweeps, report.images) == (6, 6)
    assert {row.K[0][0] for row in cache.images} == {150}


def test_a_camera_of_the_second_pass_alone_is_left_out(tmp_path: Path) -> None:
    second = again([*clouds(6), *camera(6)])
    _, report = prepared(tmp_path, [static()], clouds(6), motion(6), second)
    assert (report.sweeps, report.images) == (6, 0)
    assert any("come after the part that is used" in str(found) for found in report.findings)
