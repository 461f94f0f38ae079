"""Recordings in Rerun's form, as its own library reads them back.

The bag is that of `recorded_bags`: the vehicle drives 1 m along x from cloud to cloud, the LiDAR is
at (0, 0, 2) of it, the camera at (0, 0, 1) looks ahead, images are taken 0.05 s after each cloud.
"""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from typer.testing import CliRunner

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter
from haskd_training.commands.app import app
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.preparing.prepare import prepare
from haskd_training.learning.inference import label_as_robot
from haskd_training.recordings.readers.bag import open_bag
from haskd_training.robot.offline.segment_bag import SEGMENTATION, segment_bag
from recorded_bags import SCENE, START_NS, Scene, write_bag

pytest.importorskip("rerun", reason="needs rerun-sdk (pip install '.[view]')")
from rerun_files import classes, ids, read_back, timed

from haskd_training.robot.views.over_time.recording_view import (
    chosen_clouds,
    named_models,
    view_recording,
)

CAR, ROAD, BUILDING, IGNORED = 5, 0, 3, 255
"""Class ids of the label map `pandaset`."""


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("over_time"))


@pytest.fixture(scope="module")
def shown(bag):
    return view_recording(bag, save=bag.parent / "drive.rrd", labels="pandaset", device="cpu")


@pytest.fixture(scope="module")
def rows(bag, shown):
    return read_back(bag.parent / "drive.rrd")


def test_each_cloud_is_at_its_own_stamp_with_the_pose_of_then(shown, rows):
    assert shown.clouds == 4
    for name in ("labels", "street/class", "street/disagreement", "street/entropy"):
        found = rows[f"/drive/lidar/{name}"]
        points = timed(found)
        assert [row["stamp"] for row in points] == [START_NS + k * 10**8 for k in range(4)]
        assert [row["cloud"] for row in points] == [0, 1, 2, 3]
        xyz = np.array(points[0]["Points3D:positions"])
        assert np.array_equal(xyz, np.stack([SCENE[axis] for axis in "xyz"], 1))
    # x is 1 m a cloud; the LiDAR is 2 m above the vehicle
    poses = [row["Transform3D:translation"] for row in timed(rows["/drive/lidar"])]
    assert poses == [[[float(k), 0.0, 2.0]] for k in range(4)]


def test_labels_have_names_and_colours(rows):
    (labels, *_) = timed(rows["/drive/lidar/labels"])
    assert ids(labels) == [CAR, ROAD, BUILDING, IGNORED]
    for entity in ("/drive/lidar/labels", "/drive/cameras/front/image/street"):
        named = classes(rows, entity)
        assert len(named) == 11 + 1
        # road (128, 64, 128), car (40, 90, 255), not labelled (75, 75, 75)
        assert [named[n] for n in (ROAD, CAR, 11)] == [
            (ROAD, "road", 0x804080),
            (CAR, "car", 0x285AFF),
            (IGNORED, "not labelled", 0x4B4B4B),
        ]


def test_the_model_is_compared_with_the_labels(rows):
    predicted = timed(rows["/drive/lidar/street/class"])
    compared = timed(rows["/drive/lidar/street/disagreement"])
    for seen, agreement in zip(predicted, compared, strict=True):
        # 0 as labelled, 1 not as labelled; the last point has no label
        right = [int(a != b) for a, b in zip(ids(seen), (CAR, ROAD, BUILDING))]
        assert ids(agreement) == [*right, IGNORED]
    assert [name for _, name, _ in classes(rows, "/drive/lidar/street/disagreement")] == [
        "as labelled",
        "not as labelled",
        "no label",
    ]


def test_a_model_shows_classes_and_entropy_as_it_gives_them_on_the_robot(drive_cache, tmp_path):
    view_recording(drive_cache, [DEFAULT_MODEL], tmp_path / "a.rrd", clouds="3:4", device="cpu")
    rows = read_back(tmp_path / "a.rrd")
    cache = Cache.open(drive_cache)
    sweep, result = cache.sweep(3), label_as_robot(Segmenter.load(DEFAULT_MODEL, "cpu"), cache, 3)
    (seen,) = timed(rows["/drive/lidar/street/class"])
    assert (seen["cloud"], seen["stamp"]) == (3, sweep.stamp_ns)
    assert ids(seen) == result.class_id.tolist()
    # viridis from 0 to ln 11, of 11 classes
    share = np.rint(255 * result.entropy / math.log(11)).astype(int)
    expected = colormaps["viridis"](share, bytes=True)[:, :3]
    expected[result.class_id == IGNORED] = 75
    (colored,) = timed(rows["/drive/lidar/street/entropy"])
    colors = np.array(colored["Points3D:colors"], ">u4").view(np.uint8).reshape(-1, 4)
    assert np.array_equal(colors[:, :3], expected)
    assert ids(timed(rows["/drive/lidar/labels"])[0]) == sweep.label.tolist()


