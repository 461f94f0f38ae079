"""Cloud files, with other libraries on the other side: nothing that was there changes, to the bit,
and labels are where those libraries look for them."""

from __future__ import annotations

import string

import numpy as np
import open3d as o3d
import pytest
from cloud_scenes import (
    COUNT,
    PADDED_HEADER,
    PADDED_POINT,
    coordinates,
    intensities,
    label,
    labels_of,
    lzf_of_literals,
    padded_points,
    write_pcd,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pypcd4 import Encoding, PointCloud

from haskd_ros.errors import InputError
from haskd_training.recordings.cloud_files import formats


def open3d_cloud(kind: str) -> o3d.t.geometry.PointCloud:
    cloud = o3d.t.geometry.PointCloud(o3d.core.Tensor(coordinates(kind=kind)))
    cloud.point["intensity"] = o3d.core.Tensor(intensities()[:, None])
    return cloud


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("ascii.pcd", {"write_ascii": True}),
        ("binary.pcd", {}),
        ("compressed.pcd", {"compressed": True}),
        ("ascii.ply", {"write_ascii": True}),
        ("binary.ply", {}),
    ],
)
def test_open3d_finds_in_a_labelled_file_all_that_it_wrote_and_the_labels(
    tmp_path, name, how, kind
):
    path, labels = tmp_path / name, labels_of(names=("road", "car"))
    o3d.t.io.write_point_cloud(str(path), open3d_cloud(kind), **how)
    before = o3d.t.io.read_point_cloud(str(path))
    after = o3d.t.io.read_point_cloud(str(label(path, tmp_path / f"labelled_{name}", labels)))
    for field in ("positions", "intensity"):
        values = after.point[field].numpy()
        assert values.dtype == before.point[field].numpy().dtype
        assert np.array_equal(values, before.point[field].numpy())
    assert after.point["positions"].numpy().dtype == np.dtype(kind)
    assert np.array_equal(after.point["class_id"].numpy()[:, 0], labels.class_id)
    assert np.array_equal(after.point["probability"].numpy()[:, 0], labels.probability)
    assert np.array_equal(after.point["colors"].numpy(), labels.rgb)
    (points,) = formats.read_clouds(path)
    assert np.array_equal(points["x"], before.point["positions"].numpy()[:, 0])
    assert np.array_equal(points["intensity"], before.point["intensity"].numpy()[:, 0])


