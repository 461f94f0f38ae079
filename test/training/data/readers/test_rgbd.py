"""RGB-D recordings of a room that is a box: which points, colours, labels and poses come of them,
worked out by hand, and what is said of recordings that are not as they should be."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from rgbd_files import (
    COLORS,
    GAP_NS,
    ROOM,
    START_NS,
    TABLE,
    Recorded,
    write_replica,
    write_rgbd_bag,
    write_tum,
)

from haskd_training.data.caches.cache import Cache
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.data.readers.rgbd.reader import reader
from haskd_training.data.readers.rgbd.voxels import Voxels, merged

CLASSES = ("ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa",
           "bookcase", "board", "clutter")  # fmt: skip
CEILING, FLOOR, WALL, TABLE_TOP = 0, 1, 2, 7


def prepare(haskd, root: Path, out: Path, *settings: str, options: tuple[object, ...] = ()):
    assignments = [text for one in ("overlays=0", *settings) for text in ("--set", one)]
    return haskd("prepare", root, "--reader", "rgbd", "--out", out, *assignments, *options)


def said(done) -> str:
    return " ".join((done.stderr + done.stdout).split())


def cache_of(haskd, root: Path, out: Path, *settings: str) -> Cache:
    done = prepare(haskd, root, out, *settings)
    assert done.returncode == 0, done.stderr
    return Cache.open(out)


def in_map(cache: Cache, number: int) -> np.ndarray:
    """[N, 3] of a sweep in the room's map."""
    T = np.array(cache.sweeps[number].T_world_lidar)
    return cache.sweep(number).points[:, :3] @ T[:3, :3].T + T[:3, 3]


def off_surface(xyz: np.ndarray) -> np.ndarray:
    """[N, 3] distances in m of points to the nearest ceiling or floor, wall, and side of the
    table, in this order: worked out from the six planes of each box."""
    level = np.minimum(np.abs(xyz[:, 2]), np.abs(xyz[:, 2] - ROOM[1, 2]))
    walls = np.abs(np.abs(xyz[:, :2]) - ROOM[1, :2]).min(1)
    beyond = np.maximum(np.maximum(TABLE[0] - xyz, xyz - TABLE[1]), 0)
    inside = np.minimum(xyz - TABLE[0], TABLE[1] - xyz).min(1)
    table = np.linalg.norm(beyond, axis=1) + np.maximum(inside, 0)
    return np.column_stack([level, walls, table])


def check_surfaces(xyz: np.ndarray, label: np.ndarray, within: float = 0.002) -> None:
    """Every point lies on a surface of its class but for voxels in which two surfaces meet."""
    level, walls, table = off_surface(xyz).T
    assert len(xyz) > 500
    own = np.select([label == WALL, label == TABLE_TOP], [walls, table], level)
    assert (own < within).mean() > 0.98
    assert own.max() < 0.02
    assert set(label.tolist()) <= {CEILING, FLOOR, WALL, TABLE_TOP}


def test_a_bag_becomes_keyframes_of_the_last_second_in_the_robot_s_frame(haskd, tmp_path):
    # The robot looks along the map's y, from (-1, -1.5), and drives 0.1 m a frame that way
    def pose(index: int):
        return -1.0, -1.5 + 0.1 * index, np.pi / 2

    bag = write_rgbd_bag(tmp_path, Recorded(pose=pose))
    cache = cache_of(haskd, bag, tmp_path / "cache")
    assert cache.taxonomy.names == CLASSES
    # Five frames of 0.2 s fill the first second; the next keyframe comes a second later
    assert [row.stamp_ns for row in cache.sweeps] == [START_NS + n * GAP_NS for n in (4, 9)]
    for number, frame in enumerate((4, 9)):
        T = np.array(cache.sweeps[number].T_world_lidar)
        # base_link: on the floor, its x is the map's y
        expected = [[0, -1, 0, -1], [1, 0, 0, -1.5 + 0.1 * frame], [0, 0, 1, 0], [0, 0, 0, 1]]
        assert np.allclose(T, expected, atol=1e-6)
        sweep = cache.sweep(number)
        check_surfaces(in_map(cache, number), sweep.label)
        # The wall y = 2 is 2 - (-1.5 + 0.1 frame) ahead
        ahead = sweep.points[(sweep.label == WALL) & (np.abs(sweep.points[:, 1]) < 0.5)]
        assert np.allclose(ahead[:, 0], 3.5 - 0.1 * frame, atol=0.003)
        floor = sweep.points[sweep.label == FLOOR]
        assert np.abs(floor[:, 2]).max() < 0.003 and (floor[:, 0] > 0).all()
        assert (sweep.points[:, 3] == 0).all() and (sweep.time == 0).all()
    # Images of the frames until the last keyframe, at their own time and place
    assert [row.stamp_ns for row in cache.images] == [START_NS + n * GAP_NS for n in range(10)]
    # 1 m ahead of the robot of the first keyframe (y = -1.1), 0.2 m to its left, 0.5 m high; the
    # image of the frame before was taken 0.1 m behind: 1.1 m ahead of that camera, at its height:
    # u = 39.5 - 50 x 0.2 / 1.1, v = 29.5
    x, y, z, _ = cache.t_camera_lidar(3, 0) @ [1, 0.2, 0.5, 1]
    assert np.allclose([39.5 + 50 * x / z, 29.5 + 50 * y / z], [39.5 - 10 / 1.1, 29.5])


