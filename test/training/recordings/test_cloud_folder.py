"""A folder of clouds is a recording: its order, times, poses, labels and images, by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from cloud_scenes import coordinates

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.prepare import PrepareConfig, prepare
from haskd_training.recordings.cloud_files.folder import CloudFolder
from haskd_training.recordings.readers.bag import open_bag, stamp_ns

ROAD, CAR = 40, 10  # raw ids of the semantickitti label map

# A camera at the LiDAR's origin that looks along its x: camera x = -y, y = -z, z = x of the LiDAR
TR = "0 -1 0 0  0 0 -1 0  1 0 0 0"
# f = 100 px, centre (60, 40); image_2 stands 0.5 m to the right of camera 0: P[0, 3] = -100 x 0.5
P2 = "100 0 60 -50  0 100 40 0  0 0 1 0"


def kitti(folder: Path, count: int = 3, first: int = 0) -> Path:
    """A drive of `count` clouds of three points, 2 m forward each time."""
    root = folder / "00"
    for name in ("velodyne", "labels", "image_2"):
        (root / name).mkdir(parents=True)
    for k in range(count):
        stem = f"{first + k:06d}"
        points = np.array([[10, 0, -1.5, 0.5], [20, 4, 0, 0.25], [5, -1, 1, 1]], "<f4")
        points.tofile(root / "velodyne" / f"{stem}.bin")
        # A car of instance 7, a road without
        np.array([CAR + (7 << 16), ROAD, ROAD], "<u4").tofile(root / "labels" / f"{stem}.label")
        cv2.imwrite(str(root / "image_2" / f"{stem}.png"), np.full((80, 120, 3), 50 * k, np.uint8))
    frames = range(first + count)
    (root / "times.txt").write_text("".join(f"{0.25 * k:e}\n" for k in frames))
    # In camera 0's frame ahead is z
    (root / "poses.txt").write_text("".join(f"1 0 0 0 0 1 0 0 0 0 1 {2 * k}\n" for k in frames))
    (root / "calib.txt").write_text(f"P0: {P2}\nP2: {P2}\nTr: {TR}\n")
    return root


def test_kitti_s_layout_becomes_a_cache_with_labels_poses_and_cameras(tmp_path):
    report = prepare([kitti(tmp_path)], "semantickitti", tmp_path / "cache", PrepareConfig())
    assert report.sweeps == 3
    cache = Cache.open(tmp_path / "cache")
    names = cache.taxonomy.names
    for k, row in enumerate(cache.sweeps):
        # times.txt counts from 0, which is no stamp: 1 s later
        assert row.stamp_ns == 1_000_000_000 + k * 250_000_000
        assert row.class_counts[names.index("car")] == 1
        assert row.class_counts[names.index("road")] == 2
        # 2 m forward in the camera's frame is 2 m along the LiDAR's x
        assert np.allclose(np.array(row.T_world_lidar)[:3, 3], [2 * k, 0, 0])
    sweep = cache.sweep(1)
    assert sweep.points[:, 3].tolist() == [0.5, 0.25, 1.0]
    (first, *_) = cache.images
    assert (first.camera, first.width, first.height) == ("image_2", 120, 80)
    assert np.array_equal(first.K, [[100, 0, 60], [0, 100, 40], [0, 0, 1]])
    # (20, 4, 0) of the LiDAR: camera 0 sees (-4, 0, 20), image_2 (-4.5, 0, 20), at
    # u = 60 - 100 x 4.5 / 20 = 37.5, v = 40
    x, y, z = (np.array(first.T_camera_lidar) @ [20, 4, 0, 1])[:3]
    assert np.allclose([60 + 100 * x / z, 40 + 100 * y / z], [37.5, 40])


def test_the_velodyne_folder_itself_is_the_same_recording(tmp_path):
    root = kitti(tmp_path)
    with open_bag(root) as whole, open_bag(root / "velodyne") as inner:
        assert whole.topics == inner.topics
        for (topic, message), (_, same) in zip(
            whole.messages(list(whole.topics)), inner.messages(list(inner.topics)), strict=True
        ):
            if topic == "/points":
                assert read_points(message).tolist() == read_points(same).tolist()


def test_a_part_of_a_drive_has_the_lines_of_its_own_frames(tmp_path):
    folder = CloudFolder(kitti(tmp_path, count=2, first=5))
    # Frames 5 and 6: 1.25 and 1.5 s, 10 and 12 m; such times are above 1 s as they are
    assert folder.stamps_ns == [1_250_000_000, 1_500_000_000]
    assert np.allclose(folder.poses[:, :3, 3], [[10, 0, 0], [12, 0, 0]])


def test_a_plain_folder_is_in_natural_order_and_takes_times_from_names(tmp_path):
    for name in ("10", "9", "101"):
        np.save(tmp_path / f"{name}.npy", coordinates())
    (tmp_path / "notes.txt").write_text("not a cloud")
    folder = CloudFolder(tmp_path)
    assert folder.names == ["9", "10", "101"]
    assert folder.stamps_ns == [1_000_000_000, 1_100_000_000, 1_200_000_000]
    assert folder.poses is None and folder.cameras == []


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("1532402927647951", "1532402927747951"), 1532402927647951000),  # µs
        (("n015__LIDAR_TOP__1532402927647951", "n015__LIDAR_TOP__1532402928647951"),
         1532402927647951000),
        (("1600000000.25", "1600000000.5"), 1600000000250000000),  # s
        (("1600000000250000001", "1600000000350000001"), 1600000000250000001),  # ns
        (("1600000000250", "1600000000350"), 1600000000250000000),  # ms
    ],
)  # fmt: skip
def test_times_in_names_are_understood_by_their_digits(tmp_path, names, first):
    for name in names:
        coordinates().tofile(tmp_path / f"{name}.pcd.bin")
        np.zeros(20, "f4").tofile(tmp_path / f"{name}.pcd.bin")
    folder = CloudFolder(tmp_path)
    assert folder.stamps_ns[0] == first and folder.names == list(names)


def test_a_cloud_without_a_label_file_is_unlabelled_and_a_wrong_count_is_named(tmp_path):
    root = kitti(tmp_path)
    (root / "labels" / "000001.label").unlink()
    with open_bag(root) as bag:
        clouds = [message for _, message in bag.messages(["/points"])]
    assert [stamp_ns(cloud) for cloud in clouds] == [10**9, 125 * 10**7, 15 * 10**8]
    assert read_points(clouds[0])["label"].tolist() == [CAR, ROAD, ROAD]
    assert np.isnan(read_points(clouds[1])["label"]).all()
    with open_bag(root) as bag:
        (found,) = bag.findings
    assert str(found) == f"{root / 'labels'}: 1 of 3 clouds have no label file: 000001.label"
    (root / "labels" / "000000.label").write_bytes(bytes(8))
    with pytest.raises(InputError, match=r"000000\.label has labels of 2 points, the cloud .* 3"):
        prepare([root], "semantickitti", tmp_path / "cache", PrepareConfig())
    assert not (tmp_path / "cache").exists()


def test_labels_of_another_kind_are_pointed_at(tmp_path):
    root = kitti(tmp_path)
    for file in (root / "labels").iterdir():
        file.rename(file.with_name(f"{file.stem}_lidarseg.bin"))
    folder = CloudFolder(root)
    assert "label" not in folder.cloud(0).dtype.names
    (found,) = folder.findings()
    assert found.is_warning and "prepare.label_folder reads other kinds" in str(found)


def test_files_beside_the_clouds_that_do_not_fit_are_named(tmp_path):
    root = kitti(tmp_path)
    (root / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(InputError, match=r"poses\.txt has 1 lines, there are 3 clouds"):
        CloudFolder(root).poses  # noqa: B018
    (root / "times.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"times\.txt is no table of numbers"):
        CloudFolder(root).stamps_ns  # noqa: B018
    (root / "times.txt").unlink()
    (root / "poses.txt").unlink()
    (root / "velodyne" / "000001.bin").write_bytes(bytes(17))
    with pytest.raises(InputError, match=r"000001\.bin is cut off"), open_bag(root) as bag:
        list(bag.messages(["/points"]))