def padded_file(path, data: str):
    points = padded_points()
    header = PADDED_HEADER.format(width=COUNT // 4, height=4, points=COUNT, data=data)
    if data == "binary":
        return write_pcd(path, header, points.tobytes())
    names = [name for name in PADDED_POINT.names if "pad" not in name or data.endswith("all")]
    blocks = b"".join(points[name].tobytes() for name in names)
    return write_pcd(path, header.replace("_all", ""), lzf_of_literals(blocks))


@pytest.mark.parametrize("data", ["binary", "binary_compressed", "binary_compressed_all"])
def test_padding_and_fields_of_several_numbers_stay(tmp_path, data):
    """PCL leaves the padding out of compressed files, and still names it; others keep it."""
    path = padded_file(tmp_path / "padded.pcd", data)
    points, labels = padded_points(), labels_of()
    (read,) = formats.read_clouds(path)
    assert read.dtype.names == ("x", "y", "z", "intensity", "ring")
    assert np.array_equal(read["z"], points["z"]) and np.array_equal(read["ring"], points["ring"])
    out = label(path, tmp_path / "out.pcd", labels)
    (again,) = formats.read_clouds(out)
    assert np.array_equal(again["intensity"], points["intensity"])
    assert np.array_equal(again["class_id"], labels.class_id)
    assert np.array_equal(again["probability"], labels.probability)
    head, _, body = out.read_bytes().partition(f"DATA {data.removesuffix('_all')}\n".encode())
    assert b"FIELDS x y z _ intensity ring _ normal class_id probability rgb\n" in head
    assert b"COUNT 1 1 1 4 1 1 10 2 1 1 1\n" in head and b"WIDTH 10\nHEIGHT 4\n" in head
    if data == "binary":
        # 12 + 4 + 4 + 2 + 10 + 8 = 40 bytes a point as they were, and 1 + 4 + 4 more
        rows = np.frombuffer(body, np.uint8).reshape(COUNT, 40 + 9)
        assert np.array_equal(rows[:, :40].reshape(-1), points.view(np.uint8).reshape(-1))


def test_pypcd4_reads_what_was_written(tmp_path):
    fields = ("x", "y", "z", "intensity", "t")
    columns = [*coordinates(kind="f8").T, intensities(), np.arange(COUNT, dtype="u4")]
    kinds = (np.float64, np.float64, np.float64, np.float32, np.uint32)
    for encoding in ("ascii", "binary", "binary_compressed"):
        path = tmp_path / f"{encoding}.pcd"
        PointCloud.from_points(columns, fields, kinds).save(path, Encoding(encoding))
        labels = labels_of(names=("road", "car"))
        labelled = PointCloud.from_path(label(path, tmp_path / f"labelled_{encoding}.pcd", labels))
        before = PointCloud.from_path(path)
        assert labelled.fields == (*fields, "class_id", "probability", "rgb")
        for name in fields:
            assert np.array_equal(labelled.pc_data[name], before.pc_data[name])
        assert np.array_equal(labelled.pc_data["class_id"], labels_of().class_id)
        assert np.array_equal(labelled.pc_data["probability"], labels_of().probability)


def test_a_colour_that_was_there_stays_and_the_classes_colour_stands_beside_it(tmp_path):
    # PCL writes packed colours in ascii as whole numbers, whatever the header's type
    header = (
        "FIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 2\nHEIGHT 1\n"
        "POINTS 2\nDATA ascii\n"
    )
    path = write_pcd(tmp_path / "a.pcd", header, b"1 2 3 4278190335\n0.1 nan 3 16711680\n")
    out = label(path, tmp_path / "b.pcd")
    lines = out.read_text().splitlines()
    assert lines[0] == "FIELDS x y z rgb class_id probability predicted_rgb"
    # Class 0 and 1 of `labels_of`: 0x00_FF_00 = 65280, and 0x01_FE_01 = 130561; 1 and 1/2
    assert lines[-2:] == ["1 2 3 4278190335 0 1 65280", "0.1 nan 3 16711680 1 0.5 130561"]
    (points,) = formats.read_clouds(path)
    assert points["rgb"].tolist() == [4278190335, 16711680] and np.isnan(points["y"][1])
    with pytest.raises(InputError, match="has been segmented already"):
        label(out, tmp_path / "c.pcd")


BIG_ENDIAN = b"""ply
format binary_big_endian 1.0
comment made by hand
element vertex 2
property double x
property double y
property double z
property ushort intensity
property uchar red
element face 1
property list uchar int vertex_indices
end_header
"""


def test_a_ply_of_the_other_byte_order_keeps_it_and_its_faces(tmp_path):
    row = np.dtype([("p", ">f8", (3,)), ("i", ">u2"), ("r", "u1")])
    rows = np.array([((1 / 3, -2e9, 3), 258, 7), ((4, 5, 6), 65535, 9)], row)
    face = bytes([3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1])
    path = tmp_path / "a.ply"
    path.write_bytes(BIG_ENDIAN + rows.tobytes() + face)
    (points,) = formats.read_clouds(path)
    assert points["x"].tolist() == [1 / 3, 4.0] and points["y"][0] == -2e9
    assert points["intensity"].tolist() == [258, 65535]
    content = label(path, tmp_path / "b.ply").read_bytes()
    header, _, body = content.partition(b"end_header\n")
    assert header.decode().splitlines()[8:14] == [
        "property uchar red",
        "property uchar class_id",
        "property float probability",
        "property uchar predicted_red",
        "property uchar green",
        "property uchar blue",
    ]
    # 27 bytes of each vertex as they were, then 8 more: class 0 with 1.0 (0x3F800000), colour
    # 0 255 0; class 1 with 0.5 (0x3F000000), colour 1 254 1
    assert body == (
        rows[:1].tobytes() + bytes([0, 0x3F, 0x80, 0, 0, 0, 255, 0])
        + rows[1:].tobytes() + bytes([1, 0x3F, 0, 0, 0, 1, 254, 1]) + face
    )  # fmt: skip


NAME = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=8)
KIND = st.sampled_from(["F4", "F8", "I1", "I2", "I4", "I8", "U1", "U2", "U4", "U8"])


