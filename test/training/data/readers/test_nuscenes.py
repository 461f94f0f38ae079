"""nuScenes on files of its published form: what the cache holds, worked out by hand; what is
missing is told before the work starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from nuscenes_files import CATEGORIES, START_US, token, write_nuscenes

from haskd_training.data.caches.cache import Cache
from haskd_training.data.readers.nuscenes.reader import READER

CLASS_OF = {
    "barrier": ["movable_object.barrier"],
    "bicycle": ["vehicle.bicycle"],
    "bus": ["vehicle.bus.bendy", "vehicle.bus.rigid"],
    "car": ["vehicle.car"],
    "construction_vehicle": ["vehicle.construction"],
    "motorcycle": ["vehicle.motorcycle"],
    "pedestrian": [
        "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker",
        "human.pedestrian.police_officer",
    ],
    "traffic_cone": ["movable_object.trafficcone"],
    "trailer": ["vehicle.trailer"],
    "truck": ["vehicle.truck"],
    "driveable_surface": ["flat.driveable_surface"],
    "other_flat": ["flat.other"],
    "sidewalk": ["flat.sidewalk"],
    "terrain": ["flat.terrain"],
    "manmade": ["static.manmade"],
    "vegetation": ["static.vegetation"],
}  # fmt: skip
"""The challenge's classes in its order, and their general categories; the other 12 are ignored."""

MINI = {"scene-0103": 2, "scene-0916": 1}


def prepare(haskd, root: Path, out: Path, *options: object):
    return haskd("prepare", root, "--reader", "nuscenes", "--out", out, *options)


def cache_of(haskd, root: Path, *options: object) -> Cache:
    out = root.with_name(f"{root.name}-cache")
    done = prepare(haskd, root, out, *options)
    assert done.returncode == 0, done.stderr
    return Cache.open(out)


def test_classes_and_splits_are_the_published_ones():
    label_map = READER.load_label_map()
    assert label_map.taxonomy.names == tuple(CLASS_OF)
    of_class = {name: k for k, names in enumerate(CLASS_OF.values()) for name in names}
    found = label_map.apply(np.arange(32)).tolist()
    assert found == [of_class.get(name, 255) for name in CATEGORIES]
    assert found.count(255) == 12
    sizes = {name: (split.drives, split.sweeps) for name, split in READER.splits.items()}
    assert sizes == {
        "train": (700, 28130), "val": (150, 6019), "test": (150, 6008), "mini_train": (8, 323),
        "mini_val": (2, 81),
    }  # fmt: skip
    splits = {name: READER.names(Path(), name) for name in READER.splits}
    assert {name: len(set(names)) for name, names in splits.items()} == {
        name: split.drives for name, split in READER.splits.items()
    }
    assert len({*READER.names(Path(), None)}) == 1000
    assert {*splits["train"]} & {*splits["val"], *splits["test"]} == set()
    # Two scenes of mini_train are of val: what learned from it has seen them
    assert {*splits["mini_train"]} & {*splits["val"]} == {"scene-0553", "scene-0796"}
    assert {*splits["mini_train"]} < {*splits["train"], *splits["val"]}
    assert splits["mini_val"] == ("scene-0103", "scene-0916")
    assert splits["val"][:3] == ("scene-0003", "scene-0012", "scene-0013")
    assert splits["test"][0] == "scene-0077" and splits["train"][-1] == "scene-1110"


