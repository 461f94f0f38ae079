"""SemanticKITTI on files of its published form: what the cache holds, worked out by hand; what is
missing is told before the work starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from semantickitti_files import street, write_sequence

from haskd_training.data.caches.cache import Cache
from haskd_training.data.readers.semantickitti import READER

CLASS_OF = {
    "car": [10, 252], "bicycle": [11], "motorcycle": [15], "truck": [18, 258],
    "other-vehicle": [13, 16, 20, 256, 257, 259], "person": [30, 254], "bicyclist": [31, 253],
    "motorcyclist": [32, 255], "road": [40, 60], "parking": [44], "sidewalk": [48],
    "other-ground": [49], "building": [50], "fence": [51], "vegetation": [70], "trunk": [71],
    "terrain": [72], "pole": [80], "traffic-sign": [81],
}  # fmt: skip
"""The benchmark's classes in its order, and their ids; 0, 1, 52 and 99 are ignored."""


def prepare(haskd, root: Path, out: Path, *options: object):
    return haskd("prepare", root, "--reader", "semantickitti", "--out", out, *options)


def test_classes_and_splits_are_the_published_ones():
    label_map = READER.load_label_map()
    assert label_map.taxonomy.names == tuple(CLASS_OF)
    for class_id, ids in enumerate(CLASS_OF.values()):
        assert label_map.apply(np.array(ids)).tolist() == [class_id] * len(ids)
    assert label_map.apply(np.array([0, 1, 52, 99])).tolist() == [255] * 4
    assert sum(map(len, label_map.ids)) + len(label_map.ignored) == 34
    sizes = {name: (split.drives, split.sweeps) for name, split in READER.splits.items()}
    assert sizes == {"train": (10, 19130), "val": (1, 4071), "test": (11, 20351)}
    names = [name for split in READER.splits for name in READER.names(Path(), split)]
    assert sorted(names) == [f"{number:02}" for number in range(22)]


def test_a_sequence_becomes_a_cache_with_labels_poses_and_images(haskd, tmp_path):
    write_sequence(tmp_path / "kitti", "08", images=True)
    done = prepare(haskd, tmp_path / "kitti", tmp_path / "cache", "--split", "val")
    assert done.returncode == 0, done.stderr
    assert "08: 3 sweeps, SemanticKITTI has 4071" in done.stderr + done.stdout
    cache = Cache.open(tmp_path / "cache")
    assert len(cache) == 3 and cache.taxonomy.names == tuple(CLASS_OF)
    for number, row in enumerate(cache.sweeps):
        # times.txt counts from 0, which is no stamp: 1 s later
        assert (row.recording, row.stamp_ns) == ("08", 1_000_000_000 + number * 250_000_000)
        # 2 m forward in the camera's frame is 2 m along the LiDAR's x
        assert np.allclose(np.array(row.T_world_lidar)[:3, 3], [2 * number, 0, 0])
        sweep = cache.sweep(number)
        # car, road, other-vehicle; also the point in the origin stays, for all points count
        assert sweep.label.tolist() == [0, 8, 4, 255, 255]
        assert sweep.points[:, 0].tolist() == [10, 20, 5, 0, 60]
        assert sweep.points[:, 3].tolist() == [0.5, 0.25, 1, 0, 0]
    assert [(image.camera, image.stamp_ns) for image in cache.images] == [
        ("image_2", row.stamp_ns) for row in cache.sweeps
    ]
    assert np.abs(cache.image(2).astype(int) - 40).max() <= 2  # JPEG of the grey 20 x 2
    # (20, 4, 0) of the LiDAR: camera 0 sees (-4, 0, 20), image_2 (-4.5, 0, 20), at
    # u = 60 - 100 x 4.5 / 20 = 37.5, v = 40
    x, y, z = (cache.t_camera_lidar(1, 1) @ [20, 4, 0, 1])[:3]
    assert np.allclose([60 + 100 * x / z, 40 + 100 * y / z], [37.5, 40])
    # The image of the next scan is taken 2 m further ahead: z = 18, u = 60 - 100 x 4.5 / 18 = 35
    x, y, z = (cache.t_camera_lidar(2, 1) @ [20, 4, 0, 1])[:3]
    assert np.allclose([60 + 100 * x / z, 40 + 100 * y / z], [35, 40])


def test_the_test_split_has_no_labels(haskd, tmp_path):
    names = READER.names(tmp_path, "test")
    for name in names:
        write_sequence(tmp_path / "kitti", name, scans=1, labelled=False)
    done = prepare(haskd, tmp_path / "kitti", tmp_path / "cache", "--split", "test")
    assert done.returncode == 0, done.stderr
    cache = Cache.open(tmp_path / "cache")
    assert [row.recording for row in cache.sweeps] == list(names)
    assert not np.array([row.class_counts for row in cache.sweeps]).any()


