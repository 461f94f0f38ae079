"""On a real recording `haskd evaluate` counts what `haskd segment` and the node publish."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_training.data.preparing.prepare import PrepareConfig, prepare
from haskd_training.experiments.evaluate import evaluate_model
from haskd_training.recordings.labels import load_label_map
from haskd_training.recordings.readers.bag import POINT_CLOUD, open_bag
from haskd_training.robot.live.replay import RecordedCloud, replay
from haskd_training.robot.offline.segment_bag import SEGMENTATION, segment_bag

TOPIC, CLOUDS = "/velodyne/points", 2


@pytest.fixture(scope="module")
def street(real_bags, tmp_path_factory) -> Path:
    """The first clouds of a recording of 0 to 1, by a sensor that the model was not trained on."""
    recorded = real_bags / "semantickitti_07"
    if not recorded.is_dir():
        pytest.skip(f"{recorded} is not there")
    path = tmp_path_factory.mktemp("real") / "street"
    types = get_typestore(Stores.ROS2_HUMBLE)
    with open_bag(recorded) as bag, Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as w:
        added = w.add_connection(TOPIC, POINT_CLOUD, typestore=types)
        for number, (_, cdr) in enumerate(islice(bag.messages_with_cdr(TOPIC), CLOUDS)):
            w.write(added, 1 + number, cdr)
    return path


def clouds(bag: Path, topic: str) -> Iterator[np.ndarray]:
    with open_bag(bag) as opened:
        for _, cloud in opened.messages([topic]):
            yield read_points(cloud)


def counted(street: Path, published: Iterator[np.ndarray]) -> list[list[int]]:
    """[11, 12] points by class of their own label and published class, the last column without."""
    label_map = load_label_map("semantickitti")
    counts = np.zeros((11, 256), np.int64)
    for cloud, answer in zip(clouds(street, TOPIC), published, strict=True):
        for class_id, raw in enumerate(label_map.ids):
            of_class = np.isin(cloud["label"] & 0xFFFF, raw)
            counts[class_id] += np.bincount(answer["class_id"][of_class], minlength=256)
    assert not counts[:, 11:255].any()
    return np.column_stack([counts[:, :11], counts[:, 255]]).tolist()


@pytest.fixture(scope="module")
def evaluated(street) -> list[list[int]]:
    return evaluate_model(
        DEFAULT_MODEL, street, device="cpu", labels="semantickitti"
    ).counts.tolist()


def test_evaluate_counts_a_real_recording_as_segment_writes_it(street, evaluated, tmp_path):
    segment_bag(DEFAULT_MODEL, street, tmp_path / "out", device="cpu")
    assert evaluated == counted(street, clouds(tmp_path / "out", SEGMENTATION))
    assert sum(map(sum, evaluated)) > 100_000


def test_a_cache_of_a_real_recording_is_scored_as_the_recording(street, evaluated, tmp_path):
    prepare([street], "semantickitti", tmp_path / "cache", PrepareConfig(overlays=0))
    assert evaluate_model(DEFAULT_MODEL, tmp_path / "cache", device="cpu").counts.tolist() == (
        evaluated
    )


def test_the_node_publishes_what_is_scored(street, evaluated, tmp_path, ros_environment):
    with open_bag(street) as bag:
        sent = [RecordedCloud(0, cdr) for _, cdr in bag.messages_with_cdr(TOPIC)]
    # Stamps that tell the replies apart
    sent = [cloud.restamped((1 + number) * 10**9) for number, cloud in enumerate(sent)]
    # Slow enough that none is replaced by the next one
    played = replay(DEFAULT_MODEL, sent, 0.5, tmp_path / "node.log", parameters={"device": "cpu"})
    replies = sorted(played.replies, key=lambda reply: reply.stamp_ns)
    assert evaluated == counted(street, (reply.points for reply in replies))