def test_a_scene_becomes_a_cache_with_labels_poses_and_images(haskd, tmp_path):
    write_nuscenes(tmp_path / "nuscenes", "v1.0-mini", MINI, images=True)
    cache = cache_of(haskd, tmp_path / "nuscenes", "--split", "mini_val")
    assert [row.recording for row in cache.sweeps] == ["scene-0103", "scene-0103", "scene-0916"]
    assert cache.taxonomy.names == tuple(CLASS_OF)
    start_ns = 1000 * (START_US + 103 * 20_000_000)
    for number, row in enumerate(cache.sweeps[:2]):
        assert row.stamp_ns == start_ns + number * 500_000_000
        # The vehicle heads along the world's y, the LiDAR's y points ahead: no turn is left. It
        # stands 1 m ahead of the vehicle's origin and 2 m above it
        expected = np.eye(4)
        expected[:3, 3] = [100, 50 + 2 * number + 1, 2]
        assert np.allclose(row.T_world_lidar, expected)
        sweep = cache.sweep(number)
        # car, driveable_surface, pedestrian; noise and the vehicle stay as points, for all count
        assert sweep.label.tolist() == [3, 10, 6, 255, 255]
        assert sweep.points[:, :3].tolist() == pytest.approx(
            np.array([[4, 21, -0.5], [0, 8, -1.8], [-2, 5, -1], [0, 1, 9], [0, 0, -0.4]])
        )
        assert sweep.points[:, 3] == pytest.approx([51 / 255, 1, 0, 1 / 255, 102 / 255])
    assert [image.camera for image in cache.images] == 3 * [
        "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT",
        "CAM_FRONT_LEFT",
    ]  # fmt: skip
    front, back = cache.images[0], cache.images[3]
    assert (front.stamp_ns, back.stamp_ns) == (start_ns - 50_000_000, start_ns - 20_000_000)
    assert np.abs(cache.image(3).astype(int) - 120).max() <= 2  # grey of camera 3, keyframe 0
    # (4, 21, -0.5) of the LiDAR is (22, -4, 1.5) of the vehicle, and CAM_FRONT, at (2, 0, 1.5),
    # has it 20 m ahead, 4 m to the right, at its height: u = 60 + 100 x 4 / 20 = 80, v = 40
    x, y, z, _ = np.array(front.T_camera_lidar) @ [4, 21, -0.5, 1]
    assert [60 + 100 * x / z, 40 + 100 * y / z] == pytest.approx([80, 40])
    # 50 ms earlier the vehicle was 0.2 m further back
    x, y, z, _ = cache.t_camera_lidar(0, 0) @ [4, 21, -0.5, 1]
    assert [x, y, z] == pytest.approx([4, 0, 20.2])
    # CAM_BACK stands at (0, 0, 1.5) and looks back: (0, -9, 0.5) of the LiDAR is (-8, 0, 2.5) of
    # the vehicle: 8 m ahead of the camera, 1 m above it. v = 40 - 100 / 8 = 27.5
    x, y, z, _ = np.array(back.T_camera_lidar) @ [0, -9, 0.5, 1]
    assert [60 + 100 * x / z, 40 + 100 * y / z] == pytest.approx([60, 27.5])
    # 20 ms earlier it was 0.08 m further back, and so nearer to what is behind
    assert (cache.t_camera_lidar(3, 0) @ [0, -9, 0.5, 1])[2] == pytest.approx(7.92)


def test_panoptic_labels_are_read_where_there_are_no_others(haskd, tmp_path):
    write_nuscenes(tmp_path / "nuscenes", "v1.0-mini", MINI, labels="panoptic")
    cache = cache_of(haskd, tmp_path / "nuscenes", "--split", "mini_val")
    assert [cache.sweep(k).label.tolist() for k in range(3)] == 3 * [[3, 10, 6, 255, 255]]


def test_the_names_of_categories_count_and_not_their_order(haskd, tmp_path):
    others = tuple(reversed(CATEGORIES))
    write_nuscenes(tmp_path / "nuscenes", "v1.0-mini", MINI, categories=others)
    cache = cache_of(haskd, tmp_path / "nuscenes", "--split", "mini_val")
    assert cache.sweep(0).label.tolist() == [3, 10, 6, 255, 255]


def test_splits_lie_in_the_tables_of_their_version(haskd, tmp_path):
    root = tmp_path / "nuscenes"
    write_nuscenes(root, "v1.0-trainval", dict.fromkeys(READER.names(root, "val"), 1))
    write_nuscenes(root, "v1.0-test", dict.fromkeys(READER.names(root, "test"), 1), labels=None)
    val = cache_of(haskd, root, "--split", "val")
    assert tuple(row.recording for row in val.sweeps) == READER.names(root, "val")
    assert np.array([row.class_counts for row in val.sweeps]).sum(1).tolist() == [3] * 150
    done = prepare(haskd, root, tmp_path / "test", "--split", "test")
    assert done.returncode == 0, done.stderr
    test = Cache.open(tmp_path / "test")
    assert tuple(row.recording for row in test.sweeps) == READER.names(root, "test")
    assert not np.array([row.class_counts for row in test.sweeps]).any()
    both = prepare(haskd, root, tmp_path / "both", "--sequences", "scene-0077,scene-0103")
    assert both.returncode == 0, both.stderr
    names = [row.recording for row in Cache.open(tmp_path / "both").sweeps]
    assert sorted(names) == ["scene-0077", "scene-0103"]


