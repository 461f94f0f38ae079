"""Waymo's data set on files of its published form: what the cache holds, worked out by hand; what
is missing is told before the work starts; from the files to the benchmark's number."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from waymo_files import (
    HAND,
    LASER,
    SEGMENT,
    START_US,
    STREET,
    TIME,
    Scene,
    Sweep,
    by_hand,
    street,
    write_segment,
)

from haskd_ros.errors import InputError
from haskd_ros.segmenter import Segmenter
from haskd_training.data.caches.cache import Cache
from haskd_training.data.projection import project
from haskd_training.data.readers.waymo.parquet_rows import ParquetRows
from haskd_training.data.readers.waymo.range_images import uniform_inclinations
from haskd_training.data.readers.waymo.reader import READER
from haskd_training.learning.inference import label_as_robot

CLASSES = (
    "car", "truck", "bus", "other_vehicle", "motorcyclist", "bicyclist", "pedestrian", "sign",
    "traffic_light", "pole", "construction_cone", "bicycle", "motorcycle", "building", "vegetation",
    "tree_trunk", "curb", "road", "lane_marker", "other_ground", "walkable", "sidewalk",
)  # fmt: skip
"""Segmentation.Type, from 1."""

NAME = "10023947602400723454_1120_000_1140_000"


def prepare(haskd, root: Path, out: Path, *options: object):
    return haskd("prepare", root, "--reader", "waymo", "--out", out, *options)


def test_classes_and_splits_are_the_published_ones():
    label_map = READER.load_label_map()
    assert label_map.taxonomy.names == CLASSES
    assert label_map.apply(np.arange(23)).tolist() == [255, *range(22)]
    sizes = {name: (split.drives, split.sweeps) for name, split in READER.splits.items()}
    assert sizes == {"train": (798, 23691), "val": (202, 5976), "test": (150, 2982)}


def test_a_segment_becomes_a_cache_with_labels_poses_and_images(haskd, tmp_path):
    write_segment(tmp_path / "waymo", "validation", NAME, Scene(**HAND, images=True))
    done = prepare(haskd, tmp_path / "waymo", tmp_path / "cache", "--split", "val")
    assert done.returncode == 0, done.stderr
    cache = Cache.open(tmp_path / "cache")
    # The frame between has no labels
    assert len(cache) == 2 and cache.taxonomy.names == CLASSES
    for row, frame in zip(cache.sweeps, (0, 2)):
        assert row.recording == NAME
        assert row.stamp_ns == (START_US + frame * 100_000) * 1000
        # Ahead is the world's y; the LiDAR is 1.5 m before the vehicle's origin and 2 m above
        place = np.array(row.T_world_lidar)[:3, 3]
        assert np.abs(place - [5000, 3000 + 2 * frame + 1.5, 32]).max() < 1e-6
    assert [image.camera for image in cache.images] == ["front"] * 2
    late = [image.stamp_ns / 1000 - START_US for image in cache.images]
    assert late == pytest.approx([50_000, 250_000], abs=1)
    for number in range(2):
        sweep, image = cache.sweep(number), cache.images[number]
        # First returns row by row, then second ones: nothing, car, road; building
        assert sweep.label.tolist() == [255, 0, 17, 13]
        # The middle one of five columns looks straight ahead, the one before it 72 degrees to the
        # left. That pixel was measured with the vehicle turned by 0.1 about its own origin
        x, y = 15 * np.cos(0.4 * np.pi) + 1.5, 15 * np.sin(0.4 * np.pi)
        turned = [x * np.cos(0.1) - y * np.sin(0.1), x * np.sin(0.1) + y * np.cos(0.1)]
        assert np.abs(sweep.points[0, :3] - [turned[0] - 1.5, turned[1], 0]).max() < 1e-4
        assert np.abs(sweep.points[1, :3] - [10, 0, 0]).max() < 1e-4
        # sin = -0.6, cos = 0.8, and 0.5 m further ahead
        assert np.abs(sweep.points[2, :3] - [5 * 0.8 + 0.5, 0, -5 * 0.6]).max() < 1e-4
        x, y = 20 * np.cos(0.4 * np.pi) + 1.5, 20 * np.sin(0.4 * np.pi)
        turned = [x * np.cos(0.1) - y * np.sin(0.1), x * np.sin(0.1) + y * np.cos(0.1)]
        assert np.abs(sweep.points[3, :3] - [turned[0] - 1.5, turned[1], 0]).max() < 1e-4
        assert sweep.points[:, 3].tolist() == [0.125, 0.5, 0.25, 2]
        # The car is 10 m before and 0.2 m above the camera, 9 m when the image was taken: half a
        # pixel less than c_u and c_v, for Waymo's count from the image's edge
        seen = project(sweep.points, cache.t_camera_lidar(number, number), image.camera_model)
        up = 0.2 / 9
        radial = 1 + 0.01 * up**2 - 0.02 * up**4
        # Tangential: x gets p2 r^2, y gets 3 p1 r^2, where x = 0
        u = 96 + 100 * -0.002 * up**2
        v = 64 + 100 * (-up * radial + 0.001 * 3 * up**2)
        assert np.abs(seen.pixels[1] - [u, v]).max() < 1e-3
        assert (image.D, image.width, image.height) == (
            [0.01, -0.02, 0.001, -0.002, 0.03], 192, 128
        )  # fmt: skip
    assert np.abs(cache.image(1).astype(int) - 80).max() <= 2


def test_points_say_which_return_they_are(tmp_path):
    write_segment(tmp_path, "training", NAME)
    (drive,) = READER.open_drives(tmp_path, [NAME])
    first, _ = drive.iterate()
    channels = first.points().channels
    assert channels["echo"].tolist() == [0, 0, 0, 1] and channels["echo"].dtype == np.uint8
    assert drive.images == 0 and first.images == ()


def test_rows_of_a_lidar_without_inclinations_are_equally_far_apart():
    # Four rows between -1.5 and 0.5: the middles of fourths of 0.5 rad, from the highest
    assert uniform_inclinations(-1.5, 0.5, 4).tolist() == [0.25, -0.25, -0.75, -1.25]


def test_the_test_split_has_the_frames_that_the_benchmark_asks_for(tmp_path):
    write_segment(tmp_path, "testing", NAME)
    with pytest.raises(InputError, match="3d_semseg_test_set_frames"):
        READER.open_drives(tmp_path, READER.names(tmp_path, "test"))
    text = tmp_path / "3d_semseg_test_set_frames.txt"
    text.write_text(f"{NAME},{START_US + 100_000}\nanother,{START_US}\n")
    (drive,) = READER.open_drives(tmp_path, READER.names(tmp_path, "test"))
    (frame,) = drive.iterate()
    assert (drive.labelled, frame.name, frame.raw_labels) == (False, str(START_US + 100_000), None)
    assert len(frame.points().xyz_intensity) == 4
    text.write_text(f"{NAME},{START_US + 1}\n")
    with pytest.raises(InputError, match=r"lidar/.*parquet lacks 1 of 1 frames"):
        READER.open_drives(tmp_path, [NAME])
    text.write_text(NAME)
    with pytest.raises(InputError, match="line 1: wanted is a segment, a comma, and a time"):
        READER.open_drives(tmp_path, [NAME])


def test_all_that_a_download_lacks_is_told_at_once_and_nothing_is_written(haskd, tmp_path):
    root = tmp_path / "waymo"
    for number in range(6):
        write_segment(root, "training", f"{number}_0_20", Scene(**HAND, images=number == 0))
    training = root / "training"
    for number in (0, 1, 2, 4):
        (training / f"lidar/{number}_0_20.parquet").unlink()
    (training / "lidar_segmentation/5_0_20.parquet").unlink()
    file = training / "lidar_pose/3_0_20.parquet"
    os.truncate(file, file.stat().st_size - 10)
    os.truncate(training / "vehicle_pose/3_0_20.parquet", 0)
    done = prepare(haskd, root, tmp_path / "cache", "--split", "train")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    for line in (
        "training/lidar lacks 4 of 6: 0_0_20.parquet, 1_0_20.parquet, 2_0_20.parquet and 1 more;",
        "training/lidar_segmentation lacks 1 of 6: 5_0_20.parquet;",
        "training/lidar_pose: cut off: 3_0_20.parquet;",
        "training/vehicle_pose: cut off: 3_0_20.parquet;",
        # There is a folder of images
        "training/camera_image lacks 5 of 6: 1_0_20.parquet,",
        "Expected is training, validation and testing",
    ):
        assert line in said, line
    assert not (tmp_path / "cache").exists()
    done = prepare(haskd, root, tmp_path / "cache", "--split", "val")
    assert done.returncode == 2 and "has no segments" in done.stderr


def test_files_that_do_not_belong_together_stop_with_the_file(tmp_path):
    scene = write_segment(tmp_path, "training", "a")
    other = write_segment(tmp_path, "training", "b", Scene(**HAND, frames=1))
    shutil.copy(other.written["lidar_pose"], scene.written["lidar_pose"])
    with pytest.raises(InputError, match=r"lidar_pose/a\.parquet holds another segment: b"):
        READER.open_drives(tmp_path, ["a"])
    shutil.copy(other.written["lidar"], other.written["lidar_pose"])
    with pytest.raises(InputError, match=r"lacks the column \[LiDARPoseComponent\]"):
        next(READER.open_drives(tmp_path, ["b"])[0].iterate())

    def narrow(number: int) -> Sweep:
        sweep = by_hand(number)
        return replace(sweep, classes=sweep.classes[:, :, :4])

    write_segment(tmp_path, "training", "c", Scene(HAND["inclinations"], narrow, frames=1))
    (drive,) = READER.open_drives(tmp_path, ["c"])
    (frame,) = drive.iterate()
    with pytest.raises(InputError, match=r"labels for an image of \(2, 4\), the range image is"):
        frame.raw_labels()
    write_segment(tmp_path, "training", "d", Scene(np.zeros(3), by_hand, frames=1))
    (drive,) = READER.open_drives(tmp_path, ["d"])
    with pytest.raises(InputError, match="a LiDAR of 3 rows"):
        next(drive.iterate()).points()


@pytest.mark.parametrize("row_group", [1, 3, 1000])
def test_rows_are_the_same_in_any_order_and_from_several_threads(tmp_path, row_group):
    scene = Scene(**HAND, frames=12, row_group=row_group)
    file = write_segment(tmp_path, "training", NAME, scene).written["lidar"]
    columns = [TIME[0], LASER[0], "[LiDARComponent].range_image_return1.values"]
    rows = ParquetRows(file, columns, range(24))
    random = np.random.default_rng(1)
    wrong: list[int] = []

    def read(numbers: list[int]) -> None:
        for number in numbers:
            row = rows.row(number)
            expected = (START_US + number // 2 * 100_000, 2 - number % 2)
            if (row[TIME[0]], row[LASER[0]]) != expected:
                wrong.append(number)
            wrong.extend([number] if len(row[columns[2]]) != (48, 40)[number % 2] else [])

    orders = [list(range(24)), list(range(23, -1, -1)), random.permutation(24).tolist()]
    threads = [threading.Thread(target=read, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    with pytest.raises(InputError, match="lacks the column no"):
        ParquetRows(file, [SEGMENT[0], "no"], ())


def test_three_commands_lead_to_the_benchmark_s_number(haskd, tmp_path):
    root = tmp_path / "waymo"
    write_segment(root, "training", "a_0_20", Scene(**STREET, frames=8))
    scene = Scene(STREET["inclinations"], partial(street, seed=100), frames=3)
    write_segment(root, "validation", "b_0_20", scene)
    for split in ("train", "val"):
        done = prepare(haskd, root, tmp_path / split, "--split", split)
        assert done.returncode == 0, done.stderr
    trained = haskd(
        "baseline", tmp_path / "train", "--out", tmp_path / "run", "--set", "voxel_size=0.5",
        "--set", "loop.epochs=2", "--set", "loop.device=cpu",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    model = tmp_path / "run/model.safetensors"
    done = haskd(
        "evaluate", model, tmp_path / "val", "--protocol", "waymo", "--device", "cpu",
        "--out", tmp_path / "scores",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "scores/evaluation.json").read_text())["protocol"]
    assert found["sweeps"] == {"b_0_20": 3} and found["is_whole_split"] is False
    segmenter, cache = Segmenter.load(model, device="cpu"), Cache.open(tmp_path / "val")
    iou = []
    true, said = [], []
    for number in range(3):
        sweep = scene.sweep(number)
        valid = sweep.ranges[..., 0] > 0
        true.append(np.concatenate([sweep.classes[echo][valid[echo]] for echo in (0, 1)]))
        said.append(label_as_robot(segmenter, cache, number).class_id.astype(int) + 1)
    true, said = np.concatenate(true), np.concatenate(said)
    for class_id in range(1, 23):
        both = ((true == class_id) & (said == class_id)).sum()
        either = ((true == class_id) | (said == class_id))[true > 0].sum()
        iou.append(both / either if either else 1.0)
    assert 1.0 in iou and max(value for value in iou if value < 1) > 0
    assert np.abs(np.array(list(found["iou"].values())) - iou).max() < 1e-9
    assert abs(found["miou"] - np.mean(iou)) < 1e-9

    done = haskd("submit", model, root, "--protocol", "waymo", "--out", tmp_path / "submission")
    assert done.returncode == 2 and "no submission is written for Waymo" in done.stderr
