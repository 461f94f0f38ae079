"""ScanNet on files of its published form: what the reader gives, worked out by hand; what is
missing is told before the work starts; from the files to the benchmark's number and a submission.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scannet_files import (
    LABELS,
    NO_POSE,
    looking_along_y,
    room,
    write_mesh,
    write_scan,
    write_segments,
    write_split,
    write_stream,
)

from haskd_ros.errors import InputError
from haskd_ros.node.labelling import label_points
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmenter import Segmenter
from haskd_training.data.caches.cache import Cache
from haskd_training.data.readers.scannet.reader import READER
from haskd_training.learning.inference import label_as_robot

NYU40 = {
    "wall": 1, "floor": 2, "cabinet": 3, "bed": 4, "chair": 5, "sofa": 6, "table": 7, "door": 8,
    "window": 9, "bookshelf": 10, "picture": 11, "counter": 12, "desk": 14, "curtain": 16,
    "refrigerator": 24, "shower curtain": 28, "toilet": 33, "sink": 34, "bathtub": 36,
    "otherfurniture": 39,
}  # fmt: skip
"""The benchmark's classes in its order."""

SCAN = "scene0011_00"


def prepare(haskd, root: Path, out: Path, *options: object):
    return haskd("prepare", root, "--reader", "scannet", "--out", out, *options)


def the_frame(root: Path, name: str = SCAN):
    (drive,) = READER.open_drives(root, [name])
    (frame,) = drive.iterate()
    return frame


def test_classes_and_splits_are_the_published_ones(tmp_path):
    label_map = READER.load_label_map()
    assert label_map.taxonomy.names == tuple(NYU40)
    assert list(label_map.ids) == [(raw,) for raw in NYU40.values()]
    others = sorted({*range(41)} - {*NYU40.values()})
    assert len(others) == 21 and (label_map.apply(np.array(others)) == 255).all()
    sizes = {name: (split.drives, split.sweeps) for name, split in READER.splits.items()}
    assert sizes == {"train": (1201, 1201), "val": (312, 312), "test": (100, 100)}


