"""Labels of a sweep, and the label maps that ship."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from haskd_ros.clouds.pointcloud import create_cloud
from haskd_ros.errors import InputError
from haskd_training.recordings.label_names import CloudTime
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


def clouds(count: int = 3, start_ns: int = STAMP) -> Callable[[], list[CloudTime]]:
    """At 10 Hz, each recorded 7 ms after its stamp."""
    stamps = [start_ns + 100_000_000 * number for number in range(count)]
    return lambda: [CloudTime(stamp, stamp + 7_000_000) for stamp in stamps]


CLASSES = (
    "road", "road_marking", "sidewalk", "building", "vegetation", "car", "large_vehicle",
    "two_wheeler", "person", "traffic_object", "other_static",
)  # fmt: skip


def cloud_with(name: str, values: list[float], dtype: str, x: float | list[float] = 1.0) -> object:
    points = np.zeros(len(values), [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), (name, dtype)])
    points["x"] = x
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


def test_a_label_field_of_several_values_a_point_is_refused() -> None:
    cloud = cloud_with("label", [13, 41, 0], "u1")
    field = next(field for field in cloud.fields if field.name == "label")
    field.count = 2
    with pytest.raises(InputError, match="'label' holds 2 values a point, not one"):
        FieldLabels(load_label_map("pandaset")).of(cloud, 0, STAMP)


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
    labels = FolderLabels(load_label_map("semantickitti"), tmp_path, "drive", clouds())
    assert labels.of(CLOUD, 0, STAMP).tolist() == [5, 0, 255]
    assert labels.of(CLOUD, 2, STAMP).tolist() == [5, 1, 9]
    assert labels.of(CLOUD, 1, STAMP).tolist() == [255, 255, 255]


def test_label_files_named_by_stamp_belong_to_the_sweep_of_that_stamp(tmp_path: Path) -> None:
    # Half a millisecond is rounding, two milliseconds are another sweep.
    write_labels(tmp_path, str(STAMP + 500_000), [10, 40, 0])
    write_labels(tmp_path, str(STAMP + 102_000_000), [60, 60, 60])
    write_labels(tmp_path, str(STAMP + 200_000_000), [50, 50, 50])
    labels = FolderLabels(load_label_map("semantickitti"), tmp_path, "drive", clouds())
    assert labels.of(CLOUD, 0, STAMP).tolist() == [5, 0, 255]
    assert labels.of(CLOUD, 2, STAMP).tolist() == [3, 3, 3]
    assert labels.of(CLOUD, 1, STAMP).tolist() == [255, 255, 255]
    assert [str(finding).split(": ", 1)[1] for finding in labels.findings()] == [
        "3 files, named by stamp in ns, for 2 clouds",
        "1 of 3 clouds have no label file, the first is cloud 1; they are not labelled",
        "1 of 3 label files belong to no cloud of the recording, the first is "
        f"{STAMP + 102_000_000}.label",
    ]


def test_each_recording_may_have_its_own_folder(tmp_path: Path) -> None:
    write_labels(tmp_path / "first", "000000", [10, 10, 10])
    write_labels(tmp_path / "second", "000000", [40, 40, 40])
    label_map = load_label_map("semantickitti")
    assert FolderLabels(label_map, tmp_path, "first", clouds()).of(CLOUD, 0, STAMP).tolist() == [
        5,
        5,
        5,
    ]
    assert FolderLabels(label_map, tmp_path, "second", clouds()).of(CLOUD, 0, STAMP).tolist() == [
        0,
        0,
        0,
    ]


def test_recordings_may_not_share_files_that_are_named_by_index(tmp_path: Path) -> None:
    label_map = replace(load_label_map("semantickitti"), folder=str(tmp_path))
    first, second, third = (("first", clouds()), ("second", clouds()), ("third", clouds()))
    write_labels(tmp_path, "000000", [10, 40, 0])
    check_folders(label_map, [first])
    with pytest.raises(InputError, match=r"2 recordings .* named by index.*as .*/first"):
        check_folders(label_map, [first, second])
    write_labels(tmp_path / "second", "000000", [10, 40, 0])
    check_folders(label_map, [first, second])
    # Of two drives of one name, from different folders
    with pytest.raises(InputError, match=r"2 recordings .*/second"):
        check_folders(label_map, [second, second])
    # A stamp tells which recording a sweep is of
    (tmp_path / "000000.label").rename(tmp_path / f"{STAMP}.label")
    check_folders(label_map, [first, third])
    check_folders(load_label_map("pandaset"), [first, second])


def test_bad_label_files_are_refused(tmp_path: Path) -> None:
    label_map = load_label_map("semantickitti")
    with pytest.raises(InputError, match="does not exist"):
        FolderLabels(label_map, tmp_path / "nowhere", "drive", clouds())
    (tmp_path / "readme.label").write_text("no number in the name")
    with pytest.raises(InputError, match=r"no files named by stamp or index .* as 000000.label"):
        FolderLabels(label_map, tmp_path, "drive", clouds())
    write_labels(tmp_path, "000000", [10, 40])
    write_labels(tmp_path, "000001", [10, 40, 999])
    write_labels(tmp_path, "000002", [10, 40, 0])
    (tmp_path / "000002.label").write_bytes(b"12345")
    labels = FolderLabels(label_map, tmp_path, "drive", clouds())
    with pytest.raises(Unusable, match="another number of points"):
        labels.of(cloud_with("ring", [1, 2, 3], "u1"), 0, STAMP)
    with pytest.raises(InputError, match=r"000001.label: .*999 \(1 points\)"):
        labels.of(cloud_with("ring", [1, 2, 3], "u1"), 1, STAMP)
    with pytest.raises(InputError, match=r"000002.label is cut off .* \(5 bytes are no multiple"):
        labels.of(CLOUD, 2, STAMP)
    assert (
        "1 label files are for another number of points: the first, 000000.label, holds 2 labels, "
        "and cloud 0 has 3 points; these clouds are left out"
    ) in str(labels.findings()[-1])


def test_files_of_which_none_belongs_to_a_cloud_are_refused(tmp_path: Path) -> None:
    for number in (100, 101):
        write_labels(tmp_path, f"{number:06d}", [10, 40, 0])
    with pytest.raises(
        InputError,
        match=r"none of its 2 files, 000100.label to 000101.label, belongs to one of the 3 clouds "
        rf"of drive, of stamps {STAMP} to {STAMP + 200_000_000} ns; name them by",
    ):
        FolderLabels(load_label_map("semantickitti"), tmp_path, "drive", clouds())


def test_label_files_of_several_kinds_are_refused(tmp_path: Path) -> None:
    write_labels(tmp_path, "000000", [10, 40, 0])
    np.save(tmp_path / "000000.npy", np.array([10, 40, 0]))
    with pytest.raises(InputError, match=r"several kinds: 1 \.label and 1 \.npy; keep one kind"):
        FolderLabels(load_label_map("semantickitti"), tmp_path, "drive", clouds())


@pytest.mark.parametrize("kind", ["bin", "npy", "float npy", "npz", "npz of one array"])
def test_masks_of_other_data_sets_are_read(tmp_path: Path, kind: str) -> None:
    # The semantickitti map: 10 is car (5), 40 road (0), 0 ignored.
    raw = np.array([10, 40, 0], np.uint8)
    if kind == "bin":
        raw.tofile(tmp_path / "000000_lidarseg.bin")
    elif kind == "npy":
        np.save(tmp_path / "000000.npy", raw.astype(np.int64)[:, None])
    elif kind == "float npy":
        np.save(tmp_path / "000000.npy", np.array([10, 40, np.nan], np.float32))
    elif kind == "npz":
        np.savez_compressed(tmp_path / "0_panoptic.npz", data=raw, other=raw[:1])
    else:
        np.savez(tmp_path / "0.npz", labels=raw)
    labels = FolderLabels(load_label_map("semantickitti"), tmp_path, "drive", clouds(1))
    cloud = cloud_with("ring", [1, 2, 3], "u1")
    assert labels.of(cloud, 0, STAMP).tolist() == [5, 0, 255]


def test_a_panoptic_mask_holds_class_times_1000_plus_instance(tmp_path: Path) -> None:
    # 10012 and 10999 are cars (10), 40000 is road without an instance, 0 is ignored.
    np.savez_compressed(tmp_path / "0.npz", data=np.array([10012, 10999, 40000, 0], np.uint16))
    labels = FolderLabels(load_label_map("semantickitti"), tmp_path, "drive", clouds(1))
    cloud = SimpleNamespace(width=4, height=1)
    assert labels.of(cloud, 0, STAMP).tolist() == [5, 5, 0, 255]
    assert "3 raw ids" in str(labels.findings()[-1])
    assert "as of 10012, which is 10" in str(labels.findings()[-1])


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04 no zip"])
def test_a_damaged_mask_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.npz").write_bytes(content)
    labels = FolderLabels(load_label_map("semantickitti"), tmp_path, "drive", clouds(1))
    with pytest.raises(InputError, match=r"0\.npz is cut off"):
        labels.of(CLOUD, 0, STAMP)


def test_a_file_without_the_lost_returns_is_matched_with_the_others(tmp_path: Path) -> None:
    """x is 1, NaN, 1, 0: the second point is NaN, the fourth lies in the sensor's origin."""
    cloud = cloud_with("ring", [0, 0, 0, 0], "u1", x=[1, np.nan, 1, 0])
    label_map = load_label_map("semantickitti")
    write_labels(tmp_path / "nan", "0", [10, 40, 50])
    labels = FolderLabels(label_map, tmp_path / "nan", "drive", clouds(1))
    assert labels.of(cloud, 0, STAMP).tolist() == [5, 255, 0, 3]
    assert labels.findings()[-1].outcome == "repaired"
    assert "1 label files leave out the points that are no returns" in str(labels.findings()[-1])
    write_labels(tmp_path / "origin", "0", [10, 40])
    labels = FolderLabels(label_map, tmp_path / "origin", "drive", clouds(1))
    assert labels.of(cloud, 0, STAMP).tolist() == [5, 255, 0, 255]


