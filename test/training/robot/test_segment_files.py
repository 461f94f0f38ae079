"""Single clouds and folders of them, labelled from the command line as a user would."""

from __future__ import annotations

import sys
from pathlib import Path

import laspy
import numpy as np
import open3d as o3d
import pytest
import yard
from cloud_scenes import write_pcd
from several_sweeps import several_sweep_model

from haskd_ros.errors import InputError
from haskd_ros.segmenter import Segmenter
from haskd_training.commands.app import main
from haskd_training.core.checked_json import write_json
from haskd_training.data.preparing.prepare import PrepareConfig, prepare
from haskd_training.experiments.evaluate import evaluate_model
from haskd_training.recordings.cloud_files import formats
from haskd_training.recordings.cloud_files.sensor_frame import SensorFrame, parse_origin
from haskd_training.recordings.readers.bag import open_bag
from haskd_training.robot.offline.export_labels import export_labels
from haskd_training.robot.offline.segment_files import segment_files
from small_street import street


def street_points(index: int = 0) -> np.ndarray:
    """[N, 4] float32 x y z intensity of a street in the sensor frame."""
    points = street(index, 100)
    return np.stack([points[name] for name in ("x", "y", "z", "intensity")], axis=1)


def expected(model: Path, points: np.ndarray) -> np.ndarray:
    """What the network says of points [N, 4]: class ids [N]."""
    return Segmenter.load(model, device="cpu")(points).class_id


def all_right(model: Path, cache: Path) -> bool:
    """Whether every labelled point of a cache has the class that the model gives it."""
    # By true class and predicted class
    counts = evaluate_model(model, cache, None, "cpu").counts
    right = sum(counts[k, k] for k in range(len(counts)))
    return bool(right == counts.sum() > 100)


