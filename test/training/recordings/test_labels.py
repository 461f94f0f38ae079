"""Labels of a sweep, and the label maps that ship."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from haskd_ros.clouds.pointcloud import create_cloud
from haskd_ros.errors import InputError
from haskd_training.recordings.labels import (
    LABEL_MAPS,
    FieldLabels,
    FolderLabels,
    check_folders,
    load_label_map,
)
from haskd_training.recordings.readers.bag import Unusable

TYPES = get_typestore(Stores.ROS2_HUMBLE).types
STAMP = 1_600_000_000_123_456_789
CLOUD = SimpleNamespace(width=3, height=1)

CLASSES = (
    "road", "road_marking", "sidewalk", "building", "vegetation", "car", "large_vehicle",
    "two_wheeler", "person", "traffic_object", "other_static",
)  # fmt: skip


def cloud_with(name: str, values: list[float], dtype: str) -> object:
    points = np.zeros(len(values), [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), (name, dtype)])
    points[name] = values
    return create_cloud(
        None, points, TYPES["sensor_msgs/msg/PointCloud2"], TYPES["sensor_msgs/msg/PointField"]
    )


def test_every_map_that_ships_has_the_same_classes_and_colours() -> None:
    maps = {file.stem: load_label_map(file.stem) for file in LABEL_MAPS.glob("*.yaml")}
    assert set(maps) == {"pandaset", "simulation", "semantickitti"}
    taxonomy = maps["pandaset"].taxonomy
    assert taxonomy.names == CLASSES
    assert [info.name for info in taxonomy.classes if info.movable] == [
        "car", "large_vehicle", "two_wheeler", "person"
    ]  # fmt: skip
    for label_map in maps.values():
        assert label_map.taxonomy == taxonomy


def test_colours_can_be_told_apart() -> None:
    table = load_label_map("pandaset").taxonomy.color_table()[[*range(len(CLASSES)), 255]]
    distances = np.linalg.norm(table[:, None].astype(float) - table[None], axis=-1)
    assert distances[~np.eye(len(table), dtype=bool)].min() > 60


def test_the_real_bags_grouping_names_every_id_of_the_source() -> None:
    label_map = load_label_map("pandaset")
    named = sorted([*(raw for ids in label_map.ids for raw in ids), *label_map.ignored])
    assert named == list(range(43))


def test_the_simulations_ids_are_the_classes_plus_one() -> None:
    assert load_label_map("simulation").apply(np.arange(12)).tolist() == [255, *range(11)]


def test_labels_come_from_the_field_of_the_map() -> None:
    labels = FieldLabels(load_label_map("pandaset"))
    cloud = cloud_with("label", [13, 41, 0], "u1")
    assert labels.of(cloud, 0, STAMP).tolist() == [5, 3, 255]
    assert labels.of(cloud_with("label", [13, 41, 0], "<f4"), 0, STAMP).tolist() == [5, 3, 255]


def test_a_cloud_without_the_label_field_is_answered_with_its_fields() -> None:
    labels = FieldLabels(load_label_map("pandaset"))
    with pytest.raises(InputError, match="no label field 'label'; its fields are x, y, z, ring"):
        labels.of(cloud_with("ring", [1, 2, 3], "<u2"), 0, STAMP)


def test_labels_that_are_not_whole_numbers_are_refused() -> None:
    labels = FieldLabels(load_label_map("pandaset"))
    with pytest.raises(InputError, match="aren't whole numbers"):
        labels.of(cloud_with("label", [0.5, 41, 0], "<f4"), 0, STAMP)


def write_labels(folder: Path, name: str, semantic: list[int], instance: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (np.array(semantic, "<u4") | instance << 16).astype("<u4").tofile(folder / f"{name}.label")


def test_semantickitti_files_belong_to_sweeps_by_index(tmp_path: Path) -> None:
    write_labels(tmp_path, "000000", [10, 40, 0], instance=7)
    write_labels(tmp_path, "000002", [252, 60, 81])
    labels = FolderLabels(load_label_map("semantickitti"), tmp_path, "drive")
    assert labels.of(CLOUD, 0, STAMP).tolist() == [5, 0, 255]
    assert labels.of(CLOUD, 2, STAMP).tolist() == [5, 1, 9]
    with pytest.raises(Unusable, match="no label file"):
        labels.of(CLOUD, 1, STAMP)


def test_label_files_named_by_stamp_belong_to_the_sweep_of_that_stamp(tmp_path: Path) -> None:
    write_labels(tmp_path, str(STAMP), [10, 40, 0])
    write_labels(tmp_path, str(STAMP + 100_000_000), [50, 50, 50])
    labels = FolderLabels(load_label_map("semantickitti"), tmp_path, "drive")
    # Half a millisecond is rounding, two milliseconds are another sweep.
    assert labels.of(CLOUD, 9, STAMP + 500_000).tolist() == [5, 0, 255]
    assert labels.of(CLOUD, 9, STAMP + 100_000_000).tolist() == [3, 3, 3]
    with pytest.raises(Unusable, match="no label file"):
        labels.of(CLOUD, 0, STAMP + 2_000_000)


def test_each_recording_may_have_its_own_folder(tmp_path: Path) -> None:
    write_labels(tmp_path / "first", "000000", [10, 10, 10])
    write_labels(tmp_path / "second", "000000", [40, 40, 40])
    label_map = load_label_map("semantickitti")
    assert FolderLabels(label_map, tmp_path, "first").of(CLOUD, 0, STAMP).tolist() == [5, 5, 5]
    assert FolderLabels(label_map, tmp_path, "second").of(CLOUD, 0, STAMP).tolist() == [0, 0, 0]


def test_recordings_may_not_share_files_that_are_named_by_index(tmp_path: Path) -> None:
    label_map = replace(load_label_map("semantickitti"), folder=str(tmp_path))
    write_labels(tmp_path, "000000", [10, 40, 0])
    check_folders(label_map, ["first"])
    with pytest.raises(InputError, match=r"2 recordings .* named by sweep index.*as .*/first"):
        check_folders(label_map, ["first", "second"])
    write_labels(tmp_path / "second", "000000", [10, 40, 0])
    check_folders(label_map, ["first", "second"])
    # Of two drives of one name, from different folders
    with pytest.raises(InputError, match=r"2 recordings .*/second"):
        check_folders(label_map, ["second", "second"])
    # A stamp tells which recording a sweep is of
    (tmp_path / "000000.label").rename(tmp_path / f"{STAMP}.label")
    check_folders(label_map, ["first", "third"])
    check_folders(load_label_map("pandaset"), ["first", "second"])


def test_bad_label_files_are_refused(tmp_path: Path) -> None:
    label_map = load_label_map("semantickitti")
    with pytest.raises(InputError, match="does not exist"):
        FolderLabels(label_map, tmp_path / "nowhere", "drive")
    with pytest.raises(InputError, match=r"no files named STAMP_NS.label or INDEX.label"):
        FolderLabels(label_map, tmp_path, "drive")
    write_labels(tmp_path, "000000", [10, 40])
    write_labels(tmp_path, "000001", [10, 40, 999])
    labels = FolderLabels(label_map, tmp_path, "drive")
    with pytest.raises(Unusable, match="another number of points"):
        labels.of(CLOUD, 0, STAMP)
    with pytest.raises(InputError, match=r"000001.label: .*999 \(1 points\)"):
        labels.of(CLOUD, 1, STAMP)


def test_an_unknown_label_map_is_answered_with_those_that_ship() -> None:
    with pytest.raises(InputError, match="those that ship are pandaset, semantickitti, simulation"):
        load_label_map("nuscenes")


def test_a_maps_folder_is_relative_to_its_file(tmp_path: Path) -> None:
    text = (LABEL_MAPS / "semantickitti.yaml").read_text().replace("folder: null", "folder: labels")
    (tmp_path / "mine.yaml").write_text(text)
    assert load_label_map(tmp_path / "mine.yaml").folder == str(tmp_path / "labels")