def test_a_negative_id_can_be_ignored_as_the_message_advises(tmp_path: Path) -> None:
    text = "classes:\n  - {name: a, color: [1, 2, 3], ids: [1]}\n"
    text += "  - {name: b, color: [3, 2, 1], ids: [2]}\nfield: label\n"
    path = tmp_path / "map.yaml"
    path.write_text(text)
    cloud = cloud_with("label", [1, -1, 2, -1], "<i4")
    with pytest.raises(
        InputError,
        match=r"does not name: -1 \(2 points\); give them a class or list them under 'ignore' in "
        + re.escape(str(path)),
    ):
        FieldLabels(load_label_map(path)).of(cloud, 0, STAMP)
    path.write_text(text + "ignore: [-1]\n")
    assert FieldLabels(load_label_map(path)).of(cloud, 0, STAMP).tolist() == [0, 255, 1, 255]
    path.write_text(text.replace("[2]", "[2, -1]"))
    assert FieldLabels(load_label_map(path)).of(cloud, 0, STAMP).tolist() == [0, 1, 1, 1]


def test_an_id_that_a_shipped_map_lacks_is_to_be_added_to_a_copy(tmp_path: Path) -> None:
    cloud = cloud_with("label", [13, 77, 0], "u1")
    with pytest.raises(InputError, match=r"77 \(1 points\)") as raised:
        FieldLabels(load_label_map("pandaset")).of(cloud, 0, STAMP)
    advice = str(raised.value).split("list them under 'ignore' in a copy of ")[1]
    file, rest = advice.split(", ", 1)
    assert rest == "given as --labels COPY.yaml"
    copy = tmp_path / "copy.yaml"
    copy.write_text(Path(file).read_text().replace("ignore: [", "ignore: [77, "))
    assert FieldLabels(load_label_map(copy)).of(cloud, 0, STAMP).tolist() == [5, 255, 255]


