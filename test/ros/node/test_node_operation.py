"""The running node in operation: classes are chosen, its rate is limited, its model replaced, its
diagnostics read."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import REPOSITORY, cloud_of, some_points, wait_until
from sensor_msgs.msg import PointField
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from haskd_ros import model_file
from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.taxonomy import ClassInfo, Taxonomy

ROAD, CAR, BUILDING = range(3)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def points():
    return some_points()


@pytest.fixture
def class_ids(segment, robot, points):
    """Of `points`, as the node with its defaults labels them."""
    robot.subscribe("output/segmentation")
    found = read_points(robot.label(cloud_of(points)))["class_id"]
    assert set(found) == {ROAD, CAR, BUILDING}
    return found


@pytest.fixture
def setting(segment, robot):
    """Sets a parameter until the test is over."""
    defaults = {}

    def set_parameter(name, value, default):
        assert robot.set_parameter(name, value) == (True, "")
        defaults[name] = default

    yield set_parameter
    for name, default in defaults.items():
        assert robot.set_parameter(name, default) == (True, "")


def test_the_filtered_cloud_has_the_chosen_points_byte_for_byte(robot, points, class_ids, setting):
    robot.subscribe("output/filtered")
    setting("filter.classes", ["car", "road"], [""])
    answer = robot.label(cloud_of(points), "output/filtered")
    chosen = points[np.isin(class_ids, [ROAD, CAR])]
    assert (answer.height, answer.width, answer.point_step) == (1, len(chosen), 16)
    assert [field.name for field in answer.fields] == ["x", "y", "z", "intensity"]
    assert bytes(answer.data) == chosen.tobytes()

    # What is not certain may be anything
    setting("filter.min_probability", 1.0, 0.0)
    assert bytes(robot.label(cloud_of(points), "output/filtered").data) == points.tobytes()
    setting("filter.unlabelled", "drop", "keep")
    assert robot.label(cloud_of(points), "output/filtered").width == 0


def test_the_filtered_cloud_can_be_thinned(robot, points, class_ids, setting):
    robot.subscribe("output/filtered")
    setting("filter.voxel_size", 10.0, 0.0)
    answer = robot.label(cloud_of(points), "output/filtered")
    # 2000 points in a cube of 40 m: 4 * 4 * 4 voxels, none of which is empty
    assert (answer.width, answer.point_step) == (64, 16)
    measured = {point.tobytes() for point in points}
    assert all(point.tobytes() in measured for point in read_points(answer))
    reason = "parameter filter.voxel_size is 0.001 m, must be 0 or at least 0.01"
    assert robot.set_parameter("filter.voxel_size", 0.001) == (False, reason)


def test_a_point_that_lost_its_label_may_still_be_an_obstacle(robot, points, class_ids, setting):
    robot.subscribe("output/filtered")
    robot.subscribe("output/segmentation")
    setting("filter.exclude", ["road"], [""])
    setting("class_remap", ["car:unlabelled"], [""])
    answer = robot.label(cloud_of(points), "output/filtered")
    assert bytes(answer.data) == points[class_ids != ROAD].tobytes()
    labels = read_points(robot.label(cloud_of(points)))
    assert ((labels["probability"] == 0) == (class_ids == CAR)).all()


def test_without_chosen_classes_the_filtered_cloud_has_what_is_labelled(robot, points, class_ids):
    robot.subscribe("output/filtered")
    points["x"][:500] = np.nan
    answer = robot.label(cloud_of(points), "output/filtered")
    assert bytes(answer.data) == points[500:].tobytes()


def test_classes_are_published_as_others(robot, points, class_ids, setting):
    setting("class_remap", ["car:building", "road: unlabelled"], [""])
    answer = read_points(robot.label(cloud_of(points)))
    expected = np.array([255, BUILDING, BUILDING], np.uint8)[class_ids]
    assert answer["class_id"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (
            "filter.classes",
            ["pedestrian"],
            "parameter filter.classes: no class named 'pedestrian'; the classes are road, car, "
            "building",
        ),
        (
            "class_remap",
            ["car:lorry"],
            "parameter class_remap: no class named 'lorry'; the classes are road, car, building",
        ),
        (
            "filter.exclude",
            ["unlabelled"],
            "parameter filter.exclude: unlabelled is no class; filter.unlabelled, keep or drop, "
            "says what becomes of points without a label",
        ),
        ("class_remap", ["car"], "parameter class_remap: 'car' is not of the form from:to"),
        ("class_remap", ["car:road", "car:building"], "parameter class_remap: 'car' stands twice"),
        ("crop.min", [0.0, 0.0], "parameter crop.min has 2 values, must have 3"),
    ],
)
def test_a_parameter_that_the_model_can_not_serve_is_refused(segment, robot, name, value, reason):
    assert robot.set_parameter(name, value) == (False, reason)


def test_outside_the_box_nothing_is_labelled(robot, points, class_ids, setting):
    setting("crop.min", [-5.0, float("-inf"), 0.0], [float("-inf")] * 3)
    answer = read_points(robot.label(cloud_of(points)))
    inside = (points["x"] >= -5) & (points["z"] >= 0)
    assert ((answer["class_id"] != 255) == inside).all()
    assert answer["x"].tobytes() == points["x"].tobytes()


def test_returns_in_the_sensors_origin_are_not_labelled(robot, points, class_ids):
    for name in "xyz":
        points[name][100:200] = 0
    answer = read_points(robot.label(cloud_of(points)))
    assert np.flatnonzero(answer["class_id"] == 255).tolist() == list(range(100, 200))


def test_a_cloud_of_too_few_points_is_rejected_and_counted(segment, robot, points, setting):
    setting("min_points", 1000, 0)
    robot.subscribe("output/segmentation")
    few = points.copy()
    few["x"][:1001] = np.nan
    robot.send(cloud_of(few))
    segment.wait_for_log("cloud rejected: cloud: 999 valid points of 2000, min_points is 1000")
    few["x"][0] = 1.0
    assert robot.label(cloud_of(few)).width == 2000


def test_the_rate_is_limited_and_the_clouds_left_out_are_counted(start, second_robot, tiny_model):
    node = start(f"model:={tiny_model}", "warmup_points:=0", "max_rate:=5.0")
    second_robot.subscribe("output/segmentation")
    second_robot.label(cloud_of(some_points()))
    before = len(second_robot.received["output/segmentation"])
    begun = time.monotonic()
    for _ in range(40):
        second_robot.send(cloud_of(some_points()))
        time.sleep(0.05)
    seconds = time.monotonic() - begun
    second_robot.wait(lambda: len(second_robot.received["output/segmentation"]) > before + 2)
    assert node.end() == 0
    labelled = len(second_robot.received["output/segmentation"]) - before
    assert labelled <= 5 * seconds + 2
    counts = second_robot.final_counts()
    assert counts["left out by max_rate"] > 0
    assert counts["rejected"] == 0


@pytest.fixture
def legend(robot, class_ids) -> list[Marker]:
    """As a subscriber gets it that comes after the first cloud."""
    if "output/legend" not in robot.received:
        robot.subscribe("output/legend", MarkerArray, LATCHED)
    robot.wait(lambda: bool(robot.received["output/legend"]))
    return robot.received["output/legend"][-1].markers


def test_a_late_subscriber_still_gets_the_legend(legend):
    first, *markers = legend
    assert first.action == Marker.DELETEALL
    assert [marker.text for marker in markers] == ["road", "car", "building"]
    assert {marker.header.frame_id for marker in markers} == {"lidar"}
    color = markers[CAR].color
    assert (color.r, color.g, color.b, color.a) == pytest.approx((0, 0, 142 / 255, 1))


def test_the_legend_comes_again_for_an_rviz_that_was_reset(robot, points, legend):
    robot.received["output/legend"].clear()
    robot.wait(lambda: robot.label(cloud_of(points)) and bool(robot.received["output/legend"]))
    assert len(robot.received["output/legend"][0].markers) == len(legend)


def rgb8(cloud) -> np.ndarray:
    """[N, 3] red, green and blue in 0..1 as RViz's colour transformer RGB8 computes them: 32 bits
    at the offset of the field rgb, in the byte order of the machine, red in bits 16 to 23."""
    (field,) = (field for field in cloud.fields if field.name in ("rgb", "rgba"))
    assert field.datatype in (PointField.INT32, PointField.UINT32, PointField.FLOAT32)
    starts = np.arange(cloud.height * cloud.width) * cloud.point_step + field.offset
    data = np.frombuffer(cloud.data, np.uint8)
    bits = data[starts[:, None] + np.arange(4)].copy().view(np.uint32)[:, 0]
    return np.stack([(bits >> shift & 0xFF) / 255 for shift in (16, 8, 0)], 1)


def test_rviz_shows_every_point_in_the_colour_that_the_legend_gives_its_class(
    robot, points, class_ids, legend
):
    robot.subscribe("output/visualization")
    colors = rgb8(robot.label(cloud_of(points), "output/visualization"))
    legend_colors = np.array([(m.color.r, m.color.g, m.color.b) for m in legend[1:]])
    assert colors == pytest.approx(legend_colors[class_ids], abs=1e-6)
    assert colors[class_ids == CAR][0] == pytest.approx([0, 0, 142 / 255])


def test_the_legend_lies_within_the_view_of_the_shipped_rviz_configuration(legend):
    config = yaml.safe_load((REPOSITORY / "config" / "segment.rviz").read_text())
    view = config["Visualization Manager"]["Views"]["Current"]
    assert set(view["Focal Point"].values()) == {0}
    # Rows: what lies to the camera's right, up and ahead, in the cloud's frame.
    yaw, pitch = view["Yaw"], view["Pitch"]
    towards = np.array([-np.cos(yaw) * np.cos(pitch), -np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    axes = np.stack([right, np.cross(right, towards), towards])
    positions = np.array(
        [[m.pose.position.x, m.pose.position.y, m.pose.position.z] for m in legend[1:]]
    )
    # As many lines as the model with the most classes that we ship
    lines = positions[-1] + np.arange(11)[:, None] * (positions[0] - positions[1])
    x, y, ahead = axes @ (lines + towards * view["Distance"]).T
    # RViz sees 45 degrees from top to bottom; its picture is at least 1.2 times as wide as high.
    half = np.tan(np.radians(45 / 2)) * ahead
    assert abs(y / half).max() < 0.9
    assert abs(x / half).max() < 1.1
    # From one line to the next in the upper half of what is seen, which is 1 high
    assert (np.diff(y / half) > 0.05).all()


def statuses(robot) -> dict[str, DiagnosticStatus]:
    """The newest of each task."""
    return {
        status.name: status
        for message in robot.received["/diagnostics"]
        for status in message.status
    }


def test_diagnostics_report_silence_rejections_and_the_model(segment, robot, class_ids, setting):
    robot.subscribe("/diagnostics", DiagnosticArray)
    setting("diagnostics.period", 0.1, 1.0)
    setting("diagnostics.silence_warn", 0.5, 1.0)
    setting("diagnostics.silence_error", 2.0, 5.0)
    setting("diagnostics.max_age", 0.0, 1.0)  # these clouds have no stamp

    def wait_for(task: str, level: bytes, meanwhile=lambda: None) -> DiagnosticStatus:
        robot.received["/diagnostics"].clear()

        def found() -> list[DiagnosticStatus]:
            return [
                status
                for message in robot.received["/diagnostics"]
                for status in message.status
                if (status.name, status.level) == (f"/segment: {task}", level)
            ]

        robot.wait(lambda: meanwhile() or bool(found()))
        return found()[-1]

    assert wait_for("input", DiagnosticStatus.ERROR).message.startswith("silent for")
    wait_for("input", DiagnosticStatus.OK, lambda: robot.send(cloud_of(some_points())))
    assert wait_for("input", DiagnosticStatus.WARN).message.startswith("silent for")

    without_x = cloud_of(some_points()[["y", "z"]])
    status = wait_for("frames", DiagnosticStatus.ERROR, lambda: robot.send(without_x))
    assert status.message.startswith("every cloud rejected recently: ")
    assert "no field x" in status.message
    assert status.hardware_id == "lidar"
    wait_for("frames", DiagnosticStatus.OK)
    found = statuses(robot)
    values = {pair.key: pair.value for pair in found["/segment: model"].values}
    assert values["classes"] == "road, car, building" and len(values["sha256"]) == 12
    latency = {pair.key: float(pair.value) for pair in found["/segment: latency"].values[:4]}
    assert 0 < latency["p50 (ms)"] <= latency["p95 (ms)"] <= latency["max (ms)"]
    frames = {pair.key: int(pair.value) for pair in found["/segment: frames"].values}
    assert frames["rejected"] >= frames["rejected: no field x"] >= 1


def test_a_model_is_replaced_while_the_node_labels(
    start, second_robot, tiny_model, tiny_metadata, tmp_path
):
    path = tmp_path / "model.safetensors"
    path.write_bytes(tiny_model.read_bytes())
    node = start(f"model:={path}", "warmup_points:=1000")
    second_robot.subscribe("output/segmentation")
    second_robot.subscribe("output/visualization")
    second_robot.label(cloud_of(some_points()))

    def reload() -> tuple[bool, str]:
        answer = second_robot.call(Trigger, "reload", Trigger.Request())
        return answer.success, answer.message

    path.write_bytes(b"half a model")
    success, message = reload()
    assert not success and message.startswith(f"the old model goes on: model {path}: damaged")
    assert second_robot.label(cloud_of(some_points())).width == 2000

    network, _ = model_file.load(tiny_model)
    red = replace(tiny_metadata, taxonomy=Taxonomy(
        tuple(ClassInfo(name, (255, 0, 0)) for name in ("one", "two", "three"))
    ))  # fmt: skip
    model_file.save(path, network, red)
    success, message = reload()
    assert success and str(path) in message
    colored = read_points(second_robot.label(cloud_of(some_points()), "output/visualization"))
    assert set(colored["rgb"].view(np.uint32)) == {0xFF0000}
    assert second_robot.set_parameter("filter.classes", ["two"]) == (True, "")

    # Classes that a parameter names must not disappear under it
    path.write_bytes(tiny_model.read_bytes())
    success, message = reload()
    assert not success and "no class named 'two'" in message
    assert node.end() == 0
    assert "Traceback" not in node.log


def test_a_node_without_a_model_refuses_to_reload(start, second_robot, tiny_model):
    node = start(f"model:={tiny_model}", "warmup_points:=0", "autostart:=false")
    answer = second_robot.call(Trigger, "reload", Trigger.Request())
    assert not answer.success and answer.message.startswith("not configured")
    assert second_robot.change("configure")
    answer = second_robot.call(Trigger, "reload", Trigger.Request())
    assert answer.success, answer.message
    assert node.end() == 0


def test_a_sensor_unlike_that_of_the_training_is_reported(
    start, second_robot, tiny_model, tmp_path
):
    network, metadata = model_file.load(tiny_model)
    path = tmp_path / "model.safetensors"
    sensor = {"points_per_sweep": {"p5": 90_000, "median": 100_000, "p95": 110_000}}
    model_file.save(path, network, replace(metadata, sensor=sensor))
    node = start(f"model:={path}", "warmup_points:=0")
    second_robot.subscribe("output/segmentation")
    for _ in range(3):
        second_robot.label(cloud_of(some_points()))
    message = "points per sweep 2,000, trained on 90,000 to 110,000"
    node.wait_for_log(message)
    assert node.log.count(message) == 1
    second_robot.subscribe("/diagnostics", DiagnosticArray)
    wait_until(
        lambda: "/segment: sensor" in statuses(second_robot),
        lambda: second_robot.label(cloud_of(some_points())),
    )
    status = statuses(second_robot)["/segment: sensor"]
    assert (status.level, status.values[0].value) == (DiagnosticStatus.WARN, message)


def test_class_names_come_as_label_info_where_vision_msgs_is_installed(segment, robot):
    messages = pytest.importorskip("vision_msgs.msg", reason="needs vision_msgs")
    robot.subscribe("output/label_info", messages.LabelInfo, LATCHED)
    robot.wait(lambda: robot.received["output/label_info"])
    (found,) = robot.received["output/label_info"]
    names = {each.class_id: each.class_name for each in found.class_map}
    assert names == {ROAD: "road", CAR: "car", BUILDING: "building"}


def test_a_box_in_another_frame_needs_tf(segment, robot, setting):
    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("tf2_ros is installed")
    setting("crop.min", [-5.0, -5.0, -5.0], [float("-inf")] * 3)
    successful, reason = robot.set_parameter("crop.frame", "base_link")
    assert not successful
    assert reason.startswith("parameter crop.frame is 'base_link', which needs tf2_ros")
