"""The cache: what is read back, what interruption and damage do."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from damage import with_flipped_bit
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_ros.errors import InputError
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.rows import SweepRow
from haskd_training.data.caches.writer import CacheWriter
from haskd_training.data.cuts import split_by_time
from haskd_training.data.preparing.inputs import PrepareConfig, read_report
from haskd_training.data.preparing.prepare import prepare
from recorded_bags import SCENE, START_NS, Scene, picture, write_bag

A_ROW = SweepRow("drive", 0, 1, [0], None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    folder = tmp_path_factory.mktemp("cache")
    # Some 150 bytes of tensors per sweep: two sweeps per shard.
    config = PrepareConfig(shard_bytes=150)
    prepare([write_bag(folder, Scene(clouds=6, images=5))], "pandaset", folder / "cache", config)
    return Cache.open(folder / "cache")


def test_a_sweep_reads_back_as_recorded(cache: Cache) -> None:
    sweep = cache.sweep(2)
    assert sweep.recording == "drive"
    assert sweep.stamp_ns == START_NS + 200_000_000
    assert sweep.points.dtype == np.float32
    # Intensities 51, 102, 255, 0 of 255.
    assert sweep.points == pytest.approx(
        np.array([[11, 0, 0, 0.2], [-5, 1, 0, 0.4], [4, 3, 0, 1.0], [3, 0, -2, 0.0]])
    )
    assert sweep.time == pytest.approx([-0.05, -0.1, 0.0, -0.02])
    assert (sweep.label.dtype, sweep.label.tolist()) == (np.uint8, [5, 0, 3, 255])


def test_the_table_of_sweeps_counts_classes(cache: Cache) -> None:
    assert len(cache) == 6
    row = cache.sweeps[1]
    assert row.points == 4
    assert row.class_counts == [1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]
    # Base at x = 1, sensor 2 m above it.
    assert np.array(row.T_world_lidar)[:3, 3].tolist() == [1, 0, 2]
    assert {sweep.shard for sweep in cache.sweeps} == {
        f"sweeps-0000{shard}.safetensors" for shard in range(3)
    }


def test_an_image_reads_back_in_rgb(cache: Cache) -> None:
    image = cache.image(0).astype(int)
    assert image.shape == (80, 100, 3)
    assert np.abs(image - picture())[:, np.r_[:42, 58:100]].max() <= 6
    row = cache.images[0]
    assert (row.camera, row.stamp_ns) == ("front", START_NS + 50_000_000)
    assert row.camera_model.K.tolist() == [[100, 0, 50], [0, 100, 40], [0, 0, 1]]


def test_the_vehicles_motion_between_sweep_and_image_is_in_the_transform(cache: Cache) -> None:
    # Sweep 0 at 0 ms, base at x = 0; image 0 at 50 ms, base at x = 0.5. Lidar (11, 0, 0) is
    # world (11, 0, 2); the camera is at (0.5, 0, 1): 10.5 ahead, 1 up, so y = -1.
    point = [11.0, 0.0, 0.0, 1.0]
    assert cache.t_camera_lidar(0, 0) @ point == pytest.approx([0, -1, 10.5, 1])
    # Seen from sweep 1, at 100 ms and x = 1, the same numbers are half a metre further on.
    assert cache.t_camera_lidar(0, 1) @ point == pytest.approx([0, -1, 11.5, 1])


def test_images_near_a_sweep_come_nearest_first(cache: Cache) -> None:
    # Sweep 2 at 200 ms; images at 50, 150, 250, 350 ms (450 has no transform after it).
    assert [cache.images[j].stamp_ns - START_NS for j in cache.images_near(2, 0.16)] == [
        150_000_000, 250_000_000, 50_000_000, 350_000_000
    ]  # fmt: skip
    assert len(cache.images_near(2, 0.06)) == 2
    assert cache.images_near(2, 0.01) == []


def test_statistics_are_those_of_the_points(cache: Cache) -> None:
    statistics = cache.statistics
    assert statistics["points_per_sweep"] == {"p5": 4, "median": 4, "p95": 4}
    assert statistics["class_counts"] == [6, 0, 0, 6, 0, 6, 0, 0, 0, 0, 0]
    assert statistics["class_scans"] == [6, 0, 0, 6, 0, 6, 0, 0, 0, 0, 0]
    # (0.2 + 0.4 + 1.0 + 0.0) / 4
    assert statistics["intensity"]["mean"] == pytest.approx(0.4)
    # Ranges 11, sqrt 26 = 5.10, 5, sqrt 13 = 3.61; half-way between 5 and 5.10.
    assert statistics["range_m"]["median"] == pytest.approx((5 + np.sqrt(26)) / 2, abs=1e-5)
    assert statistics["height_m"]["median"] == 0
    # (3, 0, -2): atan(-2 / 3)
    assert statistics["elevation_deg"]["min"] == pytest.approx(-33.69, abs=0.01)


def test_a_cache_survives_pickle_and_fork(cache: Cache) -> None:
    first = cache.sweep(0).points
    assert np.array_equal(pickle.loads(pickle.dumps(cache)).sweep(0).points, first)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert np.array_equal(pool.apply(cache.sweep, (0,)).points, first)


def test_what_is_no_cache_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a cache: no index.json"):
        Cache.open(tmp_path)
    with pytest.raises(InputError, match="is not a cache"):
        Cache.open(tmp_path / "nowhere")
    (tmp_path / "index.json").write_text('{"format": "something-else"}')
    with pytest.raises(InputError, match="format 'something-else', must be 'haskd-cache-3'"):
        Cache.open(tmp_path)
    (tmp_path / "index.json").write_text('{"format": "haskd-cache-3", "cla')
    with pytest.raises(InputError, match=r"index.json is damaged"):
        Cache.open(tmp_path)
    (tmp_path / "index.json").write_text('{"format": "haskd-cache-3"}')
    with pytest.raises(InputError, match=r"index.json is damaged: .*; delete it and prepare"):
        Cache.open(tmp_path)


def test_an_unfinished_cache_says_what_to_do(tmp_path: Path) -> None:
    writer = CacheWriter(tmp_path / "cache", "fingerprint")
    writer.sweeps.next_is_new()
    writer.sweeps.add(A_ROW, {"label": np.zeros(1, np.uint8)})
    writer.close()
    with pytest.raises(InputError, match=r"unfinished; run `haskd prepare` on it again"):
        Cache.open(tmp_path / "cache")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_shard_is_named(tmp_path: Path, share: float) -> None:
    prepare([write_bag(tmp_path)], "pandaset", tmp_path / "cache")
    shard = tmp_path / "cache" / "sweeps-00000.safetensors"
    octets = shard.read_bytes()
    cache = Cache.open(tmp_path / "cache")
    shard.write_bytes(octets[: int(share * len(octets))])
    for reading in (lambda: cache.sweep(0), lambda: Cache.open(cache.path)):
        with pytest.raises(InputError, match=r"sweeps-00000.safetensors is missing or damaged"):
            reading()
    shard.unlink()
    for reading in (lambda: cache.sweep(0), lambda: Cache.open(cache.path)):
        with pytest.raises(InputError, match=r"sweeps-00000.safetensors is missing or damaged"):
            reading()


def test_an_unfinished_cache_with_a_damaged_shard_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "sweeps-00000.safetensors").write_bytes(b"not a shard")
    with pytest.raises(InputError, match=r"sweeps-00000.safetensors is damaged or no shard"):
        CacheWriter(tmp_path, "fingerprint")


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.partial").write_text("the only copy")
    with pytest.raises(InputError, match=r"neither empty nor an unfinished cache \(thesis.partial"):
        CacheWriter(tmp_path, "fingerprint")
    assert (tmp_path / "thesis.partial").read_text() == "the only copy"


def test_discarding_removes_what_was_written(tmp_path: Path) -> None:
    writer = CacheWriter(tmp_path / "cache", "fingerprint")
    writer.sweeps.next_is_new()
    writer.sweeps.add(A_ROW, {"label": np.zeros(1, np.uint8)})
    writer.close()
    writer.discard()
    assert not (tmp_path / "cache").exists()


def test_a_split_is_made_of_blocks_in_time(cache: Cache) -> None:
    splits = split_by_time([cache], {"train": 0.5, "calibration": 1 / 6, "validation": 1 / 3})
    numbers = {role: [ref.sweep for ref in refs] for role, refs in splits.items()}
    assert numbers == {
        "train": [0, 1, 2], "calibration": [3], "validation": [4, 5], "unlabelled": [],
    }  # fmt: skip


def test_every_recording_is_split_for_itself(tmp_path: Path) -> None:
    bags = [write_bag(tmp_path / name, Scene(clouds=n)) for name, n in (("a", 4), ("b", 2))]
    prepare(bags, "pandaset", tmp_path / "cache")
    cache = Cache.open(tmp_path / "cache")
    assert [row.recording for row in cache.sweeps] == ["drive"] * 4 + ["drive~2"] * 2
    splits = split_by_time([cache], {"train": 0.5, "validation": 0.5})
    numbers = {role: [ref.sweep for ref in refs] for role, refs in splits.items()}
    assert numbers == {"train": [0, 1, 4], "validation": [2, 3, 5], "unlabelled": []}


def test_fractions_that_do_not_add_up_are_refused(cache: Cache) -> None:
    for fractions in ({"train": 0.5}, {"train": 1.5, "validation": -0.5}):
        with pytest.raises(InputError, match="add up to 1"):
            split_by_time([cache], fractions)


def test_the_index_is_plain_json(cache: Cache) -> None:
    index = json.loads((cache.path / "index.json").read_text())
    assert index["format"] == "haskd-cache-3"
    assert index["intensity_scale"] == 255


@pytest.fixture
def copied(cache: Cache, tmp_path: Path) -> Path:
    """The cache, to damage it."""
    return Path(shutil.copytree(cache.path, tmp_path / "cache"))


def read_all(path: Path) -> list[bytes]:
    """All that is read of a cache, as bytes."""
    cache = Cache.open(path)
    rows = [json.dumps(vars(row)).encode() for row in (*cache.sweeps, *cache.images)]
    sweeps = [cache.sweep(i) for i in range(len(cache))]
    arrays = [array.tobytes() for s in sweeps for array in (s.points, s.time, s.label)]
    images = [cache.jpeg(j).tobytes() for j in range(len(cache.images))]
    report = json.dumps(read_report(cache).to_json()).encode()
    return [*rows, *arrays, *images, json.dumps(cache.statistics).encode(), report]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_noticed_or_changes_nothing(
    cache: Cache, data: st.DataObject
) -> None:
    expected = read_all(cache.path)
    file = data.draw(st.sampled_from(sorted(cache.path.glob("*.[sj]*"))))
    whole = file.read_bytes()
    damaged = with_flipped_bit(whole, data.draw(st.integers(0, 8 * len(whole) - 1)))
    file.unlink()  # an open shard is mapped into memory
    file.write_bytes(damaged)
    try:
        assert read_all(cache.path) == expected
    except InputError as error:
        assert str(file) in str(error) and "\n" not in str(error)
    finally:
        file.unlink()
        file.write_bytes(whole)


def test_a_digit_that_changed_in_a_pose_is_noticed(copied: Path) -> None:
    index = copied / "index.json"
    text = index.read_text()
    # Sweep 1 is at x = 1, 2 m above the ground.
    changed = text.replace("[0.0, 0.0, 1.0, 2.0]", "[0.0, 0.0, 1.0, 3.0]", 1)
    assert changed != text
    index.write_text(changed)
    with pytest.raises(InputError, match=r"index\.json is damaged: its content is not what its"):
        Cache.open(copied)


def test_a_damaged_shard_is_made_again_when_it_is_deleted(cache: Cache, copied: Path) -> None:
    # The report names its folder.
    files = [file for file in copied.glob("*.[sj]*") if file.name != "report.json"]
    whole = {file.name: file.read_bytes() for file in files}
    shard = copied / "sweeps-00001.safetensors"
    content = whole[shard.name]
    # The last byte is a label of the shard's last sweep.
    shard.write_bytes(with_flipped_bit(content, 8 * len(content) - 1))
    with pytest.raises(InputError, match=r"sweeps-00001\.safetensors is missing or damaged: .* is "
                       r"not what its checksum says \(row 00000003\); delete it and prepare the "
                       r"cache again"):  # fmt: skip
        for i in range(6):
            Cache.open(copied).sweep(i)
    bag, config = cache.path.parent / "drive", PrepareConfig(shard_bytes=150)
    assert prepare([bag], "pandaset", copied, config).up_to_date
    shard.unlink()
    assert not prepare([bag], "pandaset", copied, config).up_to_date
    assert {file.name: file.read_bytes() for file in files} == whole


def test_a_cache_whose_index_is_damaged_keeps_its_shards(cache: Cache, copied: Path) -> None:
    index = copied / "index.json"
    whole = index.read_bytes()
    index.unlink()
    stamps = {file: file.stat().st_mtime_ns for file in copied.glob("*.safetensors")}
    bag, config = cache.path.parent / "drive", PrepareConfig(shard_bytes=150)
    prepare([bag], "pandaset", copied, config)
    assert index.read_bytes() == whole
    assert stamps == {file: file.stat().st_mtime_ns for file in copied.glob("*.safetensors")}


def test_a_shard_of_another_cache_is_noticed(copied: Path, tmp_path: Path) -> None:
    scene = Scene(clouds=6, images=5, points=lambda index: np.roll(SCENE, 1))
    config = PrepareConfig(shard_bytes=150)
    prepare([write_bag(tmp_path, scene)], "pandaset", tmp_path / "other", config)
    name = "sweeps-00000.safetensors"
    (copied / name).unlink()
    shutil.copyfile(tmp_path / "other" / name, copied / name)
    with pytest.raises(InputError, match=r"points is not what its checksum says"):
        Cache.open(copied).sweep(0)