def haskd(monkeypatch, capsys, *arguments: object) -> tuple[int, str]:
    """Exit code, and what it says."""
    monkeypatch.setattr(sys, "argv", ["haskd", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), "".join(capsys.readouterr())


def write_ply(path: Path, points: np.ndarray, kind: str = "f4") -> None:
    cloud = o3d.t.geometry.PointCloud(o3d.core.Tensor(points[:, :3].astype(kind)))
    cloud.point["intensity"] = o3d.core.Tensor(points[:, 3:].astype("f4"))
    o3d.t.io.write_point_cloud(str(path), cloud)


def test_a_file_gets_the_labels_that_the_network_gives_its_points(
    tiny_model, tmp_path, monkeypatch, capsys
):
    points = street_points()
    write_ply(tmp_path / "a.ply", points)
    out = tmp_path / "b.ply"
    code, said = haskd(monkeypatch, capsys, "segment", tiny_model, tmp_path / "a.ply", "--out", out)
    assert code == 0, said
    read = o3d.t.io.read_point_cloud(str(out))
    assert np.array_equal(read.point["positions"].numpy(), points[:, :3])
    assert np.array_equal(read.point["class_id"].numpy()[:, 0], expected(tiny_model, points))
    colors = Segmenter.load(tiny_model, device="cpu").taxonomy.color_table()
    assert np.array_equal(
        read.point["colors"].numpy(), colors[read.point["class_id"].numpy()[:, 0]]
    )
    content = out.read_bytes()
    code, said = haskd(monkeypatch, capsys, "segment", tiny_model, tmp_path / "a.ply", "--out", out)
    assert code == 2 and "exists already; nothing is overwritten" in said
    assert out.read_bytes() == content and len(list(tmp_path.iterdir())) == 2


# Where a street's point is in the file: from x ahead, y left, z up of the sensor
FRAMES = [
    # z = 0 is the ground, 2 m below the sensor
    (SensorFrame(sensor_height=2.0), lambda x, y, z: (x, y, z + 2)),
    # A camera's axes: x to the right, y down, z ahead
    (SensorFrame(up="-y", forward="z"), lambda x, y, z: (-y, -z, x)),
    # y up, x to the right, -z ahead, as graphics have it; the ground at 0
    (SensorFrame("y", "-z", 2.0), lambda x, y, z: (-y, z + 2, -x)),
    # A map's coordinates of the sensor
    (
        SensorFrame(origin=(431_200.5, 5_411_926.25, 310.0)),
        lambda x, y, z: (x + 431_200.5, y + 5_411_926.25, z + 310.0),
    ),
]


@pytest.mark.parametrize(("frame", "in_file"), FRAMES, ids=["ground", "camera", "y up", "map"])
def test_only_what_the_network_sees_is_turned(tiny_model, tmp_path, frame, in_file):
    points = street_points().astype("f8")
    # Multiples of 1/256 m, which float64 moves to a map's coordinates and back without rounding
    points[:, :3] = np.round(points[:, :3] * 256) / 256
    x, y, z = in_file(*points[:, :3].T)
    rows = np.stack([x, y, z, points[:, 3]], axis=1)
    np.save(tmp_path / "a.npy", rows)
    found = segment_files(
        tiny_model, tmp_path / "a.npy", tmp_path / "b.npz", frame=frame, device="cpu"
    )
    assert (found.labelled, found.beyond_range) == (1, 0)
    with np.load(tmp_path / "b.npz") as out:
        assert np.array_equal(out["points"], rows)
        assert np.array_equal(out["class_id"], expected(tiny_model, points.astype("f4")))
        assert len(set(out["class_id"].tolist()) - {255}) > 1


def test_the_centre_of_a_scan_stands_for_a_sensor_that_nobody_knows():
    points = np.zeros(201, [("x", "f8"), ("y", "f8"), ("z", "f8")])
    points["x"] = 431_000 + np.arange(201)  # the middle is 431,100
    points["y"] = 5e6
    points["z"] = 300 + np.arange(201) / 100  # 1 % of them are below 300.02
    frame = SensorFrame(sensor_height=1.8, origin=parse_origin("center"))
    moved = frame.in_sensor_frame(points)
    assert moved[100, :2].tolist() == [0, 0]
    # 300 - 300.02 - 1.8
    assert moved[0, 2] == pytest.approx(-1.82)


def test_a_cloud_beyond_the_range_is_written_and_said(tiny_model, tmp_path, monkeypatch, capsys):
    las = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    las.header.offsets = [431_000, 5e6, 0]
    x, y, z, _ = street_points().T.astype("f8")
    las.x, las.y, las.z = x + 431_000, y + 5e6, z
    las.write(str(tmp_path / "a.laz"))
    arguments = ["segment", tiny_model, tmp_path / "a.laz"]
    code, said = haskd(monkeypatch, capsys, *arguments, "--out", tmp_path / "b.laz")
    said = " ".join(said.split())
    assert code == 0 and "0 clouds labelled" in said
    assert "every point is beyond the range of" in said and "--origin X,Y,Z" in said
    assert set(np.array(laspy.read(tmp_path / "b.laz")["class_id"])) == {255}
    arguments += ["--out", tmp_path / "c.laz", "--origin", "431000,5000000,0"]
    code, said = haskd(monkeypatch, capsys, *arguments)
    assert code == 0 and "1 clouds labelled" in said
    labelled = laspy.read(tmp_path / "c.laz")
    assert np.array_equal(labelled.X, las.X)
    assert set(np.array(labelled.classification)) - {255} <= {0, 1, 2}
    assert (np.array(labelled["class_id"]) != 255).any()


def test_strict_refuses_a_cloud_beyond_the_range_and_leaves_nothing(
    tiny_model, tmp_path, monkeypatch, capsys
):
    points = street_points() + np.float32([1000, 0, 0, 0])
    np.save(tmp_path / "a.npy", points)
    arguments = ["segment", tiny_model, tmp_path / "a.npy", "--out", tmp_path / "b.npz"]
    shown = ["view", tmp_path / "a.npy", "--model", tiny_model, "--out", tmp_path / "a.png"]
    for command in (arguments, shown):
        code, said = haskd(monkeypatch, capsys, *command, "--strict")
        assert code == 2 and "every point is beyond the range" in " ".join(said.split())
        assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_folder_is_labelled_in_the_formats_that_it_has(tiny_model, tmp_path):
    folder = tmp_path / "clouds"
    folder.mkdir()
    points = [street_points(index) for index in range(3)]
    write_ply(folder / "10.ply", points[0])
    points[1].tofile(folder / "9.bin")
    # The last one is empty, which a recorder may write
    header = "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 0\nHEIGHT 1\nPOINTS 0\nDATA binary\n"
    write_pcd(folder / "11.pcd", header, b"")
    (folder / "readme.txt").write_text("no cloud")
    found = segment_files(tiny_model, folder, tmp_path / "out", device="cpu")
    assert (found.labelled, found.rejected) == (2, {"cloud of zero points": 1})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "10.ply", "11.pcd", "9.npz",
    ]  # fmt: skip
    with np.load(tmp_path / "out" / "9.npz") as out:
        assert np.array_equal(out["class_id"], expected(tiny_model, points[1]))
    (empty,) = formats.read_clouds(tmp_path / "out" / "11.pcd")
    assert len(empty) == 0 and "class_id" in empty.dtype.names


