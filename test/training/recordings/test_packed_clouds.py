"""Recordings of clouds that point_cloud_transport packed."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import street_scene as scene
from backports import zstd
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.prepare import prepare
from haskd_training.recordings.readers.bag import POINT_CLOUD, open_bag
from haskd_training.robot.offline.assemble_bag import PARAMETERS, assemble_bag
from haskd_training.robot.offline.segment_bag import SEGMENTATION, parse, segment_bag

# As point_cloud_interfaces has it
TYPE = "point_cloud_interfaces/msg/CompressedPointCloud2"
STORE = get_typestore(Stores.ROS2_HUMBLE)
STORE.register(
    get_types_from_msg(
        "std_msgs/Header header\nuint32 height\nuint32 width\nsensor_msgs/PointField[] fields\n"
        "bool is_bigendian\nuint32 point_step\nuint32 row_step\nuint8[] compressed_data\n"
        "bool is_dense\nstring format",
        TYPE,
    )
)
WAYS = {
    # The zstd plugin writes one frame, the zlib plugin gzip's header
    "zstd": lambda data: zstd.compress(data, 7),
    "zlib": gzip.compress,
}


def packed(cloud, name: str, data: bytes):
    return STORE.types[TYPE](
        cloud.header, cloud.height, cloud.width, cloud.fields, cloud.is_bigendian, cloud.point_step,
        cloud.row_step, np.frombuffer(data, np.uint8), cloud.is_dense, name,
    )  # fmt: skip


def drive(folder: Path, way: str, *, plain: bool = False, spoilt: int = -1, name: str = "") -> Path:
    """Five clouds; the spoilt one lacks its end."""
    folder.mkdir(exist_ok=True)
    messages = [scene.static(), *scene.motion(6), *scene.camera(5)]
    for number, (ns, _, cloud) in enumerate(scene.clouds(5)):
        data = WAYS[way](cloud.data.tobytes())
        data = data[:-9] if number == spoilt else data
        messages.append((ns, f"/points/{way}", packed(cloud, name or way, data)))
        if plain:
            messages.append((ns, "/points", cloud))
    return scene.write(folder / "drive", messages, store=STORE)


@pytest.mark.parametrize("way", WAYS)
def test_packed_clouds_are_read_as_what_they_were(tmp_path, way):
    bag = drive(tmp_path, way)
    with open_bag(bag) as opened:
        assert opened.topics_of(POINT_CLOUD) == [f"/points/{way}"]
        clouds = [cloud for _, cloud in opened.messages([f"/points/{way}"])]
        wire = [cdr for _, cdr in opened.messages_with_cdr(f"/points/{way}")]
    expected = [cloud for _, _, cloud in scene.clouds(5)]
    for cloud, cdr, original in zip(clouds, wire, expected, strict=True):
        assert (read_points(cloud) == read_points(original)).all()
        assert cdr == bytes(STORE.serialize_cdr(original, POINT_CLOUD))


def test_a_packed_recording_is_prepared_as_the_plain_one(tmp_path):
    plain = scene.write(
        tmp_path / "drive", [scene.static(), *scene.motion(6), *scene.camera(5), *scene.clouds(5)]
    )
    for name, bag in (("plain", plain), ("packed", drive(tmp_path / "zstd", "zstd"))):
        prepare([bag], "pandaset", tmp_path / name)
    one, other = (Cache.open(tmp_path / name) for name in ("plain", "packed"))
    assert len(one) == len(other) == 5 and len(one.images) == len(other.images) > 0
    for i in range(5):
        assert (one.sweep(i).points == other.sweep(i).points).all()
        assert (one.sweep(i).label == other.sweep(i).label).all()


def test_a_packed_recording_is_labelled_and_assembled(tmp_path, tiny_model):
    bag = drive(tmp_path, "zstd")
    assert segment_bag(tiny_model, bag, tmp_path / "labelled", device="cpu").labelled == 5
    with open_bag(tmp_path / "labelled") as opened:
        assert opened.topics_of(POINT_CLOUD)[0] == "/points/zstd"
        assert opened.count([SEGMENTATION]) == 5
    wanted = parse(["motion.compensation=true", "poses.fixed_frame=odom"], PARAMETERS)
    found = assemble_bag(bag, tmp_path / "assembled", wanted)
    assert (found.topic, found.clouds) == ("/points/zstd", 5)
    with open_bag(tmp_path / "assembled") as opened:
        types = {each.msgtype for each in opened.connections if each.topic == found.topic}
        assert types == {POINT_CLOUD}
        assert [cloud.width for _, cloud in opened.messages([found.topic])] == [3] * 5


def test_where_the_same_clouds_are_recorded_plain_those_are_taken(tmp_path):
    with open_bag(drive(tmp_path, "zstd", plain=True)) as opened:
        assert opened.topics_of(POINT_CLOUD) == ["/points"]


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_cloud_is_left_out(tmp_path, way):
    report = prepare([drive(tmp_path, way, spoilt=2)], "pandaset", tmp_path / "cache")
    assert len(Cache.open(tmp_path / "cache")) == 4
    assert sum(report.sweeps_skipped.values()) == 1


def test_a_cloud_that_unpacks_to_more_than_it_says_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(WAYS, "zlib", lambda data: zlib.compress(data + bytes(10**7)))
    with open_bag(drive(tmp_path, "zlib")) as opened:
        assert all(len(cloud.data) == 0 for _, cloud in opened.messages(["/points/zlib"]))


def test_a_way_that_is_not_read_is_named_with_what_unpacks_it(tmp_path):
    bag = drive(tmp_path, "zstd", name="draco")
    with pytest.raises(InputError, match=r"/points/zstd: clouds packed by 'draco' .* republish"):
        prepare([bag], "pandaset", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
