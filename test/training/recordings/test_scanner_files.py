"""LAS, LAZ and E57, NumPy's files and raw float32, with their own libraries on the other side."""

from __future__ import annotations

from pathlib import Path

import laspy
import numpy as np
import open3d as o3d
import pye57
import pytest
from cloud_scenes import COUNT, coordinates, intensities, label, labels_of
from pye57 import libe57

from haskd_ros.errors import InputError
from haskd_training.recordings.cloud_files import formats


def write_las(path: Path, point_format: int, classification: int = 0) -> laspy.LasData:
    header = laspy.LasHeader(point_format=point_format, version="1.4")
    header.scales, header.offsets = [0.001, 0.0025, 0.01], [431_000, 5_411_000, 300]
    header.vlrs.append(laspy.VLR("somebody", 7, "their record", b"content"))
    las = laspy.LasData(header)
    las.X, las.Y, las.Z = np.random.default_rng(0).integers(-(2**31), 2**31, (3, COUNT))
    las.intensity = np.arange(COUNT) * 6
    las.classification = np.full(COUNT, classification)
    las.add_extra_dim(laspy.ExtraBytesParams("theirs", "f8"))
    las["theirs"] = np.arange(COUNT) / 3
    las.write(str(path))
    return las


@pytest.mark.parametrize("ending", [".las", ".laz"])
@pytest.mark.parametrize("point_format", range(11))
def test_a_las_file_keeps_its_integers_scale_and_records(tmp_path, point_format, ending):
    path, labels = tmp_path / f"a{ending}", labels_of()
    before = write_las(path, point_format)
    (points,) = formats.read_clouds(path)
    # 0.001 X + 431,000, in float64
    assert np.array_equal(points["x"], before.X * 0.001 + 431_000)
    assert np.array_equal(points["intensity"], np.arange(COUNT) * 6)
    after = laspy.read(label(path, tmp_path / f"b{ending}", labels))
    assert after.point_format.id == point_format
    assert after.header.scales.tolist() == [0.001, 0.0025, 0.01]
    assert after.header.offsets.tolist() == [431_000, 5_411_000, 300]
    assert [v.record_data for v in after.vlrs if v.user_id == "somebody"] == [b"content"]
    # Of codes that LAS has, 5 bits in formats 0 to 5, the largest is for points without a label
    unlabelled = 255 if point_format >= 6 else 31
    expected = np.where(labels.class_id == 255, unlabelled, labels.class_id)
    assert np.array_equal(after.classification, expected)
    for name in before.point_format.dimension_names:
        if name != "classification":
            assert np.array_equal(after[name], before[name]), name
    assert np.array_equal(after["class_id"], labels.class_id)
    assert np.array_equal(after["probability"], labels.probability)


def test_a_classification_that_was_there_is_kept_beside_the_new_one(tmp_path):
    write_las(tmp_path / "a.las", 6, classification=64)
    after = laspy.read(label(tmp_path / "a.las", tmp_path / "b.laz"))
    assert set(np.array(after["classification_before"])) == {64}
    assert np.array_equal(after.classification, labels_of().class_id)


def write_scaled_e57(path: Path) -> np.ndarray:
    """A scan of scaled integers with a pose, by the library that E57 comes from; returns the
    integers [3, COUNT]."""
    file = libe57.ImageFile(str(path), "w")
    file.extensionsAdd("", libe57.E57_V1_0_URI)
    prototype = libe57.StructureNode(file)
    for axis in "XYZ":
        node = libe57.ScaledIntegerNode(file, 0, -(2**40), 2**40, 0.0001, 500.0)
        prototype.set(f"cartesian{axis}", node)
    prototype.set("intensity", libe57.IntegerNode(file, 0, 0, 4095))
    prototype.set("cartesianInvalidState", libe57.IntegerNode(file, 0, 0, 2))
    points = libe57.CompressedVectorNode(file, prototype, libe57.VectorNode(file, True))
    scans, scan = libe57.VectorNode(file, True), libe57.StructureNode(file)
    file.root().set("data3D", scans)
    scans.append(scan)
    scan.set("guid", libe57.StringNode(file, "{1}"))
    scan.set("name", libe57.StringNode(file, "their scan"))
    scan.set("points", points)
    blob = libe57.BlobNode(file, 5)
    file.root().set("their_blob", blob)
    blob.write(np.frombuffer(b"abcde", np.uint8).copy(), 0, 5)
    raw = np.random.default_rng(0).integers(-(2**39), 2**39, (3, COUNT)).astype(np.longlong)
    state = (np.arange(COUNT) == 5).astype(np.longlong)
    columns = {
        "cartesianX": raw[0], "cartesianY": raw[1], "cartesianZ": raw[2],
        "intensity": np.arange(COUNT).astype(np.longlong) * 100, "cartesianInvalidState": state,
    }  # fmt: skip
    buffers = libe57.VectorSourceDestBuffer()
    for name, values in columns.items():
        buffers.append(libe57.SourceDestBuffer(file, name, values, COUNT))
    writer = points.writer(buffers)
    writer.write(COUNT)
    writer.close()
    file.close()
    return raw


