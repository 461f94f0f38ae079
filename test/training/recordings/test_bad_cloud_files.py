"""Cloud files that are cut off, empty, wrongly named or no clouds: one line says what they are."""

from __future__ import annotations

from pathlib import Path

import laspy
import numpy as np
import pye57
import pytest
from cloud_scenes import coordinates, intensities, write_pcd

from haskd_ros.errors import InputError
from haskd_training.recordings.cloud_files import formats
from haskd_training.recordings.readers.bag import open_bag

PCD = (
    "VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
    "WIDTH {n}\nHEIGHT 1\nPOINTS {n}\nDATA {data}\n"
)
PLY = (
    "ply\nformat {data} 1.0\nelement vertex {n}\nproperty float x\nproperty float y\n"
    "property float z\nproperty float intensity\nend_header\n"
)


@pytest.fixture
def sound(tmp_path):
    """A sound file of 40 points of each kind, by its ending."""
    xyz, intensity = coordinates(), intensities()
    rows = np.c_[xyz, intensity].astype("f4")
    text = "\n".join(" ".join(map(str, row)) for row in rows.tolist()).encode() + b"\n"
    write_pcd(tmp_path / "binary.pcd", PCD.format(n=40, data="binary"), rows.tobytes())
    write_pcd(tmp_path / "ascii.pcd", PCD.format(n=40, data="ascii"), text)
    from pypcd4 import Encoding, PointCloud

    cloud = PointCloud.from_xyzi_points(rows)
    cloud.save(tmp_path / "compressed.pcd", Encoding.BINARY_COMPRESSED)
    header = PLY.format(n=40, data="binary_little_endian")
    write_pcd(tmp_path / "binary.ply", header, rows.tobytes())
    write_pcd(tmp_path / "ascii.ply", PLY.format(n=40, data="ascii"), text)
    las = laspy.LasData(laspy.LasHeader(point_format=0, version="1.2"))
    las.x, las.y, las.z = xyz.T.astype("f8")
    las.write(str(tmp_path / "a.las"))
    las.write(str(tmp_path / "a.laz"))
    with pye57.E57(str(tmp_path / "a.e57"), "w") as file:
        file.write_scan_raw(dict(zip(("cartesianX", "cartesianY", "cartesianZ"), xyz.T)))
    np.save(tmp_path / "a.npy", rows)
    np.savez(tmp_path / "a.npz", points=rows)
    rows.tofile(tmp_path / "a.bin")
    return tmp_path


NAMES = ["binary.pcd", "ascii.pcd", "compressed.pcd", "binary.ply", "ascii.ply", "a.las", "a.laz",
         "a.e57", "a.npy", "a.npz", "a.bin"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_cut_off_is_named(sound, name):
    content = (sound / name).read_bytes()
    assert len(formats.read_clouds(sound / name)[0]) == 40
    # Of raw numbers only a part of a point shows that they are cut off.
    for length in (1, 7, 30, 100, len(content) // 2 + 1, len(content) - 6):
        (sound / name).write_bytes(content[:length])
        with pytest.raises(InputError) as error:
            formats.read_clouds(sound / name)
        assert str(sound / name) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_file_is_named(sound, name):
    (sound / name).write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        formats.read_clouds(sound / name)


@pytest.mark.parametrize("name", NAMES)
def test_text_is_no_cloud(sound, name):
    (sound / name).write_bytes(b"# A letter to whom it may concern, of some length\n" * 32)
    with pytest.raises(InputError):
        formats.read_clouds(sound / name)


@pytest.mark.parametrize(
    ("name", "ending", "said"),
    [
        ("binary.ply", ".pcd", "rename it to wrong.ply"),
        ("a.laz", ".ply", "rename it to wrong.las"),
        ("a.e57", ".bin", "rename it to wrong.e57"),
        ("a.npz", ".npy", "rename it to wrong.npz"),
        ("compressed.pcd", ".bin", "rename it to wrong.pcd"),
    ],
)
def test_a_wrong_ending_is_told_by_the_content(sound, name, ending, said):
    (sound / name).rename(sound / f"wrong{ending}")
    with pytest.raises(InputError, match=said):
        formats.read_clouds(sound / f"wrong{ending}")


@pytest.mark.parametrize("name", ["binary.pcd", "ascii.pcd", "binary.ply", "ascii.ply"])
def test_a_header_that_counts_fewer_points_is_not_believed(sound, name):
    content = (sound / name).read_bytes().replace(b" 40\n", b" 39\n")
    (sound / name).write_bytes(content)
    with pytest.raises(InputError, match="the header says 39"):
        formats.read_clouds(sound / name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("WIDTH 40", "WIDTH 20"), "40 POINTS, but WIDTH 20 x HEIGHT 1"),
        (("SIZE 4 4 4 4", "SIZE 4 4 4"), "4 FIELDS, 3 SIZE"),
        (("TYPE F F F F", "TYPE F F F D"), "field intensity has TYPE D"),
        (("DATA binary", "DATA bytes"), "DATA is 'bytes'; allowed are"),
        (("FIELDS x y z", "FIELDS a y z"), "has no x; its fields are a, y, z, intensity"),
        (("FIELDS", "FELDER"), "its header has no FIELDS"),
    ],
)
def test_a_header_that_contradicts_itself_is_told(sound, change, said):
    before, after = (text.encode() for text in change)
    path = sound / "binary.pcd"
    path.write_bytes(path.read_bytes().replace(before, after, 1))
    with pytest.raises(InputError, match=said):
        formats.read_clouds(path)


