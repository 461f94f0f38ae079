"""A model is replaced under a stream of clouds: each cloud fits the model that labelled it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from diagnostic_msgs.msg import DiagnosticArray
from forged_models import with_document
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import Robot, cloud_of, some_points, wait_until
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from haskd_ros import model_file
from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.model_header import Provenance
from haskd_ros.models import build
from haskd_ros.node.legend import label_info_type
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import ClassInfo, Taxonomy

POINTS = some_points()
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
LATCHED_ALL = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class Model:
    """A model file's content and what the node has to publish with it.

    Attributes:
        digest: as on /diagnostics.
        names: of the classes.
        class_id: [N] of `POINTS`.
        rgb: [N] 0x00RRGGBB of `POINTS`.
    """

    content: bytes
    digest: str
    names: tuple[str, ...]
    class_id: np.ndarray
    rgb: np.ndarray


def model_of(path: Path) -> Model:
    content = path.read_bytes()
    segmenter = Segmenter.load(path, device="cpu", precision="fp32")
    points = np.stack([POINTS[name] for name in ("x", "y", "z", "intensity")], 1)
    class_id = segmenter(points).class_id
    packed = segmenter.taxonomy.color_table().astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1])
    return Model(
        content,
        hashlib.sha256(content).hexdigest()[:12],
        segmenter.taxonomy.names,
        class_id,
        packed[class_id],
    )


@pytest.fixture(scope="module")
def old(tiny_model) -> Model:
    """road, car, building."""
    return model_of(tiny_model)


@pytest.fixture(scope="module")
def unusable(tiny_model) -> bytes:
    """A whole file; but its voxels are so small that no cloud could be labelled."""
    return with_document(
        tiny_model.read_bytes(), lambda document: document["arguments"].update(voxel_size=1e-9)
    )


@pytest.fixture(scope="module")
def new(tiny_metadata, tmp_path_factory) -> Model:
    """Other classes, of which it has one more, and other colours."""
    torch.manual_seed(22)
    classes = (("north", 10), ("east", 20), ("south", 30), ("west", 40))
    taxonomy = Taxonomy(tuple(ClassInfo(name, (red, 200, 100)) for name, red in classes))
    origin = Provenance(attribution="Surveyors of the four winds, CC BY 4.0")
    metadata = replace(tiny_metadata, taxonomy=taxonomy, provenance=origin)
    network = build(metadata.architecture, classes=4, **metadata.arguments)
    with torch.no_grad():
        network.classifier.weight.mul_(20)
        network.classifier.bias.zero_()
    path = tmp_path_factory.mktemp("new") / "new.safetensors"
    model_file.save(path, network, metadata)
    return model_of(path)


class Stream:
    """Clouds that a robot sends at 30 Hz, and what the node publishes meanwhile."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        for topic in ("output/segmentation", "output/visualization"):
            robot.subscribe(topic, PointCloud2, 1000)
        robot.subscribe("output/legend", MarkerArray, LATCHED)
        robot.subscribe("output/model", DiagnosticArray, LATCHED_ALL)
        robot.subscribe("/diagnostics", DiagnosticArray, 1000)
        if (label_info := label_info_type()) is not None:
            robot.subscribe("output/label_info", label_info, LATCHED)
        robot.publish_on("/segment/input/points")
        self._cloud = cloud_of(POINTS)
        self._timer = robot.node.create_timer(1 / 30, self._send)

    def _send(self) -> None:
        self._cloud.header.stamp = self._robot.node.get_clock().now().to_msg()
        self._robot.send_now(self._cloud)

    def clear(self) -> None:
        for messages in self._robot.received.values():
            messages.clear()

    def wait_for_clouds(self, count: int) -> None:
        """Until so many more are there, labelled and coloured."""
        wanted = len(self.labelled()) + count
        self._robot.wait(lambda: len(self.labelled()) >= wanted)

    def labelled_by(self, model: Model) -> list[np.ndarray]:
        """Those that have a model's labels."""
        return [ids for ids, _ in self.labelled() if (ids == model.class_id).all()]

    def labelled(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """class_id and rgb of each published cloud, in order."""
        colored = {
            (cloud.header.stamp.sec, cloud.header.stamp.nanosec): cloud
            for cloud in self._robot.received["output/visualization"]
        }
        pairs = []
        for cloud in self._robot.received["output/segmentation"]:
            stamp = cloud.header.stamp.sec, cloud.header.stamp.nanosec
            if stamp in colored:
                rgb = read_points(colored[stamp])["rgb"].view(np.uint32)
                pairs.append((read_points(cloud)["class_id"], rgb))
        return pairs

    def digests_and_classes(self) -> set[tuple[str, str]]:
        """All that /diagnostics has reported."""
        reported = set()
        for message in self._robot.received["/diagnostics"]:
            values = {pair.key: pair.value for pair in message.status[0].values}
            reported.add((values["sha256"], values["classes"]))
        return reported

    def legends(self) -> list[tuple[str, ...]]:
        """Class names of each published legend."""
        return [
            tuple(marker.text for marker in message.markers[1:])
            for message in self._robot.received["output/legend"]
        ]

    def label_infos(self) -> list[tuple[str, ...]]:
        """Class names of each LabelInfo; none where vision_msgs is not installed."""
        return [
            tuple(each.class_name for each in message.class_map)
            for message in self._robot.received.get("output/label_info", ())
        ]

    def stop(self) -> None:
        self._robot.node.destroy_timer(self._timer)


@pytest.fixture
def model_path(old, tmp_path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(old.content)
    return path


@pytest.fixture
def stream(start, second_robot, model_path) -> Iterator[Stream]:
    """Answered by a node with the old model."""
    node = start(
        f"model:={model_path}", "device:=cpu", "precision:=fp32", "warmup_points:=1000",
        "diagnostics.period:=0.1",
    )  # fmt: skip
    node.wait_for_log("active")
    stream = Stream(second_robot)
    stream.wait_for_clouds(1)
    yield stream
    stream.stop()
    assert node.end() == 0
    assert "Traceback" not in node.log


def reload(robot: Robot) -> tuple[bool, str]:
    response = robot.call(Trigger, "reload", Trigger.Request())
    return response.success, response.message


def test_every_cloud_has_the_labels_and_the_colours_of_one_model(
    stream, second_robot, model_path, old, new
):
    for before, after in ((old, new), (new, old), (old, new)):
        stream.clear()
        stream.wait_for_clouds(5)
        model_path.write_bytes(after.content)
        success, message = reload(second_robot)
        assert (success, message) == (True, f"model {model_path} ({after.digest})")
        # The answer may come before the last cloud that was labelled by the other model.
        second_robot.wait(lambda after=after: len(stream.labelled_by(after)) >= 5)
        pairs = stream.labelled()
        switch = next(i for i, (ids, _) in enumerate(pairs) if (ids == after.class_id).all())
        assert switch >= 5
        for number, (class_id, rgb) in enumerate(pairs):
            model = before if number < switch else after
            assert class_id.tolist() == model.class_id.tolist()
            assert rgb.tolist() == model.rgb.tolist()
        second_robot.wait(lambda after=after: stream.legends()[-1] == after.names)
        assert set(stream.legends()) <= {before.names, after.names}
        if label_info_type() is not None:
            second_robot.wait(lambda after=after: stream.label_infos()[-1] == after.names)
            assert set(stream.label_infos()) <= {before.names, after.names}


def test_each_model_is_recorded_with_the_stamp_of_its_first_cloud(
    stream, second_robot, model_path, old, new
):
    records = second_robot.received["output/model"]
    model_path.write_bytes(new.content)
    assert reload(second_robot)[0]
    stream.wait_for_clouds(5)
    second_robot.wait(lambda: record_of(records[-1])["sha256"] == sha256(new))
    second_robot.wait(lambda: records[-1].status[0].message == "labels from this cloud on")
    stamps = [
        cloud.header.stamp
        for cloud in second_robot.received["output/segmentation"]
        if (read_points(cloud)["class_id"].tolist() == new.class_id.tolist())
    ]
    assert len(stamps) >= 5
    assert records[-1].header.stamp == stamps[0]
    labelling = [
        record_of(message)["sha256"]
        for message in records
        if message.status[0].message == "labels from this cloud on"
    ]
    assert labelling == [sha256(old), sha256(new)]
    # Who comes later gets the last one, and a reload that failed changes nothing
    model_path.write_bytes(b"no model")
    assert not reload(second_robot)[0]
    late = []
    second_robot.node.create_subscription(
        DiagnosticArray, "/segment/output/model", late.append, LATCHED
    )
    second_robot.wait(lambda: bool(late))
    assert late == [records[-1]]
    (status,) = late[0].status
    assert status.name == "/segment: model"
    record = record_of(late[0])
    assert record["path"] == str(model_path)
    assert (record["classes"], record["precision"]) == ("north, east, south, west", "fp32")
    assert record["attribution"] == "Surveyors of the four winds, CC BY 4.0"


def sha256(model: Model) -> str:
    return hashlib.sha256(model.content).hexdigest()


def record_of(message: DiagnosticArray) -> dict[str, str]:
    return {pair.key: pair.value for pair in message.status[0].values}


def test_a_node_without_clouds_says_which_model_it_has(start, second_robot, model_path, old):
    second_robot.subscribe("output/model", DiagnosticArray, LATCHED)
    before = second_robot.node.get_clock().now().to_msg().sec
    node = start(f"model:={model_path}", "device:=cpu", "warmup_points:=0")
    records = second_robot.received["output/model"]
    second_robot.wait(lambda: bool(records))
    (message,) = records
    assert message.status[0].message == "loaded, no cloud labelled yet"
    assert record_of(message)["sha256"] == sha256(old)
    assert "attribution" not in record_of(message)
    assert before <= message.header.stamp.sec <= before + 120
    assert node.end() == 0


def test_labels_go_on_while_a_model_is_loaded(start, second_robot, model_path, new):
    # Seconds of warming up, for the old model's thread as for the new one's.
    node = start(f"model:={model_path}", "device:=cpu", "warmup_points:=3000000")
    node.wait_for_log("active")
    stream = Stream(second_robot)
    stream.wait_for_clouds(1)
    model_path.write_bytes(new.content)
    before = len(stream.labelled())
    assert reload(second_robot)[0]
    assert len(stream.labelled()) >= before + 5
    stream.stop()
    assert node.end() == 0


def test_another_model_is_a_parameter(stream, second_robot, model_path, old, new, tmp_path):
    other = tmp_path / "other.safetensors"
    success, reason = second_robot.set_parameter("model", str(other))
    assert (success, reason) == (False, f"model {other}: no such file")
    other.write_bytes(new.content)
    # A class that the other model doesn't have keeps it out.
    assert second_robot.set_parameter("filter.classes", ["car"]) == (True, "")
    success, reason = second_robot.set_parameter("model", str(other))
    assert not success and "no class named 'car'" in reason
    stream.clear()
    stream.wait_for_clouds(5)
    assert all((ids == old.class_id).all() for ids, _ in stream.labelled())
    assert second_robot.set_parameter("filter.classes", [""]) == (True, "")
    assert second_robot.set_parameter("model", str(other)) == (True, "")
    stream.clear()
    stream.wait_for_clouds(5)
    ids, rgb = stream.labelled()[-1]
    assert (ids.tolist(), rgb.tolist()) == (new.class_id.tolist(), new.rgb.tolist())
    # What is loaded again from now on is the other file.
    other.write_bytes(old.content)
    assert reload(second_robot) == (True, f"model {other} ({old.digest})")
    assert second_robot.set_parameter("min_probability", 0.0) == (True, "")
    stream.clear()
    stream.wait_for_clouds(5)
    assert (stream.labelled()[-1][0] == old.class_id).all()


def test_a_refused_file_leaves_everything_to_the_old_model(
    stream, second_robot, model_path, old, new, unusable
):
    # Two classes that the new model doesn't have
    assert second_robot.set_parameter("class_remap", ["car:building"]) == (True, "")
    stream.wait_for_clouds(3)
    stream.clear()
    for content, reason in (
        (new.content, "parameter class_remap: no class named 'building'; the classes are north,"),
        (b"no model", f"model {model_path}: damaged or no model file"),
        (
            unusable,
            f"model {model_path}: model header: architecture sparse_unet: voxel_size: input should",
        ),
    ):
        model_path.write_bytes(content)
        stream.wait_for_clouds(5)
        success, message = reload(second_robot)
        assert not success and message.startswith(f"the old model goes on: {reason}")
        stream.wait_for_clouds(5)
    # Of road, car, building the second is published as the third
    remapped = np.array([0, 2, 2])[old.class_id]
    colors = np.array([0x804080, 0x464646, 0x464646])[old.class_id]
    pairs = stream.labelled()
    assert len(pairs) >= 30
    for class_id, rgb in pairs:
        assert class_id.tolist() == remapped.tolist()
        assert rgb.tolist() == colors.tolist()
    assert stream.digests_and_classes() == {(old.digest, "road, car, building")}
    assert set(stream.legends()) == {old.names}
    assert set(stream.label_infos()) <= {old.names}


def test_a_node_that_can_not_be_configured_can_be_with_another_file(
    start, second_robot, model_path, old, unusable
):
    model_path.write_bytes(unusable)
    node = start(f"model:={model_path}", "device:=cpu", "precision:=fp32", "autostart:=false")
    assert not second_robot.change("configure")
    node.wait_for_log(
        f"can't configure: model {model_path}: model header: architecture sparse_unet: voxel_size"
    )
    model_path.write_bytes(old.content)
    assert second_robot.change("configure")
    assert second_robot.change("activate")
    second_robot.subscribe("output/segmentation")
    labelled = read_points(second_robot.label(cloud_of(POINTS)))
    assert labelled["class_id"].tolist() == old.class_id.tolist()
    assert node.end() == 0
    assert "Traceback" not in node.log


def own_mib(node) -> float:
    """Memory that a node's process shares with nobody."""
    memory = psutil.Process(node.process.pid).memory_info()
    return (memory.rss - memory.shared) / 2**20


def test_memory_goes_with_the_model_that_it_was_for(start, second_robot):
    # Of the package: a cloud of so many points takes it 100 MiB and more.
    node = start("device:=cpu", "warmup_points:=100000")
    node.wait_for_log("active after")
    with_model = own_mib(node)
    for _ in range(3):
        assert second_robot.call(Trigger, "reload", Trigger.Request()).success
    wait_until(lambda: own_mib(node) < with_model + 50)
    for _ in range(2):
        for transition in ("deactivate", "cleanup"):
            assert second_robot.change(transition)
        wait_until(lambda: own_mib(node) < with_model - 50)
        for transition in ("configure", "activate"):
            assert second_robot.change(transition)
    assert own_mib(node) < with_model + 50