def test_an_image_shows_the_points_that_it_sees_at_its_own_time(shown, rows):
    # The image at 0.35 s has no pose: TF ends at 0.3 s.
    assert (shown.images, dict(shown.skipped)) == (
        3, {"front: no transform map -> base_link at that time": 1},
    )  # fmt: skip
    stamps = [START_NS + k * 10**8 + 5 * 10**7 for k in range(3)]
    images = timed(rows["/drive/cameras/front/image"])
    assert [image["stamp"] for image in images] == stamps
    assert bytes(images[0]["EncodedImage:blob"][0])[:2] == b"\xff\xd8"
    # K: f = 100 px, centre of the first pixel + (50, 40); column by column, from its corner
    assert images[0]["Pinhole:image_from_camera"] == [[100, 0, 0, 0, 100, 0, 50.5, 40.5, 1]]
    # 0.5 m further than the cloud; the camera's z is ahead, x right, y down
    poses = timed(rows["/drive/cameras/front"])
    assert np.allclose([p["Transform3D:translation"][0] for p in poses], [
        (0.5, 0, 1), (1.5, 0, 1), (2.5, 0, 1),
    ])  # fmt: skip
    assert np.allclose(poses[0]["Transform3D:mat3x3"][0], [0, -1, 0, 0, 0, -1, 1, 0, 0], atol=1e-6)
    # Only the car is in the image: 10.5 m ahead and 1 m above the camera, 100 / 10.5 = 9.52 px up
    for seen in timed(rows["/drive/cameras/front/image/labels"]):
        assert ids(seen, "Points2D") == [CAR]
        assert np.allclose(seen["Points2D:positions"], [(50.5, 40.5 - 9.5238)], atol=1e-3)


def test_a_cache_shows_the_same_as_its_bag(bag, rows, tmp_path):
    prepare([bag], "pandaset", tmp_path / "cache", PrepareConfig(overlays=0))
    view_recording(tmp_path / "cache", [DEFAULT_MODEL], tmp_path / "a.rrd", device="cpu")
    of_cache = read_back(tmp_path / "a.rrd")
    assert set(of_cache) == set(rows)
    for entity in ("lidar", "lidar/labels", "cameras/front", "cameras/front/image/labels"):
        here, there = (timed(found[f"/drive/{entity}"]) for found in (of_cache, rows))
        assert here == there and here, entity


def test_a_segmented_bag_shows_what_is_published(drive, tiny_model, tmp_path):
    out = tmp_path / "segmented"
    segment_bag(tiny_model, drive, out, device="cpu")
    shown = view_recording(out, save=tmp_path / "a.rrd", clouds="18:", device="cpu")
    assert shown.clouds == 2
    rows = read_back(tmp_path / "a.rrd")
    assert [name for _, name, _ in classes(rows, "/segmented/lidar/published")] == [
        "road", "car", "building", "not labelled",
    ]  # fmt: skip
    seen = timed(rows["/segmented/lidar/published/class"])
    with open_bag(out) as opened:
        published = [read_points(message) for _, message in opened.messages([SEGMENTATION])]
    # A lost return is in the sensor's origin.
    assert [ids(row) for row in seen] == [
        labelled["class_id"][np.abs(labelled["x"]) > 0].tolist() for labelled in published[18:]
    ]


def test_inputs_with_labels_show_these_without_entropy(tmp_path):
    fields = [(name, "<f4") for name in ("x", "y", "z", "intensity", "probability")]
    points = np.ones(3, [*fields, ("class_id", "u1")])
    points["class_id"] = [1, 255, 0]
    topic = "/segment/output/labelled"
    bag = write_bag(
        tmp_path, Scene(clouds=2, images=0, points_topics=(), other_clouds={topic: points})
    )
    assert view_recording(bag, save=tmp_path / "a.rrd", device="cpu").clouds == 2
    rows = read_back(tmp_path / "a.rrd")
    (published,) = (path for path in rows if path.endswith("published/class"))
    assert [ids(row) for row in timed(rows[published])] == [[1, 255, 0]] * 2
    assert not any(path.endswith("published/entropy") for path in rows)


