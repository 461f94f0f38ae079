"""PandaSet on files of its published form: what the cache holds, worked out by hand; what is
missing is told before the work starts; what a pickle may hold beside numbers is not read."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from pandaset_files import BY_PANDAS, START, by_hand, by_pandas, pickled, write, write_sequence

from haskd_ros.errors import InputError
from haskd_training.data.caches.cache import Cache
from haskd_training.data.projection import project
from haskd_training.data.readers.pandaset.pickled_table import read_table
from haskd_training.data.readers.pandaset.reader import READER

CLASSES = (
    "Smoke", "Exhaust", "Spray or rain", "Reflection", "Vegetation", "Ground", "Road",
    "Lane Line Marking", "Stop Line Marking", "Other Road Marking", "Sidewalk", "Driveway", "Car",
    "Pickup Truck", "Medium-sized Truck", "Semi-truck", "Towed Object", "Motorcycle",
    "Other Vehicle - Construction Vehicle", "Other Vehicle - Uncommon", "Other Vehicle - Pedicab",
    "Emergency Vehicle", "Bus", "Personal Mobility Device", "Motorized Scooter", "Bicycle", "Train",
    "Trolley", "Tram / Subway", "Pedestrian", "Pedestrian with Object", "Animals - Bird",
    "Animals - Other", "Pylons", "Road Barriers", "Signs", "Cones", "Construction Signs",
    "Temporary Construction Barriers", "Rolling Containers", "Building", "Other Static Object",
)  # fmt: skip
"""As classes.json has them, from 1."""


def prepare(haskd, root: Path, out: Path, *options: object):
    return haskd("prepare", root, "--reader", "pandaset", "--out", out, *options)


def test_classes_and_splits_are_the_published_ones():
    label_map = READER.load_label_map()
    assert label_map.taxonomy.names == CLASSES
    assert label_map.apply(np.arange(43)).tolist() == [255, *range(42)]
    sizes = {name: (split.drives, split.sweeps) for name, split in READER.splits.items()}
    assert sizes == {"train": (49, 3920), "val": (27, 2160), "all": (103, 8240)}
    names = READER.names(Path(), "all")
    assert (len(names), names[0], names[-1]) == (103, "001", "158")
    assert READER.rule is None and READER.submission is None


def write_places(root: Path, south: set[str]) -> list[str]:
    """Where each of the 76 sequences with labels was driven."""
    labelled = [name for name in READER.names(root, "all") if int(name) not in UNLABELLED]
    for name in labelled:
        latitude = "37.41" if name in south else "37.77"
        write(root / name / "meta/gps.json", f'[{{"lat": {latitude}}}]'.encode())
    return labelled


UNLABELLED = (
    4, 6, 8, 12, 14, 18, 20, 45, 47, 48, 50, 51, 55, 59, 62, 63, 68, 74, 79, 85, 86, 91, 92, 93, 99,
    100, 104,
)  # fmt: skip


def test_the_split_follows_from_where_a_sequence_was_driven(tmp_path):
    labelled = write_places(tmp_path, set())
    assert len(labelled) == 76
    south = set(labelled[10:37])
    write_places(tmp_path, south)
    assert READER.names(tmp_path, "val") == tuple(labelled[10:37])
    assert READER.names(tmp_path, "train") == tuple(labelled[:10] + labelled[37:])
    write_places(tmp_path, south | {labelled[0]})
    with pytest.raises(InputError, match="48 of the sequences with labels lie north of"):
        READER.names(tmp_path, "val")
    (tmp_path / "002/meta/gps.json").unlink()
    with pytest.raises(InputError, match=r"gps\.json, which says .* lacks: 002\. Expected"):
        READER.names(tmp_path, "train")


def test_a_sequence_becomes_a_cache_with_labels_poses_and_images(haskd, tmp_path):
    write_sequence(tmp_path / "panda", "002", images=True)
    done = prepare(haskd, tmp_path / "panda", tmp_path / "cache", "--sequences", "002")
    assert done.returncode == 0, done.stderr
    assert "002: 2 sweeps, PandaSet has 80" in done.stderr + done.stdout
    cache = Cache.open(tmp_path / "cache")
    assert len(cache) == 2 and cache.taxonomy.names == CLASSES
    for number, row in enumerate(cache.sweeps):
        assert row.recording == "002"
        assert row.stamp_ns == pytest.approx(1557539956.5e9 + 1e8 * number, abs=300)
        # The LiDAR is 0.78 m before the vehicle's origin and 1.859 m above; ahead is the world's -x
        place = np.add(START, [-2 * number - 0.78, 0, 1.859])
        assert np.abs(np.array(row.T_world_lidar)[:3, 3] - place).max() < 1e-6
        sweep = cache.sweep(number)
        # Car, lane line marking, none; the PandarGT's point is left out with its label
        assert sweep.label.tolist() == [12, 7, 255]
        # Intensities of 255, 51 and 0 of 255
        assert np.allclose(sweep.points[:, 3], [1, 0.2, 0])
        # 20 m ahead on the ground: 19.22 m before the LiDAR and 1.859 m below. It is tilted back by
        # 0.0157: x = 19.22 x 0.99988 - 1.859 x 0.0157, z = -1.859 x 0.99988 - 19.22 x 0.0157
        assert np.abs(sweep.points[0, :3] - [19.18845, 0, -2.16052]).max() < 1e-3
        # 8 m ahead, 3 m to the left, which is y
        assert np.abs(sweep.points[1, :3] - [7.18994, 3, -1.97212]).max() < 1e-3
    assert [(image.camera, image.width, image.height) for image in cache.images] == [
        ("front_camera", 1920, 1080)
    ] * 2
    assert [round((i.stamp_ns - cache.sweeps[0].stamp_ns) / 1e6) for i in cache.images] == [-50, 50]
    assert np.abs(cache.image(1).astype(int) - 40).max() <= 2
    # The camera stands 1 m before the vehicle's origin, and where the image was taken the vehicle
    # was 1 m behind: the car on the ground is 20 m ahead, 1.5 m below. v = 540 + 1000 x 1.5 / 20
    for number, image in enumerate(cache.images):
        points = cache.sweep(number).points
        seen = project(points, cache.t_camera_lidar(number, number), image.camera_model)
        assert np.abs(seen.pixels[0] - [960, 615]).max() < 0.01
        # 3 m to the left, 8 m ahead. u = 960 - 1000 x 3 / 8, v = 540 + 1000 x 1.5 / 8
        assert np.abs(seen.pixels[1] - [585, 727.5]).max() < 0.05
    # Without the motion it would be 19 m ahead
    seen = project(
        cache.sweep(0).points, np.array(cache.images[0].T_camera_lidar), image.camera_model
    )
    assert np.abs(seen.pixels[0] - [960, 540 + 1500 / 19]).max() < 0.01


def test_the_eleven_classes_can_be_asked_for(haskd, tmp_path):
    write_sequence(tmp_path / "panda", "002", sweeps=1)
    options = ("--sequences", "002", "--labels", "pandaset")
    done = prepare(haskd, tmp_path / "panda", tmp_path / "cache", *options)
    assert done.returncode == 0, done.stderr
    cache = Cache.open(tmp_path / "cache")
    names = [*cache.taxonomy.names, *[None] * 300]
    said = [names[label] for label in cache.sweep(0).label]
    assert said == ["car", "road_marking", None]


def test_all_means_those_without_labels_too(tmp_path):
    write_sequence(tmp_path, "002")
    write_sequence(tmp_path, "004", labelled=False, suffix=".pkl")
    labelled, other = READER.open_drives(tmp_path, ["002", "004"])
    assert (labelled.labelled, other.labelled) == (True, False)
    assert [frame.raw_labels for frame in other.iterate()] == [None, None]
    (first, _) = labelled.iterate()
    same = next(iter(other.iterate()))
    assert np.array_equal(first.points().xyz_intensity, same.points().xyz_intensity)


def test_all_that_a_download_lacks_is_told_at_once_and_nothing_is_written(haskd, tmp_path):
    root = tmp_path / "panda"
    for name in ("001", "002", "003", "005", "011", "013"):
        write_sequence(root, name, sweeps=6, images=name == "001")
    for number in (0, 2, 3, 5):
        (root / f"001/lidar/0{number}.pkl.gz").unlink()
    (root / "001/camera/front_camera/04.jpg").unlink()
    os.truncate(root / "001/camera/front_camera/05.jpg", 0)
    (root / "001/camera/front_camera/intrinsics.json").unlink()
    (root / "002/annotations/semseg/01.pkl.gz").unlink()
    (root / "003/lidar/poses.json").write_text("[1, 2]")
    (root / "005/lidar/timestamps.json").unlink()
    file = root / "011/lidar/01.pkl.gz"
    os.truncate(file, file.stat().st_size - 100)
    (root / "013").rename(root / "013 (1)")
    sequences = "001,002,003,005,011,013"
    done = prepare(haskd, root, tmp_path / "cache", "--sequences", sequences)
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    for line in (
        "001 lacks: camera/front_camera/intrinsics.json;",
        "001/lidar lacks 4 of 6: 00, 02, 03 and 1 more;",
        "001/camera/front_camera lacks 1 of 6: 04;",
        "001/camera/front_camera: cut off: 05.jpg;",
        "002/annotations/semseg lacks 1 of 6: 01;",
        "003/lidar/poses.json has 2 entries, 6 expected;",
        "005 lacks: lidar/timestamps.json;",
        "011/lidar: cut off: 01.pkl.gz;",
        "sequence 013 is missing (80 sweeps).",
        "Expected is NNN/lidar with 00.pkl.gz and on",
    ):
        assert line in said, line
    assert not (tmp_path / "cache").exists()


def test_labels_of_another_sweep_stop_with_both_files(haskd, tmp_path):
    folder = write_sequence(tmp_path / "panda", "002")
    write(folder / "annotations/semseg/01.pkl.gz", pickled({"class": np.array([13, 13])}))
    done = prepare(haskd, tmp_path / "panda", tmp_path / "cache", "--sequences", "002")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "semseg/01.pkl.gz has labels for 2 points" in said and "lidar/01.pkl.gz has 4" in said
    write(folder / "annotations/semseg/01.pkl.gz", pickled({"class": np.array([13, 43, 1, 2])}))
    done = prepare(haskd, tmp_path / "panda", tmp_path / "cache", "--sequences", "002")
    assert done.returncode == 2
    assert "PandaSet, 002, sweep 01: raw label ids" in " ".join(done.stderr.split())
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("version", BY_PANDAS)
def test_tables_of_later_versions_are_read_too(tmp_path, version):
    write(tmp_path / "a.pkl", by_pandas(version))
    table = read_table(tmp_path / "a.pkl", ["d", "x"])
    assert {name: column.tolist() for name, column in table.items()} == {
        "d": [0, 0, 1],
        "x": [0.0, 1.5, 3.0],
    }
    with pytest.raises(InputError, match="lacks the columns y; it has x, i, d"):
        read_table(tmp_path / "a.pkl", ["x", "y"])


class _Runs:
    def __init__(self, function, *arguments):
        self.called = (function, arguments)

    def __reduce__(self):
        return self.called


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("place", ["alone", "in a table"])
def test_what_a_pickle_would_run_is_named_and_not_run(tmp_path, place, protocol):
    trace = tmp_path / "trace"
    harm = pickle.dumps(_Runs(os.mkdir, str(trace)), protocol=protocol)
    if place == "in a table":
        points, _, _ = by_hand(0)
        # In the place of the end: what follows a table is read like the table
        harm = pickled({"x": points[:, 0]})[:-1] + harm
    write(tmp_path / "a.pkl.gz", harm)
    with pytest.raises(InputError, match=r"a\.pkl\.gz names '(posix|nt)\.mkdir', which no table"):
        read_table(tmp_path / "a.pkl.gz", ["x"])
    assert not trace.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"(X\x01\x00\x00\x001i__builtin__\neval\n.", "a pickle with INST"),
        (b"Pkey\n.", "a pickle with PERSID"),
        (pickle.dumps([1.0, 2.0]), r"damaged \(no table\)"),
        (pickle.dumps(np.arange(3)), r"damaged \(no table\)"),
        (b"\x80\x03" + b"]" * 20_000 + b".", "more than 10,000 steps"),
        (b"<html>not found</html>", "damaged"),
        (pickled({"x": np.arange(3.0)})[:-40], "damaged"),
        # A number for the name of a column
        (
            pickled({"x": np.arange(3.0)}).replace(b"X\x01\x00\x00\x00x", b"K\x01"),
            "names that are no text",
        ),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, data, said):
    write(tmp_path / "a.pkl", data)
    with pytest.raises(InputError, match=said):
        read_table(tmp_path / "a.pkl", ["x"])


def test_a_bomb_is_not_unpacked(tmp_path):
    with gzip.open(tmp_path / "a.pkl.gz", "wb", compresslevel=1) as file:
        for _ in range(260):
            file.write(bytes(1 << 20))
    with pytest.raises(InputError, match="more than 268,435,456 bytes"):
        read_table(tmp_path / "a.pkl.gz", ["x"])
