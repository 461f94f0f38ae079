"""Labelling a recording: nothing is lost, and every cloud has the labels that the node gives it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability

from haskd_ros import model_file
from haskd_ros.clouds.pointcloud import read_points, read_xyz_intensity
from haskd_ros.errors import InputError
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.segmenter import Segmenter
from haskd_training.recordings.readers.bag import POINT_CLOUD, open_bag
from haskd_training.robot.offline.segment_bag import SEGMENTATION, VISUALIZATION, parse, segment_bag
from haskd_training.robot.views.view import frames_of_bag
from recorded_bags import POINT, Scene, write_bag


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
    assert set(after) - set(before) == {
        SEGMENTATION, VISUALIZATION, "/segment/output/legend", "/segment/output/label_info",
    }  # fmt: skip


def test_the_bag_alone_names_and_colours_the_labels(out, result, tiny_metadata):
    """As another reader finds it, by the definitions in the bag."""
    with AnyReader([out]) as reader:
        found = {}
        for connection, _, raw in reader.messages():
            if connection.topic.endswith(("/legend", "/label_info")):
                message = reader.deserialize(raw, connection.msgtype)
                found.setdefault(connection.topic.rpartition("/")[2], []).append(message)
                (qos,) = connection.ext.offered_qos_profiles
                assert qos.durability == QosDurability.TRANSIENT_LOCAL
    (info,), (legend,) = found["label_info"], found["legend"]
    named = [(entry.class_id, entry.class_name) for entry in info.class_map]
    # The tiny model's classes
    assert named == [(0, "road"), (1, "car"), (2, "building")]
    clear, *lines = legend.markers
    assert clear.action == 3
    drawn = [
        (line.id, line.text, [round(255 * v) for v in (line.color.r, line.color.g, line.color.b)])
        for line in lines
    ]
    colors = [list(info.color) for info in tiny_metadata.taxonomy.classes]
    assert drawn == [(*entry, color) for entry, color in zip(named, colors)]
    assert {line.header.frame_id for line in lines} == {"lidar"}


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


def labelled_scene(folder: Path, model: Path, points: np.ndarray, *settings: str):
    """What became of a recording of one cloud, and the points of its labelled and coloured one."""
    bag = write_bag(folder, Scene(1, 0, lambda _: points))
    found = segment_bag(model, bag, folder / "out", device="cpu", parameters=parse(settings))
    with open_bag(folder / "out") as opened:
        clouds = dict(opened.messages([SEGMENTATION, VISUALIZATION]))
    return found, read_points(clouds[SEGMENTATION]), read_points(clouds[VISUALIZATION])


def around(count: int, dtype: np.dtype = POINT) -> np.ndarray:
    """Points up to 20 m away."""
    points = np.zeros(count, dtype)
    for name in "xyz":
        points[name] = np.random.default_rng(0).uniform(-11, 11, count)
    points["intensity"] = np.linspace(0, 255, count)
    return points


def precise(**types: str) -> np.dtype:
    return np.dtype([(name, types.get(name, POINT[name])) for name in POINT.names])


def test_coordinates_of_64_bits_keep_them(tmp_path, tiny_model):
    points = around(50, precise(x="<f8", y="<f8", z="<f8"))
    points["x"][0] = 448_262.53
    points["y"][0] = 5_411_926.25  # float32 has steps of 0.5 here
    _, labelled, coloured = labelled_scene(tmp_path, tiny_model, points)
    for name in "xyz":
        assert labelled[name].dtype == np.float64
        assert labelled[name].tolist() == points[name].tolist()
        # What RViz shows
        assert coloured[name].dtype == np.float32
    assert labelled["class_id"][0] == 255 and (labelled["class_id"][1:] != 255).all()


def test_whole_numbers_of_32_bits_are_not_rounded(tmp_path, tiny_model):
    points = around(9, precise(y="<i4"))
    points["y"][0] = 2**24 + 1  # the first that float32 doesn't have
    _, labelled, _ = labelled_scene(tmp_path, tiny_model, points)
    assert labelled["y"][0] == 2**24 + 1


def test_a_cloud_in_map_coordinates_is_counted_apart_and_said(tmp_path, tiny_model):
    points = around(50, precise(x="<f8", y="<f8"))
    points["x"] += 448_262.5
    points["y"] += 5_411_932.25
    found, labelled, _ = labelled_scene(tmp_path, tiny_model, points)
    assert (found.labelled, found.beyond_range, found.rejected) == (0, 1, {})
    assert (labelled["class_id"] == 255).all()
    before, finding = found.findings
    assert before.code == "points-far-away"
    assert str(finding) == (
        "/lidar/points: 1 clouds without a label; every point is beyond the range of 100 m; is the "
        "cloud in the sensor's frame?"
    )


def test_padding_that_shares_a_name_is_no_reason_to_reject_a_cloud(tmp_path, tiny_model):
    # Renamed to "_" in the message by the helper below: x y z _ intensity _ as from a PCD file
    dtype = np.dtype(
        [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("pad1", "<f4"), ("intensity", "<f4"),
         ("pad2", "<f8")]
    )  # fmt: skip
    bag = write_bag(tmp_path, Scene(1, 0, lambda _: around(50, dtype), rename={"pad": "_"}))
    found = segment_bag(tiny_model, bag, tmp_path / "out", device="cpu")
    assert (found.labelled, found.rejected) == (1, {})
    with open_bag(tmp_path / "out") as opened:
        (_, cloud), *_ = opened.messages(["/lidar/points"])
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "_", "intensity", "_"]


@pytest.mark.parametrize("lidar", ["lidar", "/lidar"])
@pytest.mark.parametrize("box", ["lidar", "/lidar"])
def test_a_slash_before_a_frame_does_not_matter(tmp_path, tiny_model, lidar, box):
    bag = write_bag(tmp_path, Scene(1, 0, lambda _: around(200), lidar_frame=lidar))
    parameters = parse([f"crop.frame={box}", "crop.min=[0, 0, 0]"])
    segment_bag(tiny_model, bag, tmp_path / "out", device="cpu", parameters=parameters)
    points = first_labelled(tmp_path / "out")
    inside = (points["x"] >= 0) & (points["y"] >= 0) & (points["z"] >= 0)
    assert ((points["class_id"] != 255) == inside).all() and inside.any()


def test_a_sensor_unlike_the_models_is_named_once_with_its_quantities(
    tmp_path, tiny_model, tiny_metadata
):
    # Trained on ten times as many points, which were ten times as far away
    sensor = {
        "points_per_sweep": {"p5": 4900.0, "median": 5000.0, "p95": 5100.0},
        "range_m": {"p5": 50.0, "median": 110.0, "p95": 150.0},
    }
    network, _ = model_file.load(tiny_model)
    model = tmp_path / "other.safetensors"
    model_file.save(model, network, replace(tiny_metadata, sensor=sensor))
    bag = write_bag(tmp_path, Scene(3, 0, lambda _: around(500)))
    found = segment_bag(model, bag, tmp_path / "out", device="cpu")
    (finding,) = found.findings
    assert finding.is_warning
    for said in (
        "points per sweep 500, trained on 4,900 to 5,100",
        "m (median), trained on 110.0 m",
    ):
        assert said in finding.message
    assert list(frames_of_bag(bag, model, None, "cpu").findings) == [finding]


def test_intensities_beyond_a_fixed_unit_are_said(tmp_path, tiny_model):
    found, _, _ = labelled_scene(tmp_path, tiny_model, around(500), "intensity.scale=100")
    (finding,) = found.findings
    assert "intensity goes up to 255, 61 % of the points exceed 100" in str(finding)


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
    said = r"has labelled clouds already, on /segment/output/seg.*--export labels"
    with pytest.raises(InputError, match=said):
        segment_bag(tiny_model, out, out.parent / "again", device="cpu")
    assert not (out.parent / "again").exists()