def test_instances_in_the_upper_bits_are_cut_off_unless_the_map_knows_the_id() -> None:
    # (5 << 16) + 10 = 327690 is instance 5 of class 10, a car; (1 << 16) + 40 = 65576 is road.
    cloud = cloud_with("label", [327690, 65576, 10, 0], "<u4")
    kitti = replace(load_label_map("semantickitti"), folder=None)
    labels = FieldLabels(kitti)
    assert labels.of(cloud, 0, STAMP).tolist() == [5, 0, 5, 255]
    (finding,) = labels.findings()
    assert finding.outcome == "repaired"
    assert "2 raw ids" in str(finding)
    assert "as of 327690, which is 10" in str(finding)
    # Where 327690 is named, it is that: person is class 8.
    ids = [(*raw, 327690) if number == 8 else raw for number, raw in enumerate(kitti.ids)]
    labels = FieldLabels(replace(kitti, ids=tuple(ids)))
    assert labels.of(cloud, 0, STAMP).tolist() == [8, 0, 5, 255]


def test_of_an_unknown_id_with_an_instance_the_class_is_named_as_missing() -> None:
    # (5 << 16) + 999 and (6 << 16) + 999
    cloud = cloud_with("label", [328679, 394215, 10], "<u4")
    with pytest.raises(InputError, match=r"does not name: 999 \(2 points\);"):
        FieldLabels(replace(load_label_map("semantickitti"), folder=None)).of(cloud, 0, STAMP)