def test_models_stand_side_by_side(drive_cache, tiny_model, tmp_path):
    models = [DEFAULT_MODEL, tiny_model]
    shown = view_recording(drive_cache, models, tmp_path / "a.rrd", every=10, device="cpu")
    # Every tenth of 20; the tiny model has three classes, the labels eleven.
    assert (shown.clouds, shown.not_compared) == (2, ["tiny"])
    rows = read_back(tmp_path / "a.rrd")
    assert [row["cloud"] for row in timed(rows["/drive/lidar/tiny/class"])] == [0, 10]
    assert [name for _, name, _ in classes(rows, "/drive/lidar/tiny")][:3] == [
        "road", "car", "building",
    ]  # fmt: skip
    assert "/drive/lidar/street/disagreement" in rows
    assert "/drive/lidar/tiny/disagreement" not in rows


def test_the_folder_of_a_run_shows_its_recordings_and_both_models(
    drive_cache, tiny_model, tmp_path
):
    run = tmp_path / "run"
    (run / "caches").mkdir(parents=True)
    (run / "caches" / "drive-0123456789").symlink_to(drive_cache)
    with pytest.raises(InputError, match="not a bag"):
        view_recording(run, save=tmp_path / "a.rrd")
    baseline = run / "stages" / "baseline-0123456789"
    baseline.mkdir(parents=True)
    shutil.copy(tiny_model, baseline / "model.safetensors")
    (baseline / "result.json").write_text("{}")
    shutil.copy(DEFAULT_MODEL, run / "model.safetensors")
    shown = view_recording(run, save=tmp_path / "a.rrd", clouds="7:9", device="cpu")
    assert shown.clouds == 2
    rows = read_back(tmp_path / "a.rrd")
    for name in ("model", "labels alone"):
        path = f"/drive/lidar/{name}/class".replace(" ", "\\ ")
        assert [row["cloud"] for row in timed(rows[path])] == [7, 8], sorted(rows)


def test_models_of_one_name_are_told_apart_by_their_folders():
    paths = [Path("/a/run/model.safetensors"), Path("/b/run/model.safetensors"), Path("/b/c/x.y")]
    assert list(named_models(paths[:1])) == ["model"]
    assert list(named_models(paths)) == ["a/run/model", "b/run/model", "b/c/x"]
    with pytest.raises(InputError, match="named twice"):
        named_models([paths[0], Path("/a/../a/run/model.safetensors")])


@pytest.mark.parametrize(
    ("clouds", "every", "expected"),
    [
        (None, 1, range(10)),
        (":3", 1, range(3)),
        ("8:", 1, range(8, 10)),
        ("2:99", 4, range(2, 10, 4)),
    ],
)
def test_clouds_are_chosen_by_number(clouds, every, expected):
    assert list(chosen_clouds(clouds, every, 10)) == list(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clouds", "5"], "--clouds 5: must be FIRST:LAST, such as 0:100, 50: or :20"),
        (["--clouds", "20:"], "no cloud to show: there are 20, counted from 0"),
        (["--every", "0"], "--every 0: must be 1 or more"),
        (["--topic", "/points"], "--topic is for bags; "),
        (["--save", "a.bin"], "--save a.bin: the file's name must end in .rrd"),
        (["--save", "nowhere/a.rrd"], "nowhere/a.rrd can't be written: there is no folder nowhere"),
    ],
)
def test_what_can_not_be_shown_is_said_and_leaves_nothing(
    drive_cache, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        app, ["view", str(drive_cache), "--rerun", "--save", "a.rrd", *arguments]
    )
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_without_rerun_or_a_display_one_line_says_what_to_do(drive_cache, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(app, ["view", str(drive_cache), "--rerun"])
    assert str(done.exception).startswith("there is no display; --save FILE.rrd")
    monkeypatch.setitem(sys.modules, "rerun", None)
    done = CliRunner().invoke(app, ["view", str(drive_cache), "--rerun"])
    assert isinstance(done.exception, InputError)
    assert "pip install 'haskd_ros[view]'" in str(done.exception)


def test_what_goes_with_rerun_is_refused_without_it(drive_cache):
    for arguments in (["--save", "a.rrd"], ["--every", "2"], ["--model", "a", "--model", "b"]):
        done = CliRunner().invoke(app, ["view", str(drive_cache), *arguments])
        assert isinstance(done.exception, InputError)
        assert str(done.exception).endswith("goes with --rerun")


def test_an_interrupted_run_leaves_the_file_that_was_there(drive_cache, tmp_path):
    file = tmp_path / "a.rrd"
    file.write_bytes(b"of before")

    def interrupt(done: int, total: int, remark: str = "") -> None:
        assert (tmp_path / "a.rrd.partial" / "a.rrd").exists()
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        view_recording(drive_cache, save=file, progress=interrupt)
    assert file.read_bytes() == b"of before"
    assert list(tmp_path.iterdir()) == [file]