@settings(max_examples=60, deadline=None)
@given(
    more=st.lists(st.tuples(NAME, KIND, st.integers(1, 3)), max_size=5),
    at=st.integers(0, 5),
    data=st.sampled_from(["ascii", "binary", "binary_compressed"]),
    count=st.integers(1, 5),
    comment=st.text(string.printable.strip(), max_size=10),
)
def test_whatever_fields_a_pcd_has_its_points_stay(
    tmp_path_factory, more, at, data, count, comment
):
    folder = tmp_path_factory.mktemp("pcd")
    names = ("x", "y", "z", "class_id", "probability", "rgb")
    more = [(name, kind, n) for name, kind, n in more if name not in names]
    fields = [*more[:at], ("x", "F4", 1), ("y", "F8", 1), ("z", "F4", 1), *more[at:]]
    dtype = np.dtype([(str(k), f"<{kind.lower()}", (n,)) for k, (_, kind, n) in enumerate(fields)])
    rows = np.zeros(count, dtype)
    for k, (name, _, _) in enumerate(fields):
        rows[str(k)] = (np.arange(rows[str(k)].size) % 100).reshape(rows[str(k)].shape)
        if name in ("x", "y", "z"):
            rows[str(k)] += 0.25
    header = "\n".join(
        [
            f"# {comment}",
            "FIELDS " + " ".join(name for name, _, _ in fields),
            "SIZE " + " ".join(kind[1] for _, kind, _ in fields),
            "TYPE " + " ".join(kind[0] for _, kind, _ in fields),
            "COUNT " + " ".join(str(n) for _, _, n in fields),
            f"WIDTH {count}\nHEIGHT 1\nPOINTS {count}\nDATA {data}\n",
        ]
    )
    if data == "ascii":
        lines = [" ".join(f"{v:g}" for part in row for v in part) for row in rows.tolist()]
        body = "\n".join(lines).encode()
    elif data == "binary":
        body = rows.tobytes()
    else:
        body = lzf_of_literals(b"".join(rows[str(k)].tobytes() for k in range(len(fields))))
    path = write_pcd(folder / "a.pcd", header, body)
    labels = labels_of(count)
    label(path, folder / "b.pcd", labels)
    (before,), (after,) = formats.read_clouds(path), formats.read_clouds(folder / "b.pcd")
    for name in before.dtype.names:
        assert np.array_equal(before[name], after[name])
    k = [name for name, _, _ in fields].index("y")
    assert np.array_equal(after["y"], rows[str(k)][:, 0])
    assert np.array_equal(after["class_id"], labels.class_id)
    assert np.array_equal(after["probability"], labels.probability)


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_a_pcd_without_points_is_one(tmp_path, data):
    header = f"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 0\nHEIGHT 1\nPOINTS 0\nDATA {data}\n"
    path = write_pcd(tmp_path / "a.pcd", header, lzf_of_literals(b"") if "_" in data else b"")
    (points,) = formats.read_clouds(label(path, tmp_path / "b.pcd"))
    assert points.dtype.names == ("x", "y", "z", "class_id", "probability", "rgb")
    assert len(points) == 0


@pytest.mark.parametrize("data", ["ascii", "binary_little_endian"])
def test_a_ply_without_points_is_one(tmp_path, data):
    path = tmp_path / "a.ply"
    path.write_text(
        f"ply\nformat {data} 1.0\nelement vertex 0\nproperty float x\nproperty float y\n"
        "property float z\nend_header\n"
    )
    (points,) = formats.read_clouds(label(path, tmp_path / "b.ply"))
    assert len(points) == 0 and "class_id" in points.dtype.names