def test_nan_labels_are_unlabelled_and_those_on_returns_are_counted() -> None:
    cloud = cloud_with("label", [13, np.nan, np.nan, 41], "<f4", x=[1, np.nan, 1, 1])
    labels = FieldLabels(load_label_map("pandaset"))
    assert labels.of(cloud, 0, STAMP).tolist() == [5, 255, 255, 3]
    assert [str(finding) for finding in labels.findings()] == [
        "label field 'label': 1 points whose label is NaN are not labelled"
    ]


def test_what_stands_on_lost_returns_does_not_matter() -> None:
    labels = FieldLabels(load_label_map("pandaset"))
    for dtype, odd in (("<f4", np.inf), ("<f4", 0.5), ("<i4", -7), ("<u2", 999)):
        cloud = cloud_with("label", [13, odd, 41], dtype, x=[1, np.nan, 1])
        assert labels.of(cloud, 0, STAMP).tolist() == [5, 255, 3]
    assert labels.findings() == []


def test_ids_that_a_float32_rounds_are_refused() -> None:
    # (400 << 16) + 13 = 26214413 is above 2^24 = 16777216, where float32 counts in twos.
    cloud = cloud_with("label", [26214413, 13], "<f4")
    with pytest.raises(InputError, match=r"26214412 is larger than float32 holds .* as uint32"):
        FieldLabels(load_label_map("pandaset")).of(cloud, 0, STAMP)
    cloud = cloud_with("label", [26214413, 13], "<f8")
    assert FieldLabels(load_label_map("pandaset")).of(cloud, 0, STAMP).tolist() == [5, 5]


def test_an_unknown_label_map_is_answered_with_those_that_ship() -> None:
    with pytest.raises(InputError, match="those that ship are pandaset, semantickitti, simulation"):
        load_label_map("nuscenes")


def test_a_maps_folder_is_relative_to_its_file(tmp_path: Path) -> None:
    text = (LABEL_MAPS / "semantickitti.yaml").read_text().replace("folder: null", "folder: labels")
    (tmp_path / "mine.yaml").write_text(text)
    assert load_label_map(tmp_path / "mine.yaml").folder == str(tmp_path / "labels")
