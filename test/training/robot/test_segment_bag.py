"""Labelling a recording: nothing is lost, and every cloud has the labels that the node gives it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from haskd_ros.clouds.pointcloud import read_points, read_xyz_intensity
from haskd_ros.errors import InputError
from haskd_ros.node.parameters import Parameters
from haskd_ros.segmenter import Segmenter
from haskd_training.recordings.readers.bag import POINT_CLOUD, open_bag
from haskd_training.robot.segment_bag import SEGMENTATION, VISUALIZATION, parse, segment_bag


@pytest.fixture(scope="module")
def out(drive, tiny_model, tmp_path_factory):
    return tmp_path_factory.mktemp("segmented") / "labelled"


@pytest.fixture(scope="module")
def result(drive, tiny_model, out):
    return segment_bag(tiny_model, drive, out, device="cpu")


def recorded(bag: Path) -> dict[str, list]:
    """(time, bytes) of each topic's messages, with the topic's type and qualities of service."""
    found: dict[str, list] = {}
    with open_bag(bag) as opened:
        for connection, time_ns, raw, _ in opened.recorded():
            kind = (connection.msgtype, connection.ext.offered_qos_profiles)
            found.setdefault(connection.topic, [kind]).append((time_ns, raw))
    return found


def first_labelled(bag: Path) -> np.ndarray:
    """The points of the first labelled cloud."""
    with open_bag(bag) as opened:
        _, cloud = next(opened.messages([SEGMENTATION]))
    return read_points(cloud)


def test_every_message_is_still_there(drive, out, result):
    before, after = recorded(drive), recorded(out)
    assert result.copied == sum(len(messages) - 1 for messages in before.values())
    assert {topic: after[topic] for topic in before} == before
    assert set(after) - set(before) == {SEGMENTATION, VISUALIZATION}


def test_clouds_are_labelled_as_on_the_robot(drive, out, result, tiny_model):
    segmenter = Segmenter.load(tiny_model, device="cpu")
    with open_bag(out) as bag:
        (topic,) = set(bag.topics_of(POINT_CLOUD)) - {SEGMENTATION, VISUALIZATION}
        assert result.labelled == bag.count([topic]) == bag.count([SEGMENTATION]) == 20
        clouds, labelled = ([m for _, m in bag.messages([name])] for name in (topic, SEGMENTATION))
        (first, *_), *_ = recorded(out)[VISUALIZATION][1:]
    assert first == recorded(out)[topic][1][0]
    for cloud, answer in zip(clouds, labelled):
        assert answer.header == cloud.header
        assert (answer.height, answer.width) == (cloud.height, cloud.width)
        expected = segmenter(read_xyz_intensity(cloud)[0])
        assert read_points(answer)["class_id"].tolist() == expected.class_id.tolist()


def test_parameters_of_the_node_hold_here_too(drive, tiny_model, tmp_path):
    parameters = parse(["range.max=10", "class_remap=[car:road]"])
    segment_bag(tiny_model, drive, tmp_path / "near", device="cpu", parameters=parameters)
    points = first_labelled(tmp_path / "near")
    distance = np.sqrt(sum(points[name].astype(np.float64) ** 2 for name in "xyz"))
    assert set(points["class_id"][distance > 10.001]) == {255}
    assert 1 not in points["class_id"] and (points["class_id"] != 255).any()


def test_the_box_may_be_in_any_frame_that_the_recording_knows(drive, tiny_model, tmp_path):
    # The simulated sensor is 1.9 m above the base and level: the ground is at z = 0 of the base
    parameters = parse(["crop.frame=base_link", "crop.min=[-.inf, -.inf, 0.5]"])
    segment_bag(tiny_model, drive, tmp_path / "above", device="cpu", parameters=parameters)
    points = first_labelled(tmp_path / "above")
    assert ((points["class_id"] != 255) == (points["z"] >= 0.5 - 1.9)).all()

    parameters = parse(["crop.frame=moon", "crop.max=[1, 1, 1]"])
    found = segment_bag(tiny_model, drive, tmp_path / "no", device="cpu", parameters=parameters)
    assert (found.labelled, found.rejected) == (0, {"no transform to crop.frame": 20})


def test_what_can_not_be_labelled_is_counted(drive, tiny_model, tmp_path):
    found = segment_bag(
        tiny_model, drive, tmp_path / "out", device="cpu", parameters=Parameters(min_points=10**6)
    )
    assert (found.labelled, found.rejected) == (0, {"fewer than min_points": 20})


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("device=cpu", "'device=cpu' is not of the form name=value with a name of"),
        ("range.max", "'range.max' is not of the form"),
        ("range.max=far", "range.max=far: must be of the kind of inf"),
    ],
)
def test_a_wrong_parameter_is_refused(assignment, said):
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        parse([assignment])


def test_nothing_is_overwritten_and_nothing_labelled_twice(drive, tiny_model, out, result):
    with pytest.raises(InputError, match="exists already; nothing is overwritten"):
        segment_bag(tiny_model, drive, out, device="cpu")
    with pytest.raises(InputError, match="has labelled clouds already, on /segment/output"):
        segment_bag(tiny_model, out, out.parent / "again", device="cpu")
    assert not (out.parent / "again").exists()