def integers_of(path: Path, name: str) -> tuple[np.ndarray, float]:
    """Stored integers and scale of a field of the first scan."""
    file = libe57.ImageFile(str(path), "r")
    scan = libe57.StructureNode(libe57.VectorNode(file.root().get("data3D")).get(0))
    points = libe57.CompressedVectorNode(scan.get("points"))
    values = np.empty(points.childCount(), np.longlong)
    buffers = libe57.VectorSourceDestBuffer()
    buffers.append(libe57.SourceDestBuffer(file, name, values, len(values)))
    reader = points.reader(buffers)
    reader.read()
    reader.close()
    node = libe57.StructureNode(points.prototype()).get(name)
    scale = libe57.ScaledIntegerNode(node).scale() if name.startswith("cartesian") else 1.0
    file.close()
    return values, scale


def test_an_e57_of_scaled_integers_keeps_them(tmp_path):
    raw, labels = write_scaled_e57(tmp_path / "a.e57"), labels_of()
    (points,) = formats.read_clouds(tmp_path / "a.e57")
    expected = raw[1] * 0.0001 + 500
    expected[5] = np.nan  # that the file marks as invalid
    assert np.allclose(points["y"], expected, rtol=0, atol=1e-6, equal_nan=True)
    out = label(tmp_path / "a.e57", tmp_path / "b.e57", labels)
    for row, axis in enumerate("XYZ"):
        values, scale = integers_of(out, f"cartesian{axis}")
        assert np.array_equal(values, raw[row]) and scale == 0.0001
    assert np.array_equal(integers_of(out, "haskd:class_id")[0], labels.class_id)
    file = libe57.ImageFile(str(out), "r")
    blob, octets = libe57.BlobNode(file.root().get("their_blob")), np.empty(5, np.uint8)
    blob.read(octets, 0, 5)
    assert octets.tobytes() == b"abcde"
    file.close()


def test_each_scan_of_an_e57_is_a_cloud_in_the_scanner_s_frame(tmp_path):
    path, pose = tmp_path / "a.e57", np.array([400_000.0, 5e6, 300.0])
    with pye57.E57(str(path), "w") as file:
        for shift in (0, 1):
            columns = dict(zip(("cartesianX", "cartesianY", "cartesianZ"), coordinates().T + shift))
            file.write_scan_raw(columns | {"intensity": intensities() / 255}, translation=pose)
    first, second = formats.read_clouds(path)
    assert np.array_equal(first["x"], coordinates()[:, 0])
    assert np.array_equal(second["x"], coordinates()[:, 0] + 1)
    labels = labels_of()
    formats.format_of(path).write(path, tmp_path / "b.e57", [labels, labels])
    with pye57.E57(str(tmp_path / "b.e57")) as file:
        assert file.scan_count == 2
        assert file.get_header(1).translation.tolist() == pose.tolist()
        read = file.read_scan_raw(1, ignore_unsupported_fields=True)
    assert np.array_equal(read["cartesianX"], coordinates()[:, 0] + 1)
    for number, color in enumerate(("colorRed", "colorGreen", "colorBlue")):
        assert np.array_equal(read[color], labels.rgb[:, number])
    again = formats.read_clouds(tmp_path / "b.e57")[1]
    assert np.array_equal(again["haskd:class_id"], labels.class_id)
    assert np.array_equal(again["haskd:probability"], labels.probability)
    with pytest.raises(InputError, match="has been segmented already"):
        label(tmp_path / "b.e57", tmp_path / "c.e57", labels)


def test_a_plain_array_becomes_an_npz_with_the_array_in_it(tmp_path):
    rows, labels = np.c_[coordinates(kind="f8"), intensities(), np.arange(COUNT)], labels_of()
    np.save(tmp_path / "a.npy", rows)
    (points,) = formats.read_clouds(tmp_path / "a.npy")
    assert points.dtype.names == ("x", "y", "z", "intensity", "column_4")
    with np.load(label(tmp_path / "a.npy", tmp_path / "a.npz", labels)) as after:
        assert set(after) == {"points", "class_id", "probability", "rgb"}
        assert after["points"].dtype == np.float64 and np.array_equal(after["points"], rows)
        assert np.array_equal(after["class_id"], labels.class_id)
        assert np.array_equal(after["rgb"], labels.rgb)
    (again,) = formats.read_clouds(tmp_path / "a.npz")
    assert np.array_equal(again["z"], rows[:, 2]) and "class_id" in again.dtype.names
    assert formats.labelled_endings(tmp_path / "a.npy") == (".npz",)


def test_a_structured_array_gets_fields(tmp_path):
    kind = np.dtype({"names": ["z", "x", "y", "name"], "formats": ["f8", "f8", "f8", "S3"],
                     "offsets": [8, 16, 24, 40], "itemsize": 48})  # fmt: skip
    rows = np.zeros(COUNT, kind)
    rows["x"], rows["name"] = np.arange(COUNT) / 3, b"abc"
    np.save(tmp_path / "a.npy", rows)
    after = np.load(label(tmp_path / "a.npy", tmp_path / "b.npy"))
    assert after.dtype.names == (*kind.names, "class_id", "probability", "rgb")
    assert np.array_equal(after[list(kind.names)], rows)
    assert after["rgb"][1] == 0x01FE01