def test_scenes_of_mini_are_found_in_its_tables_and_in_those_of_trainval(tmp_path):
    root = tmp_path / "nuscenes"
    write_nuscenes(root, "v1.0-trainval", {"scene-0003": 1, "scene-0103": 1})
    for names in (["scene-0103"], ["scene-0103", "scene-0003"]):
        folders = {file.parent.name for drive in READER.open_drives(root, names)
                   for file in drive.files if file.suffix == ".json"}  # fmt: skip
        assert folders == {"v1.0-trainval"}
    write_nuscenes(root, "v1.0-mini", {"scene-0103": 1})
    (drive,) = READER.open_drives(root, ["scene-0103"])
    assert root / "v1.0-mini/sample_data.json" in drive.files
    assert len(READER.open_drives(root, ["scene-0103", "scene-0003"])) == 2


def test_a_camera_without_any_image_of_these_scenes_is_left_out(tmp_path):
    write_nuscenes(tmp_path, "v1.0-mini", {"scene-0103": 2}, images=True)
    for file in (tmp_path / "samples/CAM_BACK").iterdir():
        file.unlink()
    (drive,) = READER.open_drives(tmp_path, ["scene-0103"])
    assert drive.images == 10
    cameras = [image.camera for frame in drive.iterate() for image in frame.images]
    assert len(cameras) == 10 and "CAM_BACK" not in cameras
    # The test split's sweeps alone were downloaded, into the same folder
    write_nuscenes(tmp_path, "v1.0-test", {"scene-0077": 1}, labels=None)
    (drive,) = READER.open_drives(tmp_path, ["scene-0077"])
    assert (drive.frames, drive.images) == (1, 0)


def test_a_file_is_read_as_a_drive_names_it(tmp_path):
    write_nuscenes(tmp_path, "v1.0-mini", {"scene-0103": 2}, images=True)
    (drive,) = READER.open_drives(tmp_path, ["scene-0103"])
    assert (drive.frames, drive.images, drive.labelled) == (2, 12, True)
    frames = list(drive.iterate())
    assert frames[0].name == token("scene-0103", 0, "LIDAR_TOP", START_US + 103 * 20_000_000)
    files = [file for file in drive.files if file.suffix != ".json"]
    assert len(files) == 2 * (1 + 1 + 6) and all(file.is_file() for file in files)
    assert {file.parts[len(tmp_path.parts)] for file in files} == {"samples", "lidarseg"}
    assert frames[0].images[0].read().data == files[4].read_bytes()


def test_all_that_a_download_lacks_is_told_at_once_and_nothing_is_written(haskd, tmp_path):
    root = tmp_path / "nuscenes"
    folder = write_nuscenes(root, "v1.0-mini", {"scene-0103": 40, "scene-0916": 6}, images=True)
    sweeps = sorted((root / "samples/LIDAR_TOP").iterdir())
    labels = sorted((root / "lidarseg/v1.0-mini").iterdir())
    for sweep in sweeps[4:8]:
        sweep.unlink()
    os.truncate(sweeps[9], 75)
    os.truncate(sweeps[10], 0)
    of_sweep = {
        row["token"]: root / row["filename"]
        for row in json.loads((folder / "sample_data.json").read_text())
    }
    kept = [file for file in labels if of_sweep[file.name[:32]] not in sweeps[4:11]]
    kept[0].unlink()
    os.truncate(kept[1], 4)
    front = sorted((root / "samples/CAM_FRONT").iterdir())
    front[3].unlink()
    os.truncate(front[5], 0)
    for table, change in {
        "lidarseg": lambda rows: rows[:-1],
        "ego_pose": lambda rows: rows[1:],
        "sample": lambda rows: rows[:-1],
    }.items():
        path = folder / f"{table}.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
    done = prepare(haskd, root, tmp_path / "cache", "--split", "mini_val")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    for line in (
        "v1.0-mini/sample.json: another number of keyframes than the scene's: scene-0916 has 5, "
        "6 expected;",
        f"v1.0-mini/ego_pose.json lacks 1 of 315: {token('scene-0103', 'LIDAR_TOP', START_US + 103 * 20_000_000)};",  # noqa: E501
        f"samples/LIDAR_TOP lacks 4 of 45: {sweeps[4].name}, {sweeps[5].name}, {sweeps[6].name} "
        "and 1 more;",
        "cut off sweeps (no whole number of points, or none): "
        f"{sweeps[9].name}, {sweeps[10].name};",
        f"samples/CAM_FRONT lacks 1 of 45: {front[3].name};",
        f"empty images of CAM_FRONT: {front[5].name}. Expected is",
        f"lidarseg/v1.0-mini lacks 1 of 45: {kept[0].name};",
        f"{kept[1].name} has 4, 5 expected",
        "Expected is v1.0-trainval, v1.0-mini or v1.0-test with the tables",
    ):
        assert line in said, line
    assert not (tmp_path / "cache").exists()


def without(key: str):
    return lambda rows: [{k: v for k, v in row.items() if k != key} for row in rows]


