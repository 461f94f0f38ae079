"""What a walk through a simulated flat is written as: a bag, and the files of two data sets."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from simulated_bag import Recording, matrix, nanoseconds, read
from simulated_flat import WALK, read_ply, read_sens

from haskd_ros.errors import InputError
from haskd_training.commands.app import main
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.dataset import DatasetPart, prepare_dataset
from haskd_training.data.readers.all_readers import READERS
from haskd_training.simulation.indoor import simulate_flat, simulate_flats
from haskd_training.simulation.indoor.kinds import CLASS_NAMES
from haskd_training.simulation.indoor.recording import make_recording
from haskd_training.simulation.messages import START_NS

SHORT = WALK.model_copy(update={"frames": 12})
# Level, so that floors are in most of the few frames.
SCAN = SHORT.model_copy(update={"carrier": "robot"})
OPTICAL = "camera_color_optical_frame"


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("flat") / "bag"
    simulate_flat(out, SHORT)
    return out


@pytest.fixture(scope="module")
def messages(bag: Path) -> Recording:
    return read(bag)


@pytest.fixture(scope="module")
def scannet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scannet") / "data"
    simulate_flats(out, "scannet", SCAN, train=1, test=1)
    return out


@pytest.fixture(scope="module")
def s3dis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("s3dis") / "data"
    simulate_flats(out, "s3dis", SCAN, train=1, test=1)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_same_seed_gives_the_same_bytes(bag: Path, tmp_path: Path):
    simulate_flat(tmp_path / "bag", SHORT)
    assert contents(tmp_path / "bag") == contents(bag)


def test_the_same_seed_gives_the_same_scene(scannet: Path, s3dis: Path, tmp_path: Path):
    # Whatever is made after it
    for layout, whole, scene in (
        ("scannet", scannet, "scans/scene0000_00"),
        ("s3dis", s3dis, "Area_1"),
    ):
        simulate_flats(tmp_path / layout, layout, SCAN, train=1, test=0)
        again = contents(tmp_path / layout / scene)
        assert again and again == contents(whole / scene)


def test_every_frame_has_colour_depth_labels_and_calibration(messages: Recording):
    topics = {
        "/camera/color/image_raw/compressed", "/camera/color/camera_info",
        "/camera/depth/image_rect", "/camera/depth/camera_info", "/camera/labels/image_raw",
    }  # fmt: skip
    assert set(messages.messages) == topics | {"/tf", "/tf_static"}
    # 12 frames at 3 Hz.
    expected = [START_NS + round(k / 3 * 1e9) for k in range(12)]
    for topic in topics:
        assert [nanoseconds(m.header.stamp) for _, m in messages.messages[topic]] == expected
        assert {m.header.frame_id for _, m in messages.messages[topic]} == {OPTICAL}
    _, info = messages.messages["/camera/depth/camera_info"][0]
    # 65 degrees across 160 px: f = 80 / tan(32.5 deg) = 125.57 px.
    np.testing.assert_allclose(info.k, [125.574, 0, 79.5, 0, 125.574, 59.5, 0, 0, 1], atol=1e-3)
    assert (info.width, info.height) == (160, 120) and not info.d.any()


def test_the_images_are_those_that_the_camera_sees(messages: Recording):
    frames = [frame for _, frame in make_recording(SHORT).frames()]
    for index in (0, 7):
        _, depth = messages.messages["/camera/depth/image_rect"][index]
        assert (depth.encoding, depth.is_bigendian, depth.step) == ("16UC1", 0, 320)
        pixels = depth.data.view("<u2").reshape(120, 160)
        np.testing.assert_array_equal(pixels, frames[index].depth)
        _, labels = messages.messages["/camera/labels/image_raw"][index]
        assert (labels.encoding, labels.step) == ("mono8", 160)
        np.testing.assert_array_equal(labels.data.reshape(120, 160), frames[index].classes)
        _, color = messages.messages["/camera/color/image_raw/compressed"][index]
        assert color.format == "jpeg"
        decoded = cv2.imdecode(color.data, cv2.IMREAD_COLOR)[..., ::-1]
        # Noise of 2.5 is not what JPEG keeps.
        assert np.abs(decoded.astype(float) - frames[index].color).mean() < 6.0


@pytest.mark.parametrize("carrier", ["hand", "robot"])
def test_the_transforms_lead_from_the_map_to_the_camera(carrier: str, tmp_path: Path):
    config = SHORT.model_copy(update={"carrier": carrier, "frames": 3})
    simulate_flat(tmp_path / "bag", config)
    recorded = read(tmp_path / "bag")
    assert recorded.latched == {"/tf_static"}
    ((_, static),) = recorded.messages["/tf_static"]
    links = {t.child_frame_id: (t.header.frame_id, matrix(t.transform)) for t in static.transforms}
    moving = [m for _, m in recorded.messages["/tf"]]
    stamps = [nanoseconds(m.transforms[0].header.stamp) for m in moving]
    # Poses before the first frame and after the last, at times of their own.
    assert stamps[0] < START_NS and stamps[-1] > START_NS + 666_666_667
    now = {
        t.child_frame_id: (t.header.frame_id, matrix(t.transform)) for t in moving[20].transforms
    }
    assert set(now) | set(links) == {"base_link", "camera_link", OPTICAL}
    assert ("camera_link" in links) == (carrier == "robot")
    links |= now
    assert [links[name][0] for name in ("base_link", "camera_link", OPTICAL)] == [
        "map", "base_link", "camera_link"
    ]  # fmt: skip
    pose = links["base_link"][1] @ links["camera_link"][1] @ links[OPTICAL][1]
    walk = make_recording(config).walk
    np.testing.assert_allclose(pose, walk.optical((stamps[20] - START_NS) * 1e-9), atol=1e-6)
    # The base stands upright on the floor, below the camera.
    base = links["base_link"][1]
    np.testing.assert_allclose(base[:3, 2], [0, 0, 1], atol=1e-9)
    assert base[2, 3] == 0.0
    np.testing.assert_allclose(base[:2, 3], pose[:2, 3], atol=1e-9)


def test_a_scannet_scene_is_as_published(scannet: Path):
    assert (scannet / "scannetv2_train.txt").read_text() == "scene0000_00\n"
    assert (scannet / "scannetv2_val.txt").read_text() == "scene0001_00\n"
    folder = scannet / "scans" / "scene0000_00"
    assert sorted(path.name for path in folder.iterdir()) == [
        "scene0000_00.sens", "scene0000_00.txt", "scene0000_00_vh_clean_2.labels.ply",
        "scene0000_00_vh_clean_2.ply",
    ]  # fmt: skip
    points = read_ply(folder / "scene0000_00_vh_clean_2.ply")
    labelled = read_ply(folder / "scene0000_00_vh_clean_2.labels.ply")
    assert points.dtype.names == ("x", "y", "z", "red", "green", "blue", "alpha")
    assert labelled.dtype.names == (*points.dtype.names, "label")
    for name in points.dtype.names:
        np.testing.assert_array_equal(points[name], labelled[name])
    assert len(points) > 10_000 and labelled["label"].max() <= 40
    assert (points["alpha"] == 255).all()

    lines = dict(
        line.split(" = ") for line in (folder / "scene0000_00.txt").read_text().splitlines()
    )
    assert (lines["colorWidth"], lines["depthHeight"], lines["numColorFrames"]) == (
        "160", "120", "12"
    )  # fmt: skip
    # Aligned, floors (2) lie at z = 0 and walls (1) along x and y.
    alignment = np.array(lines["axisAlignment"].split(), float).reshape(4, 4)
    assert abs(alignment[0, 0]) < 0.999
    xyz = np.column_stack([points[axis] for axis in "xyz"])
    aligned = xyz @ alignment[:3, :3].T + alignment[:3, 3]
    floor = labelled["label"] == 2
    assert floor.sum() > 50
    assert abs(np.median(aligned[floor, 2])) < 0.01
    # A point for each voxel of 2 cm.
    voxels = np.floor(aligned / 0.02 + 1e-3)
    assert len(np.unique(voxels, axis=0)) > 0.9 * len(voxels)


def test_the_stream_of_a_scene_fits_its_cloud(scannet: Path):
    folder = scannet / "scans" / "scene0000_00"
    stream = read_sens(folder / "scene0000_00.sens")
    assert (len(stream.frames), stream.shift) == (12, 1000.0)
    # Microseconds at 3 Hz.
    assert [frame.stamps_us[0] for frame in stream.frames[:3]] == [0, 333_333, 666_666]
    cloud = read_ply(folder / "scene0000_00_vh_clean_2.ply")
    known = {
        tuple(row)
        for row in np.floor(np.column_stack([cloud[axis] for axis in "xyz"]) / 0.1).astype(int)
    }
    K = stream.intrinsics
    for frame in stream.frames[::4]:
        assert frame.color.shape == (120, 160, 3)
        v, u = np.nonzero((frame.depth > 0) & (frame.depth < 3000))
        z = frame.depth[v, u] / 1000.0
        rays = np.column_stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(len(u))])
        points = (rays * z[:, None]) @ frame.pose[:3, :3].T + frame.pose[:3, 3]
        there = [tuple(row) in known for row in np.floor(points / 0.1).astype(int)]
        # Within the same 10 cm; far away, where one frame alone saw something, points are missing.
        assert np.mean(there) > 0.6


def test_an_s3dis_room_is_its_things(s3dis: Path):
    assert sorted(path.name for path in s3dis.iterdir()) == ["Area_1", "Area_5"]
    total = 0
    for area in s3dis.iterdir():
        for room in area.iterdir():
            assert sorted(path.name for path in room.iterdir()) == [
                "Annotations", f"{room.name}.txt"
            ]  # fmt: skip
            lines = (room / f"{room.name}.txt").read_text().splitlines()
            things = sorted((room / "Annotations").iterdir())
            parts = [line for path in things for line in path.read_text().splitlines()]
            assert sorted(parts) == sorted(lines)
            names = [path.stem.rpartition("_") for path in things]
            assert {name for name, _, _ in names} <= set(CLASS_NAMES)
            # Numbers of each class from 1 on.
            for name in {name for name, _, _ in names}:
                numbers = sorted(int(number) for found, _, number in names if found == name)
                assert numbers == list(range(1, len(numbers) + 1))
            values = np.array([line.split() for line in lines], float)
            assert values.shape == (len(lines), 6)
            assert (values[:, 3:] % 1 == 0).all() and values[:, 3:].max() <= 255
            total += len(lines)
    assert total > 20_000
    (room,) = list((s3dis / "Area_1").glob("lounge_1"))
    floor = np.loadtxt(room / "Annotations" / "floor_1.txt")
    assert abs(np.median(floor[:, 2])) < 0.01


def test_flats_of_one_area_stand_apart(tmp_path: Path):
    few = SCAN.model_copy(update={"frames": 4})
    simulate_flats(tmp_path / "data", "s3dis", few, train=0, test=2)
    (area,) = (tmp_path / "data").iterdir()
    lounges = [np.loadtxt(path / f"{path.name}.txt") for path in sorted(area.glob("lounge_*"))]
    left = [points[:, 0].min() for points in lounges]
    # The second flat begins 30 m further on; none is as wide.
    assert min(left) < 15 and 30 <= max(left) < 45


def test_what_is_there_is_left_alone_and_wrong_counts_are_refused(tmp_path: Path):
    (tmp_path / "data").mkdir()
    for layout in ("scannet", "s3dis"):
        with pytest.raises(InputError, match="data exists already"):
            simulate_flats(tmp_path / "data", layout, SCAN)
    with pytest.raises(InputError, match="data exists already"):
        simulate_flat(tmp_path / "data", SHORT)
    with pytest.raises(InputError, match="0 flats to train on and 0 to test on"):
        simulate_flats(tmp_path / "none", "s3dis", SCAN, train=0)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def haskd(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> object:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["haskd", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_command_writes_a_bag_or_a_data_set(tmp_path: Path, monkeypatch):
    tiny = ("--set", "frames=2", "--set", "image_width=160", "--set", "image_height=120")
    assert not haskd(monkeypatch, "simulate", tmp_path / "bag", "--indoor", *tiny)
    assert len(read(tmp_path / "bag").messages["/camera/depth/image_rect"]) == 2
    data = (tmp_path / "data", "--indoor", "--layout", "s3dis", "--test-flats", "1")
    assert not haskd(monkeypatch, "simulate", *data, *tiny)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["Area_1", "Area_5"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layout", "s3dis"], "--layout is of flats: it needs --indoor"),
        (["--indoor", "--flats", "2"], "--layout names it"),
        (["--indoor", "--layout", "kitti"], "there is no layout kitti; there are scannet, s3dis"),
        (["--indoor", "--set", "min_range_m=4", "--set", "max_range_m=2"], "min_range_m is 4"),
        (["--indoor", "--set", "lidar=beams_16"], "there are seed, frames, rate_hz"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, said, tmp_path: Path, monkeypatch, capsys):
    assert haskd(monkeypatch, "simulate", tmp_path / "out", *arguments) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_data_set_leaves_nothing_behind(tmp_path: Path):
    def interrupt(done: int, total: int, remark: str = "") -> None:
        # The second of two flats of twelve frames.
        assert total == 24
        if done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_flats(tmp_path / "data", "scannet", SCAN, train=2, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_the_readers_read_what_is_laid_out_for_them(
    bag: Path, scannet: Path, s3dis: Path, tmp_path
):
    for split, name in (("train", "scene0000_00"), ("val", "scene0001_00")):
        prepare_dataset(DatasetPart(READERS["scannet"], scannet, split), tmp_path / split)
        cache = Cache.open(tmp_path / split)
        (row,) = cache.sweeps
        assert row.recording == name and sum(row.class_counts) > 0 and len(cache.images) > 0
    rooms = [room for room in sorted(s3dis.glob("Area_1/*")) if room.is_dir()]
    names = tuple(f"Area_1_{room.name}" for room in rooms)
    prepare_dataset(DatasetPart(READERS["s3dis"], s3dis, drives=names), tmp_path / "rooms")
    cache = Cache.open(tmp_path / "rooms")
    assert {row.recording for row in cache.sweeps} == set(names)
    assert all(sum(row.class_counts) == row.points for row in cache.sweeps)
    prepare_dataset(DatasetPart(READERS["rgbd"], bag), tmp_path / "keyframes")
    cache = Cache.open(tmp_path / "keyframes")
    assert len(cache) and np.array([row.class_counts for row in cache.sweeps]).sum() > 0
