"""Hundreds of caches open at once: what is held of them, and how a bad one is told."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damage import with_flipped_bit

from haskd_ros.errors import InputError
from haskd_training.data import sensor_statistics
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.packed_rows import PackedRows
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.data.caches.writer import CacheWriter
from haskd_training.data.sensor_statistics import input_range
from haskd_training.recordings.labels import load_label_map

MANY = 300
POSE = np.eye(4).tolist()


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A cache of two sweeps of three points, over and over; shards are links to the same files."""
    folder = tmp_path_factory.mktemp("many")
    writer = CacheWriter(folder / "000", "fingerprint")
    for number in range(2):
        row = SweepRow("drive", number, 3, [3] + 10 * [0], POSE, intensity_scale=1.0)
        points = np.full((3, 4), number, np.float32)
        label, time = np.zeros(3, np.uint8), np.zeros(3, np.float32)
        writer.sweeps.next_is_new()
        writer.sweeps.add(row, {"points": points, "time": time, "label": label})
    writer.close()
    taxonomy = load_label_map("simulation").taxonomy
    cache = Cache(folder / "000", taxonomy, 1.0, {}, writer.sweeps.rows, [], "fingerprint")
    cache.write_index(folder / "000")
    copies = [folder / f"{number:03d}" for number in range(1, MANY)]
    for copy in copies:
        shutil.copytree(folder / "000", copy, copy_function=os.link)
    return [folder / "000", *copies]


def test_of_hundreds_of_caches_few_files_are_open(caches: list[Path]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    opened = [Cache.open(path) for path in caches]
    assert [cache.sweep(1).points[0, 0] for cache in opened] == MANY * [1]
    assert len(os.listdir("/proc/self/fd")) < before + 10


def _cut_off(shard: Path) -> None:
    octets = shard.read_bytes()
    shard.unlink()  # a link: the others keep theirs
    shard.write_bytes(octets[:-1])


@pytest.mark.parametrize("damage", [_cut_off, Path.unlink])
def test_a_bad_one_among_hundreds_is_named_when_it_is_opened(
    caches: list[Path], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(caches[7], bad)
    damage(bad / "sweeps-00000.safetensors")
    with pytest.raises(InputError, match=r"bad/sweeps-00000.safetensors is missing or damaged"):
        [Cache.open(path) for path in [*caches[:9], bad, *caches[9:20]]]


def test_content_is_checked_when_it_is_read_and_not_before(
    caches: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(caches[0], tmp_path / "bad")
    shard = tmp_path / "bad" / "sweeps-00000.safetensors"
    octets = shard.read_bytes()
    shard.write_bytes(with_flipped_bit(octets, 8 * (len(octets) - 1)))
    cache = Cache.open(tmp_path / "bad")
    with pytest.raises(InputError, match="is not what its checksum says"):
        [cache.sweep(i) for i in range(2)]


def test_packed_rows_are_the_rows_that_were_packed() -> None:
    camera = {"width": 4, "height": 3, "K": POSE, "distortion_model": "", "D": [0.1]}
    rows = [
        ImageRow(
            "drive", "left" if k % 2 else "right", k, T_world_camera=pose, key=str(k), **camera
        )
        for k, pose in enumerate([POSE, None, [[0.1, -2.5e300, 3, 4]], POSE])
    ]
    packed = PackedRows(ImageRow, iter(rows))
    assert list(packed) == rows and len(packed) == 4
    assert packed[1:3] == rows[1:3] and (packed[2], packed[-1]) == (rows[2], rows[3])
    assert list(pickle.loads(pickle.dumps(packed))) == rows
    with pytest.raises(IndexError):
        packed[4]
    assert list(PackedRows(SweepRow, [])) == []


def test_of_many_recordings_few_sweeps_tell_what_a_network_sees(
    caches: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensor_statistics, "_SWEEPS_IN_ALL", 6)
    read: list[Path] = []
    sweep = Cache.sweep
    monkeypatch.setattr(Cache, "sweep", lambda self, i: read.append(self.path) or sweep(self, i))
    opened = [Cache.open(path) for path in caches[:11]]
    # z and intensity are 0 in the first sweep of each, 1 in the second; the first is read.
    seen = input_range(opened, 100.0)
    assert read == caches[:11:2] and (seen.height.min, seen.height.max) == (0, 0)
    # Of three caches two sweeps each
    read.clear()
    assert input_range(opened[:3], 100.0).height.max > 0.9 and len(read) == 6