def with_value(key: str, value: object):
    return lambda rows: [row | {key: value} for row in rows]


def damage(folder: Path, table: str, change) -> None:
    path = folder / f"{table}.json"
    path.write_text(json.dumps(change(json.loads(path.read_text())), indent=0))


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("category", without("index"), "needed is the one that comes with nuScenes-lidarseg"),
        ("category", with_value("name", "vehicle.tram"), "name is 'vehicle.tram', expected one of"),
        ("category", with_value("index", 3), "index 3 is that of 'noise' and 'animal'"),
        ("category", with_value("index", 300), "index is 300, expected 0 to 255"),
        ("category", lambda rows: rows[:20], "has labels [24, 31], which category.json doesn't"),
        ("scene", lambda rows: rows[:1], "scene.json lacks 1 of 2: scene-0916"),
        ("scene", lambda rows: {"rows": rows}, "scene.json begins with '{"),
        ("scene", lambda rows: ["scene-0103"], "record 0 is 'scene-0103', expected {...}"),
        ("sample", without("scene_token"), "record 0: scene_token is none, expected text"),
        ("sample_data", with_value("timestamp", 1.5), "timestamp is 1.5, expected a whole number"),
        ("sample_data", with_value("token", "../x"), "token is '../x', expected letters"),
        ("sample_data", with_value("filename", "x.bin"), "expected samples/LIDAR_TOP/..."),
        ("sample_data", lambda rows: rows[1:], "1 of 3 keyframes are not whole: "),
        ("ego_pose", with_value("rotation", [0, 0, 0, 0]), "expected a quaternion w x y z"),
        ("ego_pose", with_value("translation", [1, 2]), "expected 3 numbers"),
        ("ego_pose", with_value("translation", [1, 2, float("nan")]), "expected 3 numbers"),
        ("calibrated_sensor", with_value("camera_intrinsic", [1]), "expected 3 x 3 numbers"),
        ("lidarseg", lambda rows: rows[1:], "lidarseg.json lacks 1 of 3: "),
    ],
)  # fmt: skip
def test_a_table_with_other_values_is_refused_by_name(haskd, tmp_path, table, change, said):
    root = tmp_path / "nuscenes"
    damage(write_nuscenes(root, "v1.0-mini", MINI), table, change)
    done = prepare(haskd, root, tmp_path / "cache", "--split", "mini_val")
    assert done.returncode == 2 and said in " ".join(done.stderr.split()), done.stderr
    assert not (tmp_path / "cache").exists()


def test_tables_that_are_missing_or_cut_off_are_told(haskd, tmp_path):
    root = tmp_path / "nuscenes"
    folder = write_nuscenes(root, "v1.0-mini", MINI)
    for split, said in (("val", "v1.0-trainval is missing (150 scenes)"),
                        ("test", "v1.0-test is missing (150 scenes)")):  # fmt: skip
        done = prepare(haskd, root, tmp_path / "cache", "--split", split)
        assert done.returncode == 2 and said in " ".join(done.stderr.split()), done.stderr
    os.truncate(folder / "sample_data.json", 900)
    done = prepare(haskd, root, tmp_path / "cache", "--split", "mini_val")
    assert done.returncode == 2
    assert "sample_data.json is cut off or damaged" in " ".join(done.stderr.split())
    (folder / "ego_pose.json").unlink()
    (folder / "lidarseg.json").unlink()
    done = prepare(haskd, root, tmp_path / "cache", "--split", "mini_val")
    assert done.returncode == 2
    assert "v1.0-mini lacks: ego_pose.json, lidarseg.json." in " ".join(done.stderr.split())


def test_panoptic_files_that_are_damaged_are_told(haskd, tmp_path):
    root = tmp_path / "nuscenes"
    write_nuscenes(root, "v1.0-mini", {"scene-0103": 3, "scene-0916": 1}, labels="panoptic")
    files = sorted((root / "panoptic/v1.0-mini").iterdir())
    np.savez_compressed(files[0], data=np.zeros(4, np.uint16))
    os.truncate(files[1], 50)
    np.savez_compressed(files[2], labels=np.zeros(5, np.uint16))
    done = prepare(haskd, root, tmp_path / "cache", "--split", "mini_val")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert f"{files[0].name} has 4, 5 expected" in said
    assert "damaged labels: " in said
    assert said.count(files[1].name) and said.count(files[2].name)
    for file in files:
        np.savez_compressed(file, data=np.zeros(5, np.float32))
    done = prepare(haskd, root, tmp_path / "cache", "--split", "mini_val")
    assert done.returncode == 2 and "holds float32, expected uint16" in " ".join(
        done.stderr.split()
    )
