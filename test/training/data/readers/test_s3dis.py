"""S3DIS on files of its published form: what the reader gives, worked out by hand; what is missing,
cut off or broken is told; from the files to the benchmark's numbers, of one area and of six folds.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from s3dis_files import OBJECTS, room, write_room, write_split

from haskd_ros.errors import InputError
from haskd_ros.segmenter import Segmenter
from haskd_training.data.caches.cache import Cache
from haskd_training.data.readers.s3dis import CLASSES, READER
from haskd_training.learning.inference import label_as_robot

ROOM = "Area_1_office_2"
REPOSITORY = Path(__file__).resolve().parents[4]


def prepare(haskd, root: Path, out: Path, *options: object):
    return haskd("prepare", root, "--reader", "s3dis", "--out", out, *options)


def the_frame(root: Path, name: str = ROOM):
    (drive,) = READER.open_drives(root, [name])
    (frame,) = drive.iterate()
    return frame


def test_classes_and_splits_are_the_published_ones():
    label_map = READER.load_label_map()
    names = "ceiling floor wall beam column window door table chair sofa bookcase board clutter"
    assert " ".join(label_map.taxonomy.names) == " ".join(CLASSES) == names
    assert label_map.ids == tuple((number,) for number in range(13))
    sizes = {name: split.sweeps for name, split in READER.splits.items()}
    areas = {"area_1": 44, "area_2": 40, "area_3": 23, "area_4": 49, "area_5": 68, "area_6": 48}
    assert sizes == {"train": 204, "val": 68, **areas}
    every = READER.names(Path(), None)
    assert len(set(every)) == 272
    assert READER.names(Path(), "val") == READER.names(Path(), "area_5")
    assert {*READER.names(Path(), "train")} == {*every} - {*READER.names(Path(), "val")}
    kinds = [name.split("_")[2] for name in every]
    assert (kinds.count("office"), kinds.count("hallway"), kinds.count("WC")) == (156, 61, 11)


def test_points_stand_on_the_floor_in_the_middle_of_the_room_with_their_colours(tmp_path):
    write_room(tmp_path, ROOM)
    frame = the_frame(tmp_path)
    points, labels = frame.points(), frame.raw_labels()
    # Sorted by the files' names: chair_1, chair_2, clutter_1, floor_1, stairs_1. The box is x 10 to
    # 14, y 20 to 26; the floor is at 1: (11, 21, 1.5) stands 1 m behind, 2 m beside, 0.5 m above.
    assert np.allclose(points.xyz_intensity[0], [-1, -2, 0.5, 0], atol=2e-4)
    assert np.allclose(points.xyz_intensity[3], [1.5, 2.5, 2.125, 0], atol=2e-4)
    assert np.allclose(points.xyz_intensity[4], [-2, -3, 0, 0], atol=2e-4)
    assert points.channels["rgb"].dtype == np.uint8
    assert points.channels["rgb"][:3].tolist() == [[100, 110, 120], [255, 0, 0], [0, 255, 0]]
    # chair, clutter, floor, and stairs, which are clutter
    assert labels.tolist() == [8, 8, 8, 12, 1, 1, 1, 12]
    assert the_frame(tmp_path).raw_labels().tolist() == labels.tolist()


def test_no_point_lies_in_the_origin_where_a_return_of_nothing_would(tmp_path):
    floor = [[x, y, 0, 0, 0, 0] for x in (0, 1, 2) for y in (0, 1, 2)]
    write_room(tmp_path, ROOM, {"floor_1": floor})
    assert (the_frame(tmp_path).points().xyz_intensity != 0).any(1).all()


def test_coordinates_far_from_the_origin_keep_their_millimetres(tmp_path):
    rows = [[98765.001, -43210.002, 5, 1, 1, 1], [98765.003, -43210.007, 5, 1, 1, 1]]
    write_room(tmp_path, ROOM, {"wall_1": rows})
    points = the_frame(tmp_path).points().xyz_intensity
    assert np.allclose(points[1, :2] - points[0, :2], [0.002, -0.005], atol=1e-6)


def test_numbers_that_were_published_broken_are_read_as_they_were_meant(haskd, tmp_path):
    root = tmp_path / "s3dis"
    known = {"Area_5_hallway_6": b"185\x00187", "Area_5_office_19": b"103.0\x100000"}
    rows = ["22.350 6.692 3.048 {} 182\n", "22.350 6.692 3.048 167 12 {}\n"]
    for (name, wrong), row in zip(known.items(), rows, strict=True):
        folder = write_room(root, name, {"floor_1": OBJECTS["floor_1"]})
        lines = row.encode().replace(b"{}", wrong) + b"1 2 3 4 5 6\n"
        (folder / "ceiling_1.txt").write_bytes(lines)
    colours = the_frame(root, "Area_5_hallway_6").points().channels["rgb"]
    assert colours[:2].tolist() == [[185, 187, 182], [4, 5, 6]]
    colours = the_frame(root, "Area_5_office_19").points().channels["rgb"]
    assert colours[:2].tolist() == [[167, 12, 103], [4, 5, 6]]
    done = prepare(haskd, root, tmp_path / "cache", "--sequences", ",".join(known), "--strict")
    assert done.returncode == 0, done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert r"it has b'185\x00187', as it was published; read as 185 187" in said
    assert "read as 103.000000" in said
    # Put right, nothing is to be told
    file = root / "Area_5/hallway_6/Annotations/ceiling_1.txt"
    file.write_bytes(file.read_bytes().replace(b"\0", b" "))
    (drive,) = READER.open_drives(root, ["Area_5_hallway_6"])
    assert drive.findings == ()


@pytest.mark.parametrize(
    "line",
    [
        "1 2 3 4 5", "1 2 3 4 5 6 7", "1 2 3 4 5 x", "185\x00187 1 2 3 4", "1 2 nan 4 5 6",
        "1 2 inf 4 5 6", "1 2 3 4 5 256", "1 2 3 -1 5 6", "1 2 3\u00a04 5 6\u00e9",
    ],
)  # fmt: skip
def test_a_line_that_is_no_point_is_named(tmp_path, line):
    folder = write_room(tmp_path, ROOM)
    (folder / "wall_1.txt").write_text(f"1 2 3 4 5 6\n\n{line}\n7 8 9 1 2 3\n")
    with pytest.raises(InputError, match=r"Annotations/wall_1.txt, line 3: .*; expected are x y z"):
        the_frame(tmp_path).points()


def test_lines_may_end_as_they_do_elsewhere(tmp_path):
    folder = write_room(tmp_path, ROOM, {"wall_1": [[0, 0, 0, 0, 0, 0]]})
    (folder / "wall_1.txt").write_bytes(b"1.5 2 3 4.000000 5 6\r\n2.5 2 3 4 5 6")
    points = the_frame(tmp_path).points()
    assert points.xyz_intensity[:, 0].tolist() == [-0.5, 0.5]
    assert points.channels["rgb"].tolist() == [[4, 5, 6]] * 2


def test_all_that_a_download_lacks_is_told_at_once(haskd, tmp_path):
    root = tmp_path / "s3dis"
    write_split(root, "area_3")
    objects = {n: root / f"Area_3/office_{n}/Annotations" for n in range(1, 11)}
    objects[1].rename(root / "Area_3/office_1/annotations")
    for file in objects[2].glob("*.txt"):
        file.unlink()
    os.truncate(objects[3] / "chair_2.txt", (objects[3] / "chair_2.txt").stat().st_size - 9)
    os.truncate(objects[4] / "floor_1.txt", 0)
    (objects[5] / "wall_3 (1).txt").write_text("1 2 3 4 5 6\n")
    done = prepare(haskd, root, tmp_path / "cache", "--split", "area_3")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    for line in (
        "1 of 23 rooms are missing: Area_3_office_1;",
        "office_2/Annotations has no file of an object;",
        "office_3/Annotations: cut off, or empty: chair_2.txt;",
        "office_4/Annotations: cut off, or empty: floor_1.txt;",
        "office_5/Annotations has other files than CLASS_NUMBER.txt: wall_3 (1).txt.",
        "Expected is Area_N/ROOM/Annotations",
    ):
        assert line in said, line
    assert "office_6" not in said
    assert not (tmp_path / "cache").exists()


def test_a_whole_area_becomes_a_cache(haskd, tmp_path):
    root = tmp_path / "s3dis"
    write_split(root, "area_3")
    done = prepare(haskd, root, tmp_path / "cache", "--split", "area_3", "--strict")
    assert done.returncode == 0, done.stderr
    cache = Cache.open(tmp_path / "cache")
    assert [row.recording for row in cache.sweeps] == list(READER.names(root, "area_3"))
    assert cache.sweep(22).label.tolist() == [8, 8, 8, 12, 1, 1, 1, 12]


def test_from_the_files_to_the_numbers_of_an_area_and_of_several_folds(
    haskd, tmp_path, monkeypatch, capsys
):
    root = tmp_path / "s3dis"
    rooms = {
        1: [f"Area_1_office_{number}" for number in range(1, 6)],
        5: ["Area_5_WC_1", "Area_5_WC_2"],
    }
    made = {}
    for area, names in rooms.items():
        for number, name in enumerate(names):
            made[name] = room(10 * area + number)
            write_room(root, name, made[name])
        part = ("--sequences", ",".join(names))
        done = prepare(haskd, root, tmp_path / f"area_{area}", *part)
        assert done.returncode == 0, done.stderr
    trained = haskd(
        "baseline", tmp_path / "area_1", "--out", tmp_path / "run", "--set", "voxel_size=0.2",
        "--set", "loop.epochs=2", "--set", "loop.device=cpu", "--set", "max_range=20",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    model = tmp_path / "run/model.safetensors"
    segmenter = Segmenter.load(model, device="cpu")
    pairs = {}
    for area, names in rooms.items():
        done = haskd(
            "evaluate", model, tmp_path / f"area_{area}", "--protocol", "s3dis",
            "--device", "cpu", "--out", tmp_path / f"scores_{area}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        cache = Cache.open(tmp_path / f"area_{area}")
        said = [label_as_robot(segmenter, cache, i).class_id for i in range(len(cache))]
        true = []
        for name in names:
            for file in sorted(made[name]):
                kind = file.removesuffix("_1")
                true += [CLASSES.index(kind if kind in CLASSES else "clutter")] * len(
                    made[name][file]
                )
        pairs[area] = np.array(true), np.concatenate(said)
    found = json.loads((tmp_path / "scores_5/evaluation.json").read_text())["protocol"]
    iou, accuracy, mean_accuracy = by_hand(*pairs[5])
    assert found["iou"] == pytest.approx(dict(zip(CLASSES, iou, strict=True)), abs=1e-9)
    assert found["miou"] == pytest.approx(np.nanmean([v for v in iou if v is not None]), abs=1e-9)
    assert found["accuracy"] == pytest.approx(accuracy, abs=1e-9)
    assert found["mean_accuracy"] == pytest.approx(mean_accuracy, abs=1e-9)
    assert not found["is_whole_split"]

    # As if area 1 were five folds
    for fold in (2, 3, 4, 6):
        shutil.copytree(tmp_path / "scores_1", tmp_path / f"scores_{fold}")
    page = (REPOSITORY / "docs/datasets.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    printed = [float(number) for number in capsys.readouterr().out.split()]
    true, said = (np.concatenate([pairs[1][i]] * 5 + [pairs[5][i]]) for i in (0, 1))
    iou, accuracy, mean_accuracy = by_hand(true, said)
    expected = [np.mean([v for v in iou if v is not None]), accuracy, mean_accuracy]
    assert printed == pytest.approx(expected, abs=1e-9)


def by_hand(true: np.ndarray, said: np.ndarray) -> tuple[list[float | None], float, float]:
    """IoU of each class, None where it is neither there nor said; accuracy; mean accuracy."""
    iou, recall = [], []
    for label in range(13):
        right = int(((true == label) & (said == label)).sum())
        every = int(((true == label) | (said == label)).sum())
        iou.append(right / every if every else None)
        if (true == label).any():
            recall.append(right / int((true == label).sum()))
    return iou, float((true == said).mean()), float(np.mean(recall))