def test_an_npz_of_coordinates_keeps_every_array(tmp_path):
    x, y, z = coordinates(kind="f8").T
    np.savez(tmp_path / "a.npz", x=x, y=y, z=z, intensity=intensities(), pose=np.eye(4),
             names=np.array(["a"] * COUNT))  # fmt: skip
    (points,) = formats.read_clouds(tmp_path / "a.npz")
    assert set(points.dtype.names) == {"x", "y", "z", "intensity"}
    with np.load(label(tmp_path / "a.npz", tmp_path / "b.npz")) as after:
        assert np.array_equal(after["pose"], np.eye(4)) and np.array_equal(after["y"], y)
        assert np.array_equal(after["class_id"], labels_of().class_id)


@pytest.mark.parametrize("name", ["000000.bin", "sweep.pcd.bin", "named_as_kitti_s.bin"])
def test_raw_floats_are_kitti_s_or_nuscenes(tmp_path, name):
    rows = np.c_[coordinates(), intensities()]
    if name != "000000.bin":  # with the ring of each point
        rows = np.c_[rows, np.arange(COUNT) % 32].astype("f4")
    rows.tofile(tmp_path / name)
    (points,) = formats.read_clouds(tmp_path / name)
    expected = ("x", "y", "z", "intensity", "ring")[: rows.shape[1]]
    assert points.dtype.names == expected
    for column, field in enumerate(expected):
        assert np.array_equal(points[field], rows[:, column])
    with np.load(label(tmp_path / name, tmp_path / "a.npz")) as after:
        assert np.array_equal(after["points"], rows)


def test_spherical_coordinates_of_an_e57_are_turned_into_cartesian_ones(tmp_path):
    file = libe57.ImageFile(str(tmp_path / "a.e57"), "w")
    file.extensionsAdd("", libe57.E57_V1_0_URI)
    prototype = libe57.StructureNode(file)
    names = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")
    for name in names:
        prototype.set(name, libe57.FloatNode(file, 0.0))
    points = libe57.CompressedVectorNode(file, prototype, libe57.VectorNode(file, True))
    scans, scan = libe57.VectorNode(file, True), libe57.StructureNode(file)
    file.root().set("data3D", scans)
    scans.append(scan)
    scan.set("points", points)
    # 2 m to the left (azimuth 90 degrees), and 2 m up at 30 degrees ahead
    columns = [np.array([2.0, 2.0]), np.array([np.pi / 2, 0.0]), np.array([0.0, np.pi / 6])]
    buffers = libe57.VectorSourceDestBuffer()
    for name, values in zip(names, columns):
        buffers.append(libe57.SourceDestBuffer(file, name, values, 2))
    writer = points.writer(buffers)
    writer.write(2)
    writer.close()
    file.close()
    (read,) = formats.read_clouds(tmp_path / "a.e57")
    expected = [[0, 2, 0], [np.sqrt(3), 0, 1]]
    assert np.allclose([list(row) for row in read[["x", "y", "z"]]], expected)
    label(tmp_path / "a.e57", tmp_path / "b.e57", labels_of(2))
    (again,) = formats.read_clouds(tmp_path / "b.e57")
    assert again["haskd:class_id"].tolist() == [0, 1]


@pytest.mark.parametrize("ending", [".pcd", ".ply", ".las", ".e57", ".npz"])
def test_a_labelled_file_says_what_its_class_ids_mean(tmp_path, ending):
    path, out = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    xyz = coordinates()
    if ending == ".las":
        write_las(path, 3)
    elif ending == ".e57":
        write_scaled_e57(path)
    elif ending == ".npz":
        np.savez(path, points=xyz)
    else:
        o3d.t.io.write_point_cloud(str(path), o3d.t.geometry.PointCloud(o3d.core.Tensor(xyz)))
    label(path, out, labels_of(names=("road", "traffic_object_of_a_long_name")))
    if ending == ".las":
        (lookup,) = laspy.read(out).vlrs.get("ClassificationLookupVlr")
        # 15 characters; laspy shows no underscores
        assert (lookup[0], lookup[1], lookup[2]) == ("road", "trafficobject", "")
    elif ending == ".npz":
        with np.load(out) as after:
            assert after["class_names"].tolist() == ["road", "traffic_object_of_a_long_name"]
    elif ending == ".e57":
        file = libe57.ImageFile(str(out), "r")
        scan = libe57.StructureNode(libe57.VectorNode(file.root().get("data3D")).get(0))
        text = libe57.StringNode(scan.get("haskd:classes")).value()
        file.close()
        assert text == "class_id 0 is road\nclass_id 1 is traffic_object_of_a_long_name"
    else:
        assert b"class_id 1 is traffic_object_of_a_long_name\n" in out.read_bytes()