def test_a_keyframe_holds_what_was_seen_within_its_window(haskd, tmp_path):
    # It turns by 0.5 rad a frame on the spot: what it saw first lies beside it, then behind
    bag = write_rgbd_bag(tmp_path, Recorded(frames=5, pose=lambda index: (0.0, 0.0, 0.5 * index)))
    one = cache_of(haskd, bag, tmp_path / "one", "window_s=0.2")
    whole = cache_of(haskd, bag, tmp_path / "whole", "window_s=1")
    # The image ends 39.5 px from its centre, at atan(39.5 / 50) = 38.3 degrees; after four turns of
    # 28.6 degrees to the left, the first frame reaches to 114.6 + 38.3 degrees on the right
    for cache, furthest in ((one, 38.3), (whole, 114.6 + 38.3)):
        points = cache.sweep(len(cache) - 1).points
        bearing = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
        assert abs(-bearing.min() - furthest) < 1
        assert abs(bearing.max() - 38.3) < 1
    assert whole.sweeps[0].stamp_ns == START_NS + 4 * GAP_NS
    # With a window of one frame, there is a keyframe at once; the next is due after a second
    assert [row.stamp_ns for row in one.sweeps] == [START_NS]


def test_a_scene_is_all_of_it_in_the_map(haskd, tmp_path):
    bag = write_rgbd_bag(tmp_path)
    cache = cache_of(haskd, bag, tmp_path / "cache", "sample=scene", "image_every=5")
    assert len(cache) == 1
    assert np.allclose(cache.sweeps[0].T_world_lidar, np.eye(4))
    assert cache.sweeps[0].stamp_ns == START_NS + 6 * GAP_NS  # the middle one of twelve
    sweep = cache.sweep(0)
    check_surfaces(sweep.points[:, :3], sweep.label)
    assert np.allclose(sweep.points[:, :3].max(0), [3, 2, 2.5], atol=0.003)
    # One point in each voxel of 2 cm; float32 may put those at a side of it into the next one
    places = sweep.points[:, :3].astype(np.float64) / 0.02
    clear = (np.abs(places - np.rint(places)) > 1e-3).all(1)
    places = np.floor(places[clear])
    assert len(places) > 10_000 and len(np.unique(places, axis=0)) == len(places)
    assert [row.stamp_ns for row in cache.images] == [START_NS + n * GAP_NS for n in (0, 5, 10)]
    # The corner of the table (1, 0.25, 1) from the camera at (-0.5, 0, 0.5) of frame 5: 1.5 m
    # ahead, 0.25 to the left, 0.5 above: u = 39.5 - 50 x 0.25 / 1.5, v = 29.5 - 50 x 0.5 / 1.5
    x, y, z, _ = cache.t_camera_lidar(1, 0) @ [1, 0.25, 1, 1]
    assert np.allclose([39.5 + 50 * x / z, 29.5 + 50 * y / z], [39.5 - 25 / 3, 29.5 - 50 / 3])


def frames_of(root: Path, **settings: object) -> list:
    """Frames of the reader itself, which gives the colours too."""
    ready = reader(RgbdConfig(**settings))
    drives = ready.open_drives(root, ready.choose(root, None, None))
    return [frame for drive in drives for frame in drive.iterate()]


def colour_error(rgb: np.ndarray, label: np.ndarray) -> np.ndarray:
    """[N] largest difference of a channel from the colour of the point's class."""
    expected = np.array([COLORS[class_id] for class_id in label.tolist()])
    return np.abs(rgb.astype(int) - expected).max(1)