def test_sequences_name_a_part(haskd, tmp_path):
    root = tmp_path / "kitti"
    for name in ("00", "04", "08"):
        write_sequence(root, name, scans=1)
    both = prepare(haskd, root, tmp_path / "both", "--sequences", "08,00")
    assert both.returncode == 0, both.stderr
    assert [row.recording for row in Cache.open(tmp_path / "both").sweeps] == ["00", "08"]
    one = prepare(haskd, root, tmp_path / "one", "--split", "train", "--sequences", "04")
    assert one.returncode == 0, one.stderr
    assert [row.recording for row in Cache.open(tmp_path / "one").sweeps] == ["04"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--reader", "kitti"], "no reader named 'kitti'; there are semantickitti"),
        (["--reader", "semantickitti"], "--split says which part is meant: train, val, test"),
        (
            ["--reader", "semantickitti", "--split", "all"],
            "no split 'all'; it has train",
        ),
        (
            ["--reader", "semantickitti", "--split", "train", "--sequences", "00,08"],
            "08 not in the split train of SemanticKITTI: it has 00, 01, 02, 03",
        ),
        (["--split", "val"], "--split and --sequences are of a data set: --reader names it"),
        (
            ["--reader", "semantickitti", "--split", "val", "--set", "points_topic=/a"],
            "points_topic",
        ),
    ],
)
def test_what_can_not_be_meant_is_answered_with_what_can(haskd, tmp_path, options, said):
    write_sequence(tmp_path / "kitti", "08")
    done = haskd("prepare", tmp_path / "kitti", "--out", tmp_path / "cache", *options)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert not (tmp_path / "cache").exists()


def test_all_that_a_download_lacks_is_told_at_once_and_nothing_is_written(haskd, tmp_path):
    root = tmp_path / "kitti"
    for name in READER.names(root, "train"):
        write_sequence(root, name, scans=8, images=name == "01")
    sequences = root / "sequences"
    for number in (1, 3, 4, 5):
        (sequences / f"00/velodyne/00000{number}.bin").unlink()
    (sequences / "01/labels/000002.label").unlink()
    (sequences / "01/image_2/000007.png").unlink()
    os.truncate(sequences / "02/velodyne/000006.bin", 75)
    os.truncate(sequences / "03/labels/000000.label", 16)
    (sequences / "04/calib.txt").write_text("P2: 1 0 0\n")
    (sequences / "05/poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    (sequences / "06/times.txt").unlink()
    os.truncate(sequences / "07/velodyne/000000.bin", 0)
    (sequences / "10").rename(sequences / "ten")
    done = prepare(haskd, root, tmp_path / "cache", "--split", "train")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    for line in (
        "00/velodyne lacks 4 of 8: 000001.bin, 000003.bin, 000004.bin and 1 more;",
        "01/labels lacks 1 of 8: 000002.label;",
        "01/image_2 lacks 1 of 8: 000007.png;",
        "02: cut off scans (no whole number of points, or none): 000006.bin;",
        "03: labels for another number of points than the scan has: "
        "000000.label has 4, 5 expected;",
        "04/calib.txt lacks the 12 numbers of: Tr;",
        "05/poses.txt has 1 lines, 8 expected;",
        "06 lacks: times.txt;",
        "07: cut off scans (no whole number of points, or none): 000000.bin;",
        "sequence 10 is missing (1201 scans).",
        "Expected is sequences/NN with calib.txt",
    ):
        assert line in said, line
    assert "09" not in said
    assert not (tmp_path / "cache").exists()


def test_an_id_that_is_none_of_the_data_set_s_stops_with_the_scan(haskd, tmp_path):
    folder = write_sequence(tmp_path / "kitti", "08")
    np.array([10, 10, 10, 98, 98], "<u4").tofile(folder / "labels/000001.label")
    done = prepare(haskd, tmp_path / "kitti", tmp_path / "cache", "--split", "val")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "SemanticKITTI, 08, sweep 000001: raw label ids" in said and "98 (2 points)" in said
    assert not (tmp_path / "cache").exists()


def test_an_interrupted_run_goes_on_and_ends_the_same(haskd, tmp_path):
    root, cache = tmp_path / "kitti", tmp_path / "cache"
    write_sequence(root, "08", scans=6, scan=street, images=True)
    command = ("--split", "val", "--set", "shard_bytes=1", "--set", "overlays=0")
    assert prepare(haskd, root, cache, *command).returncode == 0
    whole = json.loads((cache / "index.json").read_text())
    shards = sorted(cache.glob("sweeps-*.safetensors"))
    assert len(shards) == 6
    content = [shard.read_bytes() for shard in shards]
    # As it is when it was stopped behind the fourth scan
    for made in ("index.json", "report.json", shards[4].name, shards[5].name):
        (cache / made).unlink()
    kept = shards[0].stat().st_mtime_ns
    assert prepare(haskd, root, cache, *command).returncode == 0
    assert json.loads((cache / "index.json").read_text()) == whole
    assert [shard.read_bytes() for shard in shards] == content
    assert shards[0].stat().st_mtime_ns == kept
    again = prepare(haskd, root, cache, *command)
    assert again.returncode == 0 and "the cache was up to date" in again.stdout


def test_other_classes_can_be_asked_for(haskd, tmp_path):
    write_sequence(tmp_path / "kitti", "08", scans=1)
    options = ("--split", "val", "--labels", "semantickitti")
    done = prepare(haskd, tmp_path / "kitti", tmp_path / "cache", *options)
    assert done.returncode == 0, done.stderr
    cache = Cache.open(tmp_path / "cache")
    # car, road marking, large vehicle, ignored, other static
    names = [*cache.taxonomy.names, *[None] * 300]
    said = [names[label] for label in cache.sweep(0).label]
    assert said == ["car", "road_marking", "large_vehicle", None, "other_static"]
