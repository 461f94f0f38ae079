"""The node as a process of its own, over real DDS: clouds in, labels out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from lifecycle_msgs.srv import GetState
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import DOMAIN, WAIT_S, cloud_of, python_path, some_points, wait_until
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Float32, Header

from haskd_ros.clouds.output_clouds import SEGMENTATION_POINT
from haskd_ros.clouds.pointcloud import read_points

FLOAT32 = PointField.FLOAT32


def test_point_i_out_is_point_i_in_and_nan_is_255(segment, robot):
    points = some_points()
    points["x"][10] = np.nan
    points["z"][20] = np.inf
    robot.subscribe("output/segmentation")
    answer = robot.label(cloud_of(points))
    assert (answer.point_step, answer.header.frame_id) == (24, "lidar")
    labelled = read_points(answer)
    assert labelled.dtype == SEGMENTATION_POINT
    for name in ("x", "y", "z"):
        assert labelled[name].tobytes() == points[name].tobytes()
    unlabelled = np.flatnonzero(labelled["class_id"] == 255)
    assert unlabelled.tolist() == [10, 20]
    assert set(np.unique(labelled["class_id"])) <= {0, 1, 2, 255}
    # The tiny model has three classes: the most probable one has at least 1/3.
    assert np.delete(labelled["probability"], unlabelled).min() >= 1 / 3
    # The class of an unlabelled point is fully open: entropy log 3.
    assert labelled["entropy"][unlabelled] == pytest.approx(np.log(3))


def test_an_organised_cloud_keeps_its_height_and_width(segment, robot):
    robot.subscribe("output/segmentation")
    answer = robot.label(cloud_of(some_points(600).reshape(20, 30)))
    assert (answer.height, answer.width, answer.row_step) == (20, 30, 720)


def test_a_drivers_own_fields_come_back_with_the_labels(segment, robot):
    # Big-endian points of 27 bytes, two of them of no field; rows of 8 points end in 3 bytes.
    point = np.dtype(
        {
            "names": ["x", "y", "z", "intensity", "ring", "time"],
            "formats": [">f4", ">f4", ">f4", "u1", ">u2", ">f8"],
            "offsets": [0, 4, 8, 12, 14, 17],
            "itemsize": 27,
        }
    )
    points = np.zeros(40, point)
    for name, values in zip("xyz", np.random.default_rng(1).uniform(-20, 20, (3, 40))):
        points[name] = values
    points["ring"], points["time"] = np.arange(40), 0.1
    points["y"][7] = np.nan
    types = (FLOAT32, FLOAT32, FLOAT32, PointField.UINT8, PointField.UINT16, PointField.FLOAT64)
    cloud = PointCloud2(
        header=Header(frame_id="lidar"), height=5, width=8, point_step=27, row_step=219,
        is_bigendian=True, is_dense=False,
        fields=[
            PointField(name=name, offset=point.fields[name][1], datatype=datatype, count=1)
            for name, datatype in zip(point.names, types, strict=True)
        ],
        data=b"".join(row.tobytes() + b"end" for row in points.reshape(5, 8)),
    )  # fmt: skip
    robot.subscribe("output/segmentation")
    robot.subscribe("output/labelled")
    expected = read_points(robot.label(cloud))
    answer = robot.label(cloud, "output/labelled")
    # class_id at 27, probability at 28
    assert (answer.height, answer.width, answer.point_step, answer.row_step) == (5, 8, 32, 256)
    assert answer.fields[:6] == cloud.fields
    labelled = read_points(answer)
    assert labelled.dtype.names == (*point.names, "class_id", "probability")
    octets = np.array(answer.data).reshape(40, 32)[:, :27]
    assert octets.tobytes() == points.tobytes()
    for name in ("class_id", "probability"):
        assert labelled[name].tolist() == expected[name].tolist()
    assert (labelled["class_id"][7], labelled["probability"][7]) == (255, 0)
    assert np.flatnonzero(labelled["class_id"] == 255).tolist() == [7]


def test_an_empty_cloud_comes_back_empty_and_correctly_typed(segment, robot):
    robot.subscribe("output/segmentation")
    answer = robot.label(cloud_of(some_points(0)))
    assert (answer.width, answer.point_step, len(answer.data)) == (0, 24, 0)
    assert [field.name for field in answer.fields] == list(SEGMENTATION_POINT.names)


def test_a_cloud_of_nan_only_comes_back_unlabelled(segment, robot):
    points = some_points(50)
    points["x"] = np.nan
    robot.subscribe("output/segmentation")
    assert set(read_points(robot.label(cloud_of(points)))["class_id"]) == {255}


def test_a_cloud_without_x_is_rejected_and_the_node_lives_on(segment, robot):
    robot.subscribe("output/segmentation")
    robot.label(cloud_of(some_points()))
    robot.send(cloud_of(some_points()[["y", "z", "intensity"]]))
    segment.wait_for_log("cloud rejected: cloud: no field x; its fields are y, z, intensity")
    assert robot.label(cloud_of(some_points())).width == 2000


def test_a_cloud_without_intensity_is_labelled_and_logged_once(segment, robot):
    robot.subscribe("output/segmentation")
    for _ in range(2):
        answer = robot.label(cloud_of(some_points()[["x", "y", "z"]]))
        assert (read_points(answer)["class_id"] != 255).all()
    assert segment.log.count("clouds have no intensity") == 1


def test_the_visualization_has_the_colours_of_the_model(segment, robot):
    robot.subscribe("output/segmentation")
    robot.subscribe("output/visualization")
    cloud = cloud_of(some_points())
    class_id = read_points(robot.label(cloud))["class_id"]
    colored = read_points(robot.label(cloud, "output/visualization"))
    # road (128, 64, 128), car (0, 0, 142), building (70, 70, 70) of the tiny model
    colors = np.array([0x804080, 0x00008E, 0x464646], np.uint32)
    assert colored["rgb"].view(np.uint32).tolist() == colors[class_id].tolist()


def test_min_probability_and_range_change_while_the_node_runs(segment, robot):
    robot.subscribe("output/segmentation")
    points = some_points()
    assert robot.set_parameter("range.max", 15.0) == (True, "")
    labelled = read_points(robot.label(cloud_of(points)))
    squared = points["x"] ** 2 + points["y"] ** 2 + points["z"] ** 2
    assert ((labelled["class_id"] == 255) == (squared > 15.0**2)).all()
    assert robot.set_parameter("range.max", np.inf) == (True, "")

    threshold = float(np.median(labelled["probability"][squared <= 15.0**2]))
    assert robot.set_parameter("min_probability", threshold) == (True, "")
    labelled = read_points(robot.label(cloud_of(points)))
    assert ((labelled["class_id"] == 255) == (labelled["probability"] < threshold)).all()
    assert robot.set_parameter("min_probability", 0.0) == (True, "")


def test_a_parameter_that_makes_no_sense_is_refused(segment, robot):
    successful, reason = robot.set_parameter("range.min", np.inf)
    assert not successful
    assert reason == "parameter range.min is inf m, must be less than range.max, inf m"
    assert not robot.set_parameter("min_probability", 1.5)[0]
    assert not robot.set_parameter("min_probability", np.nan)[0]


def test_incompatible_qos_is_logged_with_the_setting_that_helps(segment, robot):
    durable = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.node.create_subscription(PointCloud2, "/segment/output/segmentation", print, durable)
    segment.wait_for_log("subscribe with another durability")


def test_the_times_of_a_frame_are_published(segment, robot):
    robot.subscribe("output/segmentation")
    stages = ("preprocess", "inference", "postprocess", "total", "latency")
    for stage in stages:
        robot.subscribe(f"debug/{stage}_ms", Float32)
    wait_until(lambda: robot.node.count_subscribers("/segment/debug/latency_ms") > 0)
    times = [robot.received[f"debug/{stage}_ms"] for stage in stages]

    def complete() -> bool:
        robot.label(cloud_of(some_points()))
        return all(times)

    wait_until(complete)
    latest = [stage[-1].data for stage in times]
    assert min(latest) > 0
    # What comes before the network, the network and what follows are parts of the whole.
    assert sum(latest[:3]) <= latest[3] <= latest[4]


def test_under_overload_the_newest_cloud_wins_and_the_counts_add_up(
    start, second_robot, tiny_model
):
    node = start(f"model:={tiny_model}")
    cloud = cloud_of(some_points(100_000))
    for _ in range(10):  # nobody has subscribed to an output yet
        second_robot.send(cloud)
        time.sleep(0.05)
    second_robot.subscribe("output/segmentation")
    second_robot.label(cloud)
    for _ in range(40):
        cloud.header.stamp = second_robot.node.get_clock().now().to_msg()
        second_robot.send(cloud)
        time.sleep(0.005)
    second_robot.label(cloud)
    assert node.end() == 0
    counts = second_robot.final_counts()
    assert (
        counts["received"]
        == counts["labelled"] + counts["replaced by a newer one"] + counts["that nobody watched"]
    )
    assert (
        counts["labelled"] > 1,
        counts["replaced by a newer one"] > 0,
        counts["that nobody watched"] > 0,
    ) == (True,) * 3
    answers = second_robot.received["output/segmentation"]
    stamps = [(answer.header.stamp.sec, answer.header.stamp.nanosec) for answer in answers]
    assert stamps == sorted(stamps)


def test_a_bad_model_leaves_a_living_unconfigured_node_and_one_line(start, second_robot, tmp_path):
    model = tmp_path / "no_model.safetensors"
    model.write_bytes(b"nothing of the kind")
    node = start(f"model:={model}")
    node.wait_for_log("can't configure")
    log = node.log
    assert str(model) in log
    assert len(log.splitlines()) == 1
    state = second_robot.call(GetState, "get_state", GetState.Request()).current_state
    assert state.label == "unconfigured"
    assert node.end(signal.SIGTERM) == 0
    assert "Traceback" not in node.log


@pytest.fixture
def once(ros_environment, tmp_path):
    """Starts `python -m haskd_ros.node.once ...`, whose output is a file; gives both."""
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN + 1), "PYTHONPATH": python_path()}
    started = []

    def begin(*arguments: str) -> tuple[subprocess.Popen, Path]:
        output = tmp_path / f"output{len(started)}"
        with output.open("w") as file:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "haskd_ros.node.once", *arguments],
                    env=environment, stdout=file, stderr=subprocess.DEVNULL,
                )
            )  # fmt: skip
        return started[-1], output

    yield begin
    for process in started:
        process.kill()


PRINT_ARGUMENT = [sys.executable, "-c", "import sys; print(sys.argv[1]); sys.exit(7)"]


def test_a_command_waits_until_the_node_is_active(start, once, second_robot, tiny_model):
    start(f"model:={tiny_model}", "warmup_points:=0", "autostart:=false")
    process, output = once("active", "/segment", *PRINT_ARGUMENT, "now")
    assert second_robot.change("configure")
    waits = f"_once_active_{process.pid}"
    second_robot.wait(lambda: waits in second_robot.node.get_node_names())
    end = time.monotonic() + 1.0
    second_robot.wait(lambda: time.monotonic() > end)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert (process.wait(10), output.read_text()) == (0, "")
    process, output = once("active", "/segment", *PRINT_ARGUMENT, "now")
    assert second_robot.change("activate")
    second_robot.wait(lambda: process.poll() is not None)
    assert (process.returncode, output.read_text()) == (7, "now\n")


def test_a_command_waits_for_a_cloud_and_gets_its_frame(once, second_robot):
    process, output = once("cloud", "/nothing", *PRINT_ARGUMENT, "-f {frame}")
    wait_until(lambda: second_robot.node.count_subscribers("/nothing") > 0)
    process.send_signal(signal.SIGINT)
    assert (process.wait(10), output.read_text()) == (0, "")
    process, output = once("cloud", "/front/points", *PRINT_ARGUMENT, "-f {frame}")
    publisher = second_robot.node.create_publisher(PointCloud2, "/front/points", 1)

    def done() -> bool:
        publisher.publish(cloud_of(some_points()))
        return process.poll() is not None

    second_robot.wait(done)
    assert (process.returncode, output.read_text()) == (7, "-f lidar\n")


def test_without_autostart_the_node_waits_and_can_be_led_through_its_life_cycle(
    start, second_robot, tiny_model
):
    node = start(f"model:={tiny_model}", "warmup_points:=0", "autostart:=false")

    second_robot.subscribe("output/segmentation")
    for _ in range(2):
        assert second_robot.change("configure")
        assert second_robot.change("activate")
        assert second_robot.label(cloud_of(some_points())).width == 2000
        assert second_robot.change("deactivate")
        assert second_robot.change("cleanup")
    assert second_robot.change("shutdown")
    assert node.end(signal.SIGTERM) == 0
    assert node.log.count("clouds received") == 1


def test_a_parameter_that_is_not_allowed_ends_the_start_with_one_line(start):
    node = start("precision:=fp8")
    assert node.process.wait(WAIT_S) == 2
    assert "precision is 'fp8', must be one of auto, fp32, bf16, fp16" in node.log
    assert len(node.log.splitlines()) == 1