@pytest.mark.parametrize("color", ["jpeg", "png", "rgb8"])
def test_points_have_the_colour_of_the_image(tmp_path, color):
    frame, _ = frames_of(write_rgbd_bag(tmp_path, Recorded(color=color)))
    points = frame.points()
    rgb, label = points.channels["rgb"], frame.raw_labels()
    assert rgb.dtype == np.uint8 and rgb.shape == (len(points.xyz_intensity), 3)
    error = colour_error(rgb, label)
    # JPEG mixes colours where two meet; what is not compressed is exact but in voxels of both
    assert (error <= 12).mean() > (0.8 if color == "jpeg" else 0.98)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1", "compressed16", "compressed32"])
def test_depth_is_read_in_all_its_encodings(haskd, tmp_path, encoding):
    bag = write_rgbd_bag(tmp_path, Recorded(encoding=encoding))
    cache = cache_of(haskd, bag, tmp_path / "cache")
    # 32FC1 by steps of inverse depth: at 4 m one is 4 x 4 / 20000 = 0.8 mm
    check_surfaces(in_map(cache, 0), cache.sweep(0).label)


def test_depth_of_a_camera_beside_the_colour_camera_gets_the_right_colours(tmp_path):
    # 0.1 m to the left, half as many pixels; the table hides from one what the other sees
    bag = write_rgbd_bag(tmp_path, Recorded(own_depth=True, encoding="32FC1", color="png"))
    for frame in frames_of(bag, frame_gap_s=0, window_s=0.1, keyframe_gap_s=0):
        points, label = frame.points(), frame.raw_labels()
        xyz = points.xyz_intensity[:, :3] @ frame.T_world_lidar[:3, :3].T
        xyz += frame.T_world_lidar[:3, 3]
        nearest = off_surface(xyz)
        assert nearest.min(1).max() < 0.003
        # A class is that of another surface only within a pixel of where two meet
        own = np.select([label == WALL, label == TABLE_TOP], [nearest[:, 1], nearest[:, 2]],
                        nearest[:, 0])  # fmt: skip
        assert (own < 0.003).mean() > 0.95
        # What lies behind the table as the colour camera sees it has no colour, thus no point:
        # nothing that is not the table has the table's class far from it
        assert nearest[label == TABLE_TOP, 2].max() < 0.15
        assert (colour_error(points.channels["rgb"], label) <= 12).mean() > 0.98


def test_depth_between_two_surfaces_is_dropped(haskd, tmp_path):
    def smeared(depth: np.ndarray) -> np.ndarray:
        # Where the table ends before the wall, the last pixel on it measures half of each
        jump = np.abs(np.diff(depth, axis=1)) > 0.5
        smeared = depth.copy()
        smeared[:, :-1][jump] = (depth[:, :-1] + depth[:, 1:])[jump] / 2
        assert jump.any()
        return smeared

    bag = write_rgbd_bag(tmp_path, Recorded(frames=5, depth=smeared, with_labels=False))
    kept = cache_of(haskd, bag, tmp_path / "kept", "max_edge=10")
    dropped = cache_of(haskd, bag, tmp_path / "dropped")
    assert off_surface(in_map(kept, 0)).min(1).max() > 0.3
    assert off_surface(in_map(dropped, 0)).min(1).max() < 0.003
    # and of the rest little is lost
    assert len(in_map(dropped, 0)) > 0.85 * len(in_map(kept, 0))


def test_a_camera_that_looks_down_gives_a_level_cloud(haskd, tmp_path):
    bag = write_rgbd_bag(tmp_path, Recorded(pitch=0.3))
    body = cache_of(haskd, bag, tmp_path / "body")
    check_surfaces(in_map(body, 0), body.sweep(0).label)
    # In the camera's own frame the origin is 0.5 m above the floor, and z still points upwards
    camera = cache_of(haskd, bag, tmp_path / "camera", "body_frame=camera_color_optical_frame")
    sweep = camera.sweep(0)
    assert np.allclose(sweep.points[sweep.label == FLOOR, 2], -0.5, atol=0.003)
    # The first keyframe is of x = -0.6: the camera points along the map's x, its wall is 3.6 m off
    assert abs(sweep.points[:, 0].max() - 3.6) < 0.003