@pytest.mark.parametrize("scale", [1.0, 65535.0])
def test_intensity_is_brought_to_the_model_s_unit(tiny_model, tmp_path, scale):
    """The model learned 0 to 255; the file's goes up to 1, or to 65535 in whole numbers."""
    points = street_points()
    points[:, 3] = np.round(np.linspace(0, 255, len(points)))
    rows = points.copy()
    rows[:, 3] *= np.float32(scale / 255)
    np.save(tmp_path / "a.npy", rows)
    segment_files(tiny_model, tmp_path / "a.npy", tmp_path / "b.npz", device="cpu")
    with np.load(tmp_path / "b.npz") as out:
        same = out["class_id"] == expected(tiny_model, points)
        assert same.mean() > 0.99  # but for rounding


def test_a_bad_file_stops_a_folder_and_leaves_nothing(tiny_model, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "clouds"
    folder.mkdir()
    street_points().tofile(folder / "000000.bin")
    (folder / "000001.bin").write_bytes(bytes(15))
    arguments = ["segment", tiny_model, folder, "--out", tmp_path / "out"]
    code, said = haskd(monkeypatch, capsys, *arguments)
    assert code == 2 and "000001.bin is cut off" in " ".join(said.split())
    assert [path.name for path in tmp_path.iterdir()] == ["clouds"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "b.pcd"], "is written as .ply, b.pcd has another ending"),
        (["--out", "b.ply", "--up", "w"], "--up 'w' is no axis; allowed are x, y, z, -x, -y, -z"),
        (["--out", "b.ply", "--up", "-x"], "lie along one axis"),
        (["--out", "b.ply", "--origin", "1,2"], "is neither X,Y,Z in m"),
        (["--out", "b.ply", "--origin", "center"], "name the height of the sensor"),
        (["--out", "b.ply", "--topic", "/points"], "it has no topic /points"),
        (["--out", "b.ply", "--set", "crop.frame=map"], "a file knows no other frame"),
        (["--out", "b.ply", "--labels", "pandaset"], "add --export labels"),
        (["--out", "b", "--export", "all"], "--export all is not known; allowed is labels"),
    ],
)
def test_options_that_do_not_fit_are_answered(
    tiny_model, tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(tmp_path)
    write_ply(tmp_path / "a.ply", street_points())
    code, answer = haskd(monkeypatch, capsys, "segment", tiny_model, "a.ply", *arguments)
    assert code == 2 and said in " ".join(answer.split())
    assert [path.name for path in tmp_path.iterdir()] == ["a.ply"]


def test_an_array_without_fields_is_told_its_ending_by_its_own_name(
    tiny_model, tmp_path, monkeypatch, capsys
):
    np.save(tmp_path / "a.npy", street_points())
    arguments = ["segment", tiny_model, tmp_path / "a.npy", "--out", tmp_path / "b.npy"]
    code, answer = haskd(monkeypatch, capsys, *arguments)
    said = f"a.npy is written as .npz, {tmp_path / 'b.npy'} has another ending"
    assert code == 2 and said in " ".join(answer.split())
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_bag_is_in_the_sensor_frame(drive, tiny_model, tmp_path, monkeypatch, capsys):
    arguments = ["segment", tiny_model, drive, "--out", tmp_path / "out", "--sensor-height", 2]
    code, said = haskd(monkeypatch, capsys, *arguments)
    assert code == 2 and "is no cloud file" in said


def test_a_cloud_file_is_shown(tiny_model, tmp_path, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    points = street_points()
    points[:, 2] += 2
    write_ply(tmp_path / "a.ply", points)
    picture = tmp_path / "a.png"
    arguments = ["view", tmp_path / "a.ply", "--model", tiny_model, "--out", picture]
    code, said = haskd(monkeypatch, capsys, *arguments, "--sensor-height", "2")
    assert code == 0 and picture.stat().st_size > 10_000, said


@pytest.mark.parametrize("labels", [None, "pandaset"])
def test_exported_labels_are_the_model_s_to_the_point(drive, tiny_model, tmp_path, labels):
    """Segmented, prepared with these labels, evaluated: nothing is wrong."""
    exported = tmp_path / "exported"
    found = export_labels(tiny_model, drive, exported, labels=labels, device="cpu")
    assert found.labelled == len(list((exported / "labels").iterdir())) == 20
    prepare([drive], exported / "label_map.yaml", tmp_path / "cache", PrepareConfig(overlays=0))
    if labels is None:  # pandaset has classes that the model lacks
        assert all_right(tiny_model, tmp_path / "cache")
    raw = np.fromfile(min((exported / "labels").iterdir()), "<u4")
    with open_bag(drive) as bag:
        (topic,) = bag.topics_of("sensor_msgs/msg/PointCloud2")
        _, first = next(bag.messages([topic]))
    assert len(raw) == first.width * first.height
    # road, car, building and points without a label
    assert set(raw.tolist()) <= ({0, 1, 2, 255} if labels is None else {7, 13, 41, 0})


def test_suggested_clouds_are_labelled_by_the_sweeps_before_them(tmp_path, tiny_metadata):
    model = several_sweep_model(tmp_path / "two.safetensors", tiny_metadata)
    bag = yard.record(tmp_path, clouds=4)
    stamps = [yard.START_NS + number * yard.PERIOD_NS for number in (0, 3)]
    suggested = [{"recording": "yard", "stamp_ns": stamp} for stamp in stamps]
    write_json(tmp_path / "suggest.json", {"suggestions": suggested})
    files = []
    for out, only in (("all", None), ("some", tmp_path / "suggest.json")):
        export_labels(model, bag, tmp_path / out, only=only, device="cpu")
        files.append(
            {file.name: file.read_bytes() for file in (tmp_path / out / "labels").iterdir()}
        )
    every, some = files
    assert sorted(some) == [f"{stamp}.label" for stamp in stamps]
    assert some == {name: every[name] for name in some}


def test_labels_of_a_folder_are_named_as_its_clouds(tiny_model, tmp_path):
    folder = tmp_path / "clouds"
    folder.mkdir()
    for index, name in enumerate(("left", "right")):
        write_ply(folder / f"{name}.ply", street_points(index))
    export_labels(tiny_model, folder, tmp_path / "exported", device="cpu")
    files = sorted((tmp_path / "exported" / "labels").iterdir())
    assert [file.name for file in files] == ["left.label", "right.label"]
    raw = np.fromfile(files[1], "<u4")
    assert np.array_equal(raw, expected(tiny_model, street_points(1)))
    prepare([folder], tmp_path / "exported" / "label_map.yaml", tmp_path / "cache")
    assert all_right(tiny_model, tmp_path / "cache")


def test_a_labelled_folder_is_evaluated_as_a_recording(tiny_model, tmp_path):
    folder = tmp_path / "clouds"
    (folder / "labels").mkdir(parents=True)
    map_file = tmp_path / "map.yaml"
    map_file.write_text(
        "classes:\n- {name: road, color: [1, 2, 3], ids: [7]}\n"
        "- {name: car, color: [1, 2, 3], ids: [8]}\n"
        "- {name: building, color: [1, 2, 3], ids: [9]}\nignore: [0]\n"
    )
    points = street_points()
    points.tofile(folder / "000000.bin")
    # Half of the points have what the network says, the others something else
    classes = expected(tiny_model, points).astype("<u4")
    raw = np.where(np.arange(len(points)) % 2, 7 + classes, 7 + (classes + 1) % 3).astype("<u4")
    raw.tofile(folder / "labels" / "000000.label")
    found = evaluate_model(tiny_model, folder, None, "cpu", labels=str(map_file))
    assert np.trace(found.counts) == len(points) / 2 == found.counts.sum() / 2


def test_a_label_map_without_the_model_s_classes_is_refused(drive, tiny_model, tmp_path):
    map_file = tmp_path / "map.yaml"
    map_file.write_text(
        "classes:\n- {name: road, color: [1, 2, 3], ids: [7]}\n"
        "- {name: tree, color: [1, 2, 3], ids: [8]}\n"
    )
    with pytest.raises(InputError, match="no id for class car of the model; its classes are road"):
        export_labels(tiny_model, drive, tmp_path / "out", labels=str(map_file), device="cpu")
    assert not (tmp_path / "out").exists()