def test_what_is_no_cloud_file_is_answered_with_those_that_are(tmp_path):
    (tmp_path / "a.xyz").write_text("1 2 3\n")
    with pytest.raises(InputError, match=r"allowed endings are \.pcd, \.ply, \.las"):
        formats.read_clouds(tmp_path / "a.xyz")
    with pytest.raises(InputError, match="does not exist"):
        formats.read_clouds(tmp_path / "b.pcd")
    np.save(tmp_path / "a.npy", np.zeros((5, 2)))
    with pytest.raises(InputError, match=r"an array of float64 \[5, 2\] is no cloud"):
        formats.read_clouds(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", first=np.zeros((5, 3)), second=np.zeros((5, 3)))
    with pytest.raises(InputError, match="which array holds the points"):
        formats.read_clouds(tmp_path / "a.npz")


def test_a_missing_library_is_named_with_what_installs_it(sound, monkeypatch):
    import sys

    for module, name in (("laspy", "a.las"), ("pye57.libe57", "a.e57"), ("lzf", "compressed.pcd")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(InputError, match=r"pip install 'haskd_ros\[files\]'"):
            formats.read_clouds(sound / name)


def follow(message: str, folder: Path, monkeypatch: pytest.MonkeyPatch, columns: str = "") -> None:
    """Run what a message advises, between its backticks."""
    monkeypatch.chdir(folder)
    exec(message.split("`")[1].replace("COLUMNS", columns), {"np": np})


@pytest.mark.parametrize(("name", "delimiter"), [("a.xyz", " "), ("a b.csv", ",")])
def test_text_is_read_once_the_advice_is_followed(tmp_path, monkeypatch, name, delimiter):
    rows = np.array([[1.5, 2, 3, 0.5, 9], [4, 5, 6, 1, 9], [7, 8, 9, 0, 9]])
    np.savetxt(tmp_path / name, rows, delimiter=delimiter)
    with pytest.raises(InputError) as error:
        formats.read_clouds(tmp_path / name)
    with pytest.raises(InputError) as of_bags, open_bag(tmp_path / name):
        pass
    assert str(error.value).split("`")[1] == str(of_bags.value).split("`")[1]
    follow(str(error.value), tmp_path, monkeypatch)
    (cloud,) = formats.read_clouds((tmp_path / name).with_suffix(".npy"))
    assert [cloud[axis].tolist() for axis in "xyz"] == rows[:, :3].T.tolist()
    assert cloud["intensity"].tolist() == [0.5, 1.0, 0.0]


@pytest.mark.parametrize("points", [12, 13])
def test_raw_floats_of_other_columns_are_read_once_the_advice_is_followed(
    tmp_path, monkeypatch, points
):
    # x y z intensity time: 12 points of 5 are 15 of 4, so that the size alone doesn't tell; 13
    # points of 5 are no whole number of 4.
    rows = np.tile(np.float32([-3, -4, -1, 0.5, 0.025]), (points, 1))
    rows.tofile(tmp_path / "a.bin")
    with pytest.raises(InputError, match="would be negative" if points == 12 else "16 bytes") as e:
        formats.read_clouds(tmp_path / "a.bin")
    follow(str(e.value), tmp_path, monkeypatch, "5")
    (cloud,) = formats.read_clouds(tmp_path / "a.npy")
    assert len(cloud) == points and set(cloud["intensity"].tolist()) == {0.5}
    assert set(cloud["column_4"].tolist()) == {np.float32(0.025)}


def test_arrays_that_do_not_belong_together_are_told(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.zeros((5, 3)), intensity=np.zeros(4))
    with pytest.raises(InputError, match="intensity has 4 values, there are 5 points"):
        formats.read_clouds(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", np.zeros((4, 40), np.float32))
    with pytest.raises(InputError, match=r"\[4, 40\] has a column for each point"):
        formats.read_clouds(tmp_path / "a.npy")


def test_a_file_that_is_cut_off_is_told_once(sound, caplog):
    content = (sound / "a.laz").read_bytes()
    (sound / "a.laz").write_bytes(content[:-60])
    with pytest.raises(InputError, match="is cut off"):
        formats.read_clouds(sound / "a.laz")
    assert not caplog.records