def test_poses_may_come_by_odometry(haskd, tmp_path):
    bag = write_rgbd_bag(tmp_path, Recorded(motion="odometry"))
    done = prepare(haskd, bag, tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert "TF has no motion; poses are taken from 12 messages of Odometry" in said(done)
    cache = Cache.open(tmp_path / "cache")
    check_surfaces(in_map(cache, 1), cache.sweep(1).label)


def test_without_motion_each_keyframe_is_one_frame(haskd, tmp_path):
    bag = write_rgbd_bag(tmp_path, Recorded(motion="none", pose=lambda index: (-1.0, 0.0, 0.0)))
    done = prepare(haskd, bag, tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert "each keyframe is one frame, and z of base_link is taken to be upwards" in said(done)
    cache = Cache.open(tmp_path / "cache")
    assert [row.T_world_lidar for row in cache.sweeps] == [None] * 3  # at 0, 1 and 2 s
    points = cache.sweep(0).points[:, :3] + [-1, 0, 0]
    check_surfaces(points, cache.sweep(0).label)
    # At most the 80 x 60 pixels of one image
    assert len(points) < 4800
    refused = prepare(haskd, bag, tmp_path / "scene", "sample=scene")
    assert refused.returncode == 2
    assert "flat: sample=scene needs the camera's poses, which are not recorded" in said(refused)
    nothing = write_rgbd_bag(tmp_path / "bare", Recorded(motion="none", with_static=False))
    refused = prepare(haskd, nothing, tmp_path / "bare_cache")
    assert refused.returncode == 2
    assert "neither TF nor Odometry says how camera_color_optical_frame moves" in said(refused)


def test_frames_without_a_pose_or_a_colour_image_are_told(haskd, tmp_path):
    missing = {("/camera/color/image_raw/compressed", n) for n in (0, 1)}
    # The last pose is of frame 9, 0.2 and 0.4 s before frames 10 and 11
    missing |= {("/tf", n) for n in (10, 11)}
    bag = write_rgbd_bag(tmp_path, Recorded(leave_out=missing))
    done = prepare(haskd, bag, tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    line = (
        "left out: /camera/depth/image_rect: 4 of 12 depth images are left out: 2 x no colour "
        "image within 0.02 s (max_offset_s), 2 x no transform map -> base_link at that time"
    )
    assert line in said(done)
    assert [row.stamp_ns for row in Cache.open(tmp_path / "cache").sweeps] == [
        START_NS + 6 * GAP_NS  # frames 2 to 6 are the first second of those that are used
    ]
    strict = prepare(haskd, bag, tmp_path / "strict", options=("--strict",))
    assert strict.returncode == 2 and not (tmp_path / "strict").exists()
    late = write_rgbd_bag(tmp_path / "late", Recorded(color_late_ns=30_000_000))
    refused = prepare(haskd, late, tmp_path / "late_cache")
    assert refused.returncode == 2
    assert "12 of 12 depth images are left out: 12 x no colour image within 0.02 s" in said(refused)
    # As much as is allowed is used, by the place of each at its own time
    done = prepare(haskd, late, tmp_path / "late_cache", "max_offset_s=0.05")
    assert done.returncode == 0, done.stderr
    assert "colour images are 30 ms from the depth images in the median" in said(done)


def test_broken_images_are_left_out_and_told(haskd, tmp_path):
    color, depth = "/camera/color/image_raw/compressed", "/camera/depth/image_rect"
    bag = write_rgbd_bag(tmp_path, Recorded(cut_off={(color, 3), (depth, 5), (depth, 6)}))
    done = prepare(haskd, bag, tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    for line in (
        f"left out: {color}: 1 of 12 images (1 x cut off)",
        f"left out: {depth}: 2 of 12 images (2 x image data is shorter than its size says)",
        f"left out: {depth}: 1 of 10 depth images are left out: 1 x no colour image within 0.02 s",
    ):
        assert line in said(done), line
    cache = Cache.open(tmp_path / "cache")
    check_surfaces(in_map(cache, 0), cache.sweep(0).label)


def test_a_bag_is_cut_where_its_clock_begins_again(haskd, tmp_path):
    bag = write_rgbd_bag(tmp_path, Recorded(frames=16, restart=8))
    done = prepare(haskd, bag, tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    # From frame 7 at 1.4 s back to 0 s: 1.4 s; colour, depth and label images of 8 frames are lost
    assert "stamps go back by 1.4 s at message 8 and go on from there" in said(done)
    assert "what was recorded from then on is not used: 24 images" in said(done)
    cache = Cache.open(tmp_path / "cache")
    assert [row.stamp_ns for row in cache.sweeps] == [START_NS + 4 * GAP_NS]
    check_surfaces(in_map(cache, 0), cache.sweep(0).label)


def test_an_image_of_several_depth_images_is_kept_once(haskd, tmp_path):
    color = "/camera/color/image_raw/compressed"
    odd = {(color, number) for number in range(1, 12, 2)}
    bag = write_rgbd_bag(tmp_path, Recorded(leave_out=odd, pose=lambda number: (-1.0, 0.0, 0.0)))
    # 0.2 s to the even images before; of what stands still the colours are right all the same
    cache = cache_of(haskd, bag, tmp_path / "cache", "max_offset_s=0.2")
    assert [row.stamp_ns for row in cache.images] == [
        START_NS + n * GAP_NS for n in range(0, 10, 2)
    ]
    check_surfaces(in_map(cache, 1), cache.sweep(1).label)


def test_a_pixel_without_a_label_image_has_no_label(haskd, tmp_path):
    bag = write_rgbd_bag(tmp_path, Recorded(label_every=3, pose=lambda n: (0.0, 0.0, 0.6 * n)))
    done = prepare(haskd, bag, tmp_path / "cache", "window_s=0.2", "keyframe_gap_s=0")
    assert done.returncode == 0, done.stderr
    assert "class ids of 4 of 12 used colour images label the points" in said(done)
    cache = Cache.open(tmp_path / "cache")
    for number in range(12):
        label = cache.sweep(number).label
        assert (label == 255).all() if number % 3 else (label != 255).all()


def test_labels_are_named_by_another_map_too_and_unknown_ids_stop(haskd, tmp_path):
    bag = write_rgbd_bag(tmp_path)
    flat, box = "{name: flat, color: [0, 0, 1], ids: [0, 1]}", "{name: box, color: [0, 1, 0], ids: "
    own = tmp_path / "own.yaml"
    own.write_text(f"classes: [{flat}, {box}[2]}}]\nignore: [7]\n")
    done = prepare(haskd, bag, tmp_path / "cache", options=("--labels", own))
    assert done.returncode == 0, done.stderr
    assert set(Cache.open(tmp_path / "cache").sweep(0).label.tolist()) == {0, 1, 255}
    own.write_text(f"classes: [{flat}, {box}[2]}}]\n")
    refused = prepare(haskd, bag, tmp_path / "refused", options=("--labels", own))
    assert refused.returncode == 2 and not (tmp_path / "refused").exists()
    assert "raw label ids that the label map does not name: 7 (" in said(refused)


@pytest.mark.parametrize(
    ("recorded", "settings", "message"),
    [
        (
            # 16 bits end at 3.3 m, read as 65.5 m
            Recorded(units_per_m=20000),
            (),
            "in the median and up to 65.5 m: another unit?",
        ),
        (Recorded(units_per_m=10), (), "in the median and up to 0.04 m: another unit?"),
        (
            Recorded(),
            ("max_depth=0.6",),
            "of the depth lies outside of the 0.2 to 0.6 m that are used",
        ),
        (
            Recorded(),
            ("up=x",),
            "what is up in the images points along the world's z by 0.00 of its length",
        ),
    ],
    ids=["too far", "too near", "outside", "lying"],
)
def test_what_looks_mistaken_is_said(haskd, tmp_path, recorded, settings, message):
    bag = write_rgbd_bag(tmp_path, recorded)
    done = prepare(haskd, bag, tmp_path / "cache", *settings)
    assert f"doubtful: /camera/{'color' if 'up=x' in settings else 'depth'}/" in said(done)
    assert message in said(done)


def test_a_unit_that_is_named_is_right(haskd, tmp_path):
    bag = write_rgbd_bag(tmp_path, Recorded(units_per_m=5000))
    cache = cache_of(haskd, bag, tmp_path / "cache", "depth_units_per_m=5000")
    check_surfaces(in_map(cache, 0), cache.sweep(0).label)


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        (
            Recorded(with_color_info=False),
            "no CameraInfo for /camera/color/image_raw/compressed; record it beside the images, or "
            "name its topic as color_info_topic; CameraInfo topics there: /camera/depth/",
        ),
        (
            Recorded(own_depth=True, with_depth_info=False),
            "no CameraInfo for /camera/depth/image_rect; record it beside the images, or name its "
            "topic as depth_info_topic",
        ),
        (
            Recorded(rename={"/camera/depth/camera_info": "/other/camera_info"}, own_depth=True),
            "no CameraInfo for /camera/depth/image_rect",
        ),
        (
            Recorded(depth=lambda depth: depth[:, :50]),
            "/camera/depth/image_rect: its images are 50 x 60 px, its CameraInfo is for 80 x 60 px",
        ),
        (
            Recorded(label_size=2),
            "images of /camera/labels/image_raw are of 40 x 30 px, those of "
            "/camera/color/image_raw/compressed of 80 x 60 px",
        ),
        (
            Recorded(encoding="rvl"),
            "12 x compressedDepth that is no PNG (RVL?) is not read: make raw images of it with "
            "image_transport's republish, or record it with format png",
        ),
        (
            Recorded(rename={"/camera/depth/image_rect": "/camera/color/image_raw/compressed"}),
            "no topic of depth images in it; needed are colour images",
        ),
    ],
    ids=["color info", "depth info", "elsewhere", "size", "label size", "rvl", "no depth"],
)
def test_a_bag_that_lacks_something_is_refused_with_what(haskd, tmp_path, recorded, message):
    if recorded.encoding == "rvl":
        message = message.replace("12 x ", "")
    if "image_raw/compressed" in recorded.rename.values():
        recorded = Recorded(leave_out={("/camera/depth/image_rect", n) for n in range(12)})
    bag = write_rgbd_bag(tmp_path, recorded)
    refused = prepare(haskd, bag, tmp_path / "cache")
    assert refused.returncode == 2
    assert message in said(refused)
    assert not (tmp_path / "cache").exists()


def test_depth_in_the_colour_camera_s_frame_needs_no_camera_info(haskd, tmp_path):
    bag = write_rgbd_bag(tmp_path, Recorded(with_depth_info=False))
    done = prepare(haskd, bag, tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert "no CameraInfo of its own; it is in the colour camera's frame" in said(done)


def test_several_topics_are_told_apart_by_name(haskd, tmp_path):
    second = {
        "/camera/depth/image_rect": "/rear/depth/image_rect",
        "/camera/depth/camera_info": "/rear/depth/camera_info",
        "/camera/color/image_raw/compressed": "/rear/color/image_raw/compressed",
        "/camera/color/camera_info": "/rear/color/camera_info",
        "/camera/labels/image_raw": "/rear/ids",
    }
    bag = write_rgbd_bag(tmp_path, Recorded(rename=second))
    # `/rear/ids` is not known for labels by its name: two colour images, one of them grey
    cache = cache_of(haskd, bag, tmp_path / "by_name")
    assert not np.array([row.class_counts for row in cache.sweeps]).any()
    named = cache_of(haskd, bag, tmp_path / "named", "label_topic=/rear/ids")
    check_surfaces(in_map(named, 0), named.sweep(0).label)
    refused = prepare(haskd, bag, tmp_path / "refused", "depth_topic=/front/depth")
    assert refused.returncode == 2
    assert "topic /front/depth (depth_topic) not in bag; those there: /rear/color/" in said(refused)


def test_a_tum_folder_becomes_keyframes_in_the_camera_s_levelled_frame(haskd, tmp_path):
    write_tum(tmp_path, "house", labels=True)
    cache = cache_of(haskd, tmp_path / "house", tmp_path / "cache", "intrinsics=[50,50,39.5,29.5]")
    # Depth is 10 ms behind its colour image; both are placed by their own time
    start = 1305031102_000000000
    assert [row.stamp_ns for row in cache.sweeps] == [
        start + 10_000_000 + n * GAP_NS for n in (4, 9)
    ]
    assert cache.images[0].stamp_ns == start
    check_surfaces(in_map(cache, 0), cache.sweep(0).label)
    sweep = cache.sweep(0)
    # The camera is 1.2 m high, at x = -1 + 0.1 x 4 + 0.005, and looks down along x
    assert np.allclose(sweep.points[sweep.label == FLOOR, 2], -1.2, atol=0.003)
    assert np.allclose(np.array(cache.sweeps[0].T_world_lidar)[:3, 3], [-0.595, 0, 1.2], atol=1e-5)
    assert abs(sweep.points[:, 0].max() - 3.595) < 0.003


def test_intrinsics_of_a_tum_folder_come_from_a_file_or_its_name(haskd, tmp_path):
    folder = write_tum(tmp_path, "freiburg2_house")
    refused = prepare(haskd, folder, tmp_path / "cache")
    assert refused.returncode == 2
    assert "nothing says the colour camera's intrinsics: give fx, fy, cx and cy" in said(refused)
    (folder / "calibration.txt").write_text("50 50 39.5 29.5\n")
    cache = cache_of(haskd, folder, tmp_path / "by_file")
    assert np.allclose(cache.images[0].K, [[50, 0, 39.5], [0, 50, 29.5], [0, 0, 1]])
    (folder / "calibration.txt").unlink()
    for file in (*folder.glob("rgb/*.png"), *folder.glob("depth/*.png")):
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        size = (640, 480)
        cv2.imwrite(str(file), cv2.resize(image, size, interpolation=cv2.INTER_NEAREST))
    done = prepare(haskd, folder, tmp_path / "by_name")
    assert done.returncode == 0, done.stderr
    assert "intrinsics are those published for freiburg2, by the folder's name" in said(done)
    row = Cache.open(tmp_path / "by_name").images[0]
    assert row.K[0] == [520.9, 0, 325.1] and row.K[1] == [0, 521.0, 249.7]
    assert row.D == [0.2312, -0.7849, -0.0033, -0.0001, 0.9172]


def test_an_incomplete_tum_folder_is_one_error_with_all_of_it(haskd, tmp_path):
    folder = write_tum(tmp_path, "house")
    (folder / "groundtruth.txt").unlink()
    (folder / "rgb/1305031102.200000.png").unlink()
    for name in ("102.410000", "102.610000", "102.810000", "103.010000"):
        (folder / f"depth/1305031{name}.png").unlink()
    (folder / "depth/1305031103.210000.png").write_bytes(b"")
    refused = prepare(haskd, folder, tmp_path / "cache")
    assert refused.returncode == 2
    for line in (
        "1 of the 12 files in rgb.txt are missing: rgb/1305031102.200000.png;",
        "4 of the 12 files in depth.txt are missing: depth/1305031102.410000.png, "
        "depth/1305031102.610000.png, depth/1305031102.810000.png and 1 more;",
        "empty files: depth/1305031103.210000.png;",
        "groundtruth.txt is missing.",
        "Expected is a TUM RGB-D folder:",
    ):
        assert line in said(refused), line
    whole = write_tum(tmp_path, "whole")
    lines = (whole / "groundtruth.txt").read_text().splitlines()
    (whole / "groundtruth.txt").write_text("\n".join([*lines, "1305031110.0 0 0 0 1"]))
    refused = prepare(haskd, whole, tmp_path / "cache", "intrinsics=[50,50,39.5,29.5]")
    assert refused.returncode == 2
    assert "groundtruth.txt, line 242: 8 finite numbers expected, found 5" in said(refused)


def test_a_replica_folder_is_read_by_its_camera_file(haskd, tmp_path):
    folder = write_replica(tmp_path, "room0", labels=True)
    cache = cache_of(haskd, folder, tmp_path / "cache", "frame_gap_s=0", "window_s=0.5")
    # No times are published: 30 frames a second from 1 s on; 0.5 s are full with frame 15
    assert [row.stamp_ns for row in cache.sweeps] == [1_500_000_000]
    check_surfaces(in_map(cache, 0), cache.sweep(0).label)
    # Camera 15 is at x = -1 + 1.5
    assert np.allclose(np.array(cache.sweeps[0].T_world_lidar)[:3, 3], [0.5, 0, 1.2], atol=1e-6)
    (folder / "results/depth000003.png").unlink()
    (folder / "results/frame000024.jpg").write_bytes(b"x")
    (tmp_path / "cam_params.json").unlink()
    refused = prepare(haskd, folder, tmp_path / "refused")
    assert refused.returncode == 2
    for line in (
        "cam_params.json is missing;",
        "results has 1 beyond the 24 of traj.txt: frame000024;",
        "results lacks 1 of 24 depth images: depth000003.",
        "Expected is a Replica folder:",
    ):
        assert line in said(refused), line


def test_the_world_may_be_a_camera_s(haskd, tmp_path):
    # A trajectory of SLAM: the world is the first camera's optical frame, level, whose -y is up
    folder = write_replica(tmp_path, "slam", frames=8)
    rows = np.loadtxt(folder / "traj.txt").reshape(-1, 4, 4)
    level = np.eye(4)
    level[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]  # optical x y z by the map's x y z
    np.savetxt(folder / "traj.txt", (level @ rows).reshape(-1, 16))
    settings = ("frame_gap_s=0", "window_s=0.1", "image_every=4")
    done = prepare(haskd, folder, tmp_path / "lying", *settings)
    assert done.returncode == 0 and "name the axis that is: --set up=-y" in said(done)
    cache = cache_of(haskd, folder, tmp_path / "cache", *settings, "up=-y")
    points = cache.sweep(0).points
    # The floor is 1.2 m below the camera and the furthest wall straight ahead of it: camera 3,
    # after 0.1 s, is at x = -0.7
    assert abs(points[:, 2].min() + 1.2) < 0.003
    assert abs(points[:, 0].max() - 3.7) < 0.003


def test_a_folder_of_recordings_is_read_as_all_of_them(haskd, tmp_path):
    root = tmp_path / "all"
    write_replica(root, "room0", frames=10)
    write_tum(root, "desk")
    write_rgbd_bag(root)
    (root / "notes").mkdir()
    settings = ("intrinsics=[50,50,39.5,29.5]",)
    cache = cache_of(haskd, root, tmp_path / "cache", *settings)
    assert {row.recording for row in cache.sweeps} == {"desk", "flat", "room0"}
    done = prepare(haskd, root, tmp_path / "part", options=("--sequences", "flat"))
    assert done.returncode == 0, done.stderr
    assert {row.recording for row in Cache.open(tmp_path / "part").sweeps} == {"flat"}
    (root / "flat.mcap").write_bytes(b"")
    refused = prepare(haskd, root, tmp_path / "nothing")
    assert refused.returncode == 2
    assert "two recordings of one name: flat and flat.mcap" in said(refused)
    (root / "flat.mcap").unlink()
    refused = prepare(haskd, root / "notes", tmp_path / "nothing")
    assert refused.returncode == 2
    for part in ("holds no RGB-D recording", "metadata.yaml", "groundtruth.txt", "cam_params.json"):
        assert part in said(refused)
    refused = prepare(haskd, root, tmp_path / "nothing", options=("--split", "train"))
    assert refused.returncode == 2 and "has no split 'train'" in said(refused)


def test_an_interrupted_run_goes_on_and_ends_the_same(haskd, tmp_path):
    bag, cache = write_rgbd_bag(tmp_path, Recorded(frames=20)), tmp_path / "cache"
    settings = ("shard_bytes=1", "keyframe_gap_s=0.4")
    assert prepare(haskd, bag, cache, *settings).returncode == 0
    whole = json.loads((cache / "index.json").read_text())
    shards = sorted(cache.glob("sweeps-*.safetensors"))
    assert len(shards) == 8
    content = [shard.read_bytes() for shard in shards]
    for made in ("index.json", "report.json", shards[6].name, shards[7].name):
        (cache / made).unlink()
    assert prepare(haskd, bag, cache, *settings).returncode == 0
    assert json.loads((cache / "index.json").read_text()) == whole
    assert [shard.read_bytes() for shard in shards] == content
    again = prepare(haskd, bag, cache, *settings)
    assert again.returncode == 0 and "the cache was up to date" in again.stdout
    other = prepare(haskd, bag, cache, *settings, "voxel_size=0.05")
    assert other.returncode == 2 and "cache of other bags, labels or settings" in said(other)


def test_voxels_average_their_points_and_take_the_class_of_most():
    # Voxels of 1 m. In the first one: x = 0.1 and 0.3, colours 10 and 20, class 5; in another
    # table x = 0.8, colour 60, and class 3 twice: (0.1 + 0.3 + 0.8 + 0.8) / 4 = 0.5 and
    # (10 + 20 + 60 + 60) / 4 = 37.5; two votes each, and 3 is the lower id
    one = Voxels.of(
        np.array([[0.1, 0, 0], [-0.5, 0, 0], [0.3, 0, 0]]),
        np.array([[10, 0, 0], [9, 9, 9], [20, 0, 0]], np.uint8),
        np.array([5, 300, 5]),
        1.0,
    )
    two = Voxels.of(
        np.array([[0.8, 0, 0], [0.8, 0, 0]]), np.full((2, 3), 60, np.uint8), np.array([3, 3]), 1.0
    )
    three = Voxels.of(np.array([[0, 0, 7.5]]), np.zeros((1, 3), np.uint8), None, 1.0)
    whole = merged([two, three, one])
    xyz, rgb = whole.mean()
    assert np.allclose(xyz, [[-0.5, 0, 0], [0.5, 0, 0], [0, 0, 7.5]])
    assert rgb.tolist() == [[9, 9, 9], [38, 30, 30], [0, 0, 0]]
    assert whole.majority().tolist() == [300, 3, -(2**40)]
    assert whole.points.tolist() == [1, 4, 1]