@pytest.mark.parametrize("folder", [".", "Tasks/Benchmark"])
def test_the_lists_of_the_splits_come_with_the_data(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    write_split(tmp_path / folder, "val", ["scene0011_01", "scene0011_00", ""])
    assert READER.names(tmp_path, "val") == ["scene0011_00", "scene0011_01"]
    with pytest.raises(InputError, match=r"no scannetv2_train.txt.*comes with ScanNet's code"):
        READER.names(tmp_path, "train")
    write_split(tmp_path / folder, "val", ["scene0011_00", "../scene0011_01"])
    with pytest.raises(InputError, match=r"has '../scene0011_01'; expected are names"):
        READER.names(tmp_path, "val")


def test_points_stand_on_the_floor_in_the_middle_of_the_room_with_their_colours(tmp_path):
    write_scan(tmp_path, SCAN)
    frame = the_frame(tmp_path)
    points = frame.points()
    # The floor is x 0..4, y 0..3, z 0 of the mesh; aligned, x is 1 - y = -2..1, y is x = 0..4, and
    # z is 2. The middle is (-0.5, 2): the first corner, (0, 0, 0), is aligned at (1, 0, 2).
    assert np.allclose(points.xyz_intensity[0], [1.5, -2, 0, 0], atol=2e-4)
    # (2, 2, 2.5) is aligned at (-1, 2, 4.5)
    assert np.allclose(points.xyz_intensity[10], [-0.5, 0, 2.5, 0], atol=2e-4)
    assert np.allclose(frame.T_world_lidar[:3, 3], [-0.5, 2, 2], atol=2e-4)
    assert (points.xyz_intensity[:6, 2] > 0).all()
    assert points.channels["rgb"].dtype == np.uint8
    assert points.channels["rgb"][:2].tolist() == [[0, 100, 200], [1, 100, 200]]
    assert frame.raw_labels().tolist() == LABELS.tolist()


def test_few_points_below_the_floor_do_not_move_it(tmp_path):
    points, labels = room(0)
    points[0, 2] = -3
    write_scan(tmp_path, SCAN, points, labels)
    heights = the_frame(tmp_path).points().xyz_intensity[:, 2]
    assert heights[0] == pytest.approx(-3, abs=0.01)
    assert np.sort(heights)[1] > -0.01


def test_images_are_seen_from_their_own_poses_and_those_without_one_are_left_out(tmp_path):
    poses = [looking_along_y(0, 0, 1), NO_POSE, looking_along_y(0.5, 0, 1)]
    write_scan(tmp_path, SCAN, poses=poses)
    frame = the_frame(tmp_path)
    assert [image.stamp_ns - frame.stamp_ns for image in frame.images] == [0, 2]
    # The end of the table, (1, 2, 0.75) of the mesh: 2 m ahead, 1 m to the right, 0.25 m below
    point = np.append(frame.points().xyz_intensity[7, :3], 1)
    for image, u in zip(frame.images, (60 + 100 * 1 / 2, 60 + 100 * 0.5 / 2), strict=True):
        x, y, z = image.model.K @ (image.T_camera_lidar @ point)[:3]
        assert np.allclose([x / z, y / z], [u, 40 + 100 * 0.25 / 2], atol=0.02)
        assert np.allclose(image.T_world_camera @ image.T_camera_lidar, frame.T_world_lidar)
        assert (image.model.width, image.model.height) == (120, 80)
        read = image.read()
        assert read.format == "jpeg" and read.data[:2] == b"\xff\xd8"


def test_a_stream_of_png_is_read_and_another_version_or_compression_refused(tmp_path):
    folder = write_scan(tmp_path, SCAN)
    stream = folder / f"{SCAN}.sens"
    write_stream(stream, [looking_along_y(0, 0, 1)], colour=1)
    assert the_frame(tmp_path).images[0].read().format == "png"
    write_stream(stream, [looking_along_y(0, 0, 1)], version=3)
    with pytest.raises(InputError, match=r"scene0011_00.sens is a stream of version 3; 4 is read"):
        READER.open_drives(tmp_path, [SCAN])
    write_stream(stream, [looking_along_y(0, 0, 1)], colour=0)
    with pytest.raises(InputError, match="colour images of compression 0"):
        READER.open_drives(tmp_path, [SCAN])


def test_labels_of_segments_and_objects_are_those_of_the_labelled_mesh(tmp_path):
    folder = write_scan(tmp_path, SCAN)
    write_segments(tmp_path, folder)
    assert the_frame(tmp_path).raw_labels().tolist() == LABELS.tolist()
    objects = folder / f"{SCAN}.aggregation.json"
    objects.write_text(objects.read_text().replace("dining table", "tablet"))
    with pytest.raises(InputError, match=r"aggregation.json: .*has no category 'tablet'"):
        the_frame(tmp_path).raw_labels()
    objects.write_text('{"segGroups": [1]}')
    with pytest.raises(InputError, match=r"an object of segGroups is no \{label, segments\}"):
        the_frame(tmp_path).raw_labels()
    objects.write_text("{")
    with pytest.raises(InputError, match=r"aggregation.json is cut off or damaged"):
        the_frame(tmp_path).raw_labels()


def test_two_ids_that_nyu40_has_not_are_nothing(tmp_path):
    folder = write_scan(tmp_path, SCAN)
    points = np.zeros((4, 3), np.float32)
    for ending, labels in (("", None), (".labels", np.array([1, 50, 149, 40]))):
        write_mesh(folder / f"{SCAN}_vh_clean_2{ending}.ply", points, labels)
    assert the_frame(tmp_path).raw_labels().tolist() == [1, 0, 0, 40]


def test_a_split_becomes_a_cache(haskd, tmp_path):
    root = tmp_path / "scannet"
    poses = [looking_along_y(0.01 * number, 0, 1) for number in range(30)]
    write_scan(root, SCAN, poses=poses)
    write_scan(root, "scene0011_01")
    write_scan(root, "scene0012_00")
    write_split(root, "val", ["scene0011_01", SCAN])
    done = prepare(haskd, root, tmp_path / "cache", "--split", "val")
    assert done.returncode == 0, done.stderr
    said = " ".join((done.stderr + done.stdout).split())
    assert "its list has 2 names, and they are not the 312 that are published" in said
    cache = Cache.open(tmp_path / "cache")
    assert [row.recording for row in cache.sweeps] == [SCAN, "scene0011_01"]
    assert cache.sweep(0).label.tolist() == [1] * 6 + [6] * 2 + [15, 19, 255, 255]
    # 20 of 30: the middles of 20 equal parts, 0.75, 2.25, 3.75, ...
    taken = [row.stamp_ns - 1_000_000_000 for row in cache.images]
    assert len(taken) == 20 and taken[:5] == [0, 2, 3, 5, 6] and taken[-1] == 29
    assert cache.images_near(0, 0.5) == list(range(20))
    few = prepare(haskd, root, tmp_path / "few", "--sequences", SCAN, "--set", "images_per_scene=2")
    assert few.returncode == 0, few.stderr
    # 7.5 and 22.5
    images = Cache.open(tmp_path / "few").images
    assert [row.stamp_ns - 1_000_000_000 for row in images] == [7, 22]


def test_all_that_a_download_lacks_is_told_at_once(haskd, tmp_path):
    root = tmp_path / "scannet"
    names = [f"scene{number:04d}_00" for number in range(9)]
    folders = [write_scan(root, name, poses=[looking_along_y(0, 0, 1)] * 2) for name in names[:8]]
    mesh = [folder / f"{folder.name}_vh_clean_2.ply" for folder in folders]
    mesh[0].unlink()
    os.truncate(mesh[1], mesh[1].stat().st_size - 1)
    (folders[2] / f"{names[2]}_vh_clean_2.labels.ply").unlink()
    write_mesh(mesh[3], np.zeros((5, 3), np.float32))
    (folders[4] / f"{names[4]}.txt").unlink()
    stream = folders[5] / f"{names[5]}.sens"
    os.truncate(stream, stream.stat().st_size - 200)
    mesh[6].write_bytes(b"no mesh")
    write_split(root, "train", names)
    done = prepare(haskd, root, tmp_path / "cache", "--split", "train")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    for line in (
        "1 of 9 scans are missing: scene0008_00;",
        "scene0000_00 lacks: scene0000_00_vh_clean_2.ply;",
        "scene0001_00_vh_clean_2.ply is cut off: ",
        "scene0002_00 lacks: scene0002_00_vh_clean_2.0.010000.segs.json, "
        "scene0002_00.aggregation.json, scannetv2-labels.combined.tsv;",
        "scene0003_00 has 5 vertices, 12 labels;",
        "scene0004_00 lacks: scene0004_00.txt;",
        "scene0005_00.sens is cut off: it ends in frame 1 of 2;",
        "scene0006_00_vh_clean_2.ply is no PLY file",
        "Expected is SCAN_vh_clean_2.ply for each scan",
    ):
        assert line in said, line
    assert "scene0007" not in said
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("axisAlignment = 1 0 0", "axisAlignment is no 16 numbers: ' 1 0 0'"),
        ("axisAlignment = " + "x " * 16, "axisAlignment is no 16 numbers"),
        ("axisAlignment = 2 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", "is no rotation and translation"),
        ("axisAlignment = nan 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", "is no rotation and translation"),
    ],
)
def test_an_alignment_that_is_none_is_an_error(tmp_path, text, said):
    folder = write_scan(tmp_path, SCAN)
    (folder / f"{SCAN}.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        READER.open_drives(tmp_path, [SCAN])


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """Rooms of each split, and a model that two epochs of training made."""
    root = tmp_path_factory.mktemp("rooms") / "scannet"
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        names = []
        for number in range(count):
            points, labels = room(len(split) * 100 + number)
            name = f"scene{len(split):04d}_{number:02d}"
            if split == "test":
                points[7, 0] += 60  # moves the middle by 30 m, and is beyond the model's range
            write_scan(root, f"{name}", points, None if split == "test" else labels)
            names.append(name)
        write_split(root, split, names)
    return root


def test_from_the_files_to_the_benchmark_s_number_and_to_a_submission(haskd, rooms, tmp_path):
    for split in ("train", "val"):
        done = prepare(haskd, rooms, tmp_path / split, "--split", split)
        assert done.returncode == 0, done.stderr
    trained = haskd(
        "baseline", tmp_path / "train", "--out", tmp_path / "run", "--set", "voxel_size=0.2",
        "--set", "loop.epochs=2", "--set", "loop.device=cpu", "--set", "max_range=20",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    model = tmp_path / "run/model.safetensors"
    rule = ("--protocol", "scannet")
    done = haskd(
        "evaluate", model, tmp_path / "val", *rule, "--device", "cpu", "--out", tmp_path / "scores"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "scores/evaluation.json").read_text())["protocol"]
    assert not found["is_whole_split"]

    segmenter = Segmenter.load(model, device="cpu")
    cache = Cache.open(tmp_path / "val")
    true = np.concatenate([room(300 + number)[1] for number in range(2)])
    said = np.concatenate([label_as_robot(segmenter, cache, number).class_id for number in (0, 1)])
    ids = np.array([*NYU40.values(), *[0] * 236])
    valid = np.isin(true, [*NYU40.values()])
    iou = {}
    for name, raw in NYU40.items():
        is_true, is_said = valid & (true == raw), valid & (ids[said] == raw)
        union = (is_true | is_said).sum()
        iou[name] = (is_true & is_said).sum() / union if union else None
    assert found["iou"] == pytest.approx(iou, abs=1e-9)
    counted = [value for value in iou.values() if value is not None]
    assert iou["bathtub"] is None and len(counted) >= 3
    assert found["miou"] == pytest.approx(np.mean(counted), abs=1e-9)

    out = tmp_path / "submission"
    done = haskd("submit", model, rooms, *rule, "--out", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    names = ["scene0004_00", "scene0004_01"]
    assert sorted(file.name for file in out.rglob("*")) == [f"{name}.txt" for name in names]
    for name in names:
        points = the_frame(rooms, name).points().xyz_intensity
        said = label_points(points, None, segmenter, DEFAULTS).class_id
        lines = (out / f"{name}.txt").read_text().split("\n")
        assert lines == [str(ids[class_id]) for class_id in said] + [""]
        assert lines[7] == "0"
    check = ("submit", "--check", out, "--against", rooms, *rule)
    done = haskd(*check)
    assert done.returncode == 0, done.stderr
    assert "2 files, one for each sweep" in " ".join(done.stdout.split())
    for text, wrong in (
        ("1\n" * 399, "scene0004_00.txt has 399, 400 expected"),
        ("1 " * 400, "scene0004_00.txt has 1, 400 expected"),
        ("1\n" * 399 + "41\n", "ids that ScanNet has not: scene0004_00.txt has 41"),
        ("1\n" * 399 + "-1\n", "ids that ScanNet has not: scene0004_00.txt has -1"),
        ("1\n" * 398 + "wall\n5.0\n", "ids that ScanNet has not: scene0004_00.txt has 5.0, wall"),
        ("1\n" * 399 + f"{10**30}\n", f"scene0004_00.txt has {10**30}"),
        ("\n" * 400, "ids that ScanNet has not: scene0004_00.txt has"),
    ):
        (out / "scene0004_00.txt").write_text(text)
        done = haskd(*check)
        assert done.returncode == 2 and wrong in " ".join(done.stderr.split()), done.stderr
