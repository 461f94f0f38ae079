"""The node as a process of its own, over real DDS."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import PointCloud2, PointField  # noqa: E402
from std_msgs.msg import Float32, Header  # noqa: E402

from haskd_ros.dds import profile_environment  # noqa: E402
from haskd_ros.output_clouds import SEGMENTATION_POINT  # noqa: E402
from haskd_ros.pointcloud import create_cloud, read_points  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
DOMAIN = 1 + os.getpid() % 99
"""Of the node that most tests share; a test's own node lives in the next one."""
WAIT_S = 60.0
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
POINT = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4")])


class NodeProcess:
    """`python -m haskd_ros.node` and what it logs."""

    def __init__(self, folder: Path, domain: int, *parameters: str) -> None:
        self._log = folder / "node.log"
        arguments = [part for parameter in parameters for part in ("-p", parameter)]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "haskd_ros.node", "--ros-args", *arguments],
                env={**os.environ, "ROS_DOMAIN_ID": str(domain), "PYTHONPATH": str(REPOSITORY)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for_log(self, text: str) -> None:
        wait_until(lambda: text in self.log or self.process.poll() is not None)
        assert text in self.log, self.log

    def end(self, number: int = signal.SIGINT) -> int:
        """The exit code after a signal that comes again and again, as from an impatient user."""
        wait_until(lambda: self.process.send_signal(number) or self.process.poll() is not None)
        return self.process.returncode


class Robot:
    """The other side of the node's topics and services."""

    def __init__(self, domain: int) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node("robot", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.received: dict[str, list] = {}
        self._points = self.node.create_publisher(PointCloud2, "/segment/input/points", BEST_EFFORT)

    def subscribe(self, topic: str, message_type: type = PointCloud2) -> None:
        """Collect what comes on a topic of the node from now on."""
        if topic in self.received:
            self.received[topic].clear()
            return
        self.received[topic] = []
        self.node.create_subscription(
            message_type, f"/segment/{topic}", self.received[topic].append, 10
        )

    def wait(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, lambda: self._executor.spin_once(timeout_sec=0.05))

    def send(self, cloud: PointCloud2) -> None:
        self.wait(lambda: self._points.get_subscription_count() > 0)
        self._points.publish(cloud)

    def label(self, cloud: PointCloud2, topic: str = "output/segmentation") -> PointCloud2:
        """The node's answer to a cloud; asked again where best effort was not enough."""
        cloud.header.stamp = self.node.get_clock().now().to_msg()
        answers = self.received[topic]
        asked = 0.0

        def answered() -> bool:
            nonlocal asked
            if time.monotonic() > asked + 2.0:
                asked = time.monotonic()
                self.send(cloud)
            return any(answer.header == cloud.header for answer in answers)

        self.wait(answered)
        return answers[-1]

    def call(self, service_type: type, name: str, request):
        client = self.node.create_client(service_type, f"/segment/{name}")
        self.wait(client.service_is_ready)
        future = client.call_async(request)
        self.wait(future.done)
        return future.result()

    def set_parameter(self, name: str, value: float) -> tuple[bool, str]:
        parameter = Parameter(name, value=value).to_parameter_msg()
        response = self.call(
            SetParameters, "set_parameters", SetParameters.Request(parameters=[parameter])
        )
        return response.results[0].successful, response.results[0].reason

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)


def wait_until(condition: Callable[[], bool], meanwhile=lambda: time.sleep(0.05)) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "waited too long"
        meanwhile()


def some_points(count: int = 2000) -> np.ndarray:
    random = np.random.default_rng(0)
    points = np.zeros(count, POINT)
    for name in ("x", "y", "z"):
        points[name] = random.uniform(-20, 20, count)
    points["intensity"] = random.uniform(0, 255, count)
    return points


def cloud_of(points: np.ndarray) -> PointCloud2:
    return create_cloud(Header(frame_id="lidar"), points, PointCloud2, PointField)


@pytest.fixture(scope="module", autouse=True)
def ros_environment(tmp_path_factory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros_log")))
        patch.setenv("OMP_NUM_THREADS", "2")
        for name, value in profile_environment().items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def robot() -> Iterator[Robot]:
    robot = Robot(DOMAIN)
    yield robot
    robot.close()


@pytest.fixture
def second_robot() -> Iterator[Robot]:
    """For a node of `start`."""
    robot = Robot(DOMAIN + 1)
    yield robot
    robot.close()


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., NodeProcess]]:
    started = []

    def start(*parameters: str) -> NodeProcess:
        started.append(NodeProcess(tmp_path, DOMAIN + 1, *parameters))
        return started[-1]

    yield start
    for node in started:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait()


@pytest.fixture(scope="module")
def segment(tiny_model, tmp_path_factory) -> Iterator[NodeProcess]:
    """One node for all tests that leave it as it was."""
    node = NodeProcess(
        tmp_path_factory.mktemp("node"), DOMAIN, f"model:={tiny_model}", "warmup_points:=1000"
    )
    node.wait_for_log("active")
    yield node
    assert node.end() == 0
    assert "Traceback" not in node.log


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


def test_a_cloud_without_intensity_is_labelled_and_that_is_said_once(segment, robot):
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


def test_a_subscriber_that_asks_for_too_much_is_told_which_setting(segment, robot):
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
    counts = re.search(
        r"(\d+) clouds received, (\d+) labelled, (\d+) replaced by a newer one, "
        r"(\d+) that nobody watched, 0 rejected",
        node.log,
    )
    received, labelled, replaced, unwatched = map(int, counts.groups())
    assert received == labelled + replaced + unwatched
    assert (labelled > 1, replaced > 0, unwatched > 0) == (True, True, True)
    answers = second_robot.received["output/segmentation"]
    stamps = [(answer.header.stamp.sec, answer.header.stamp.nanosec) for answer in answers]
    assert stamps == sorted(stamps)


def test_a_bad_model_leaves_a_living_unconfigured_node_and_one_line(start, second_robot, tmp_path):
    model = tmp_path / "no_model.safetensors"
    model.write_bytes(b"nothing of the kind")
    node = start(f"model:={model}")
    node.wait_for_log("can't configure")
    state = second_robot.call(GetState, "get_state", GetState.Request()).current_state
    assert state.label == "unconfigured"
    assert str(model) in node.log
    assert len(node.log.splitlines()) == 1
    assert node.end(signal.SIGTERM) == 0


def test_without_autostart_the_node_waits_and_can_be_led_round(start, second_robot, tiny_model):
    node = start(f"model:={tiny_model}", "warmup_points:=0", "autostart:=false")

    def change(transition: str) -> bool:
        request = ChangeState.Request()
        request.transition.label = transition
        return second_robot.call(ChangeState, "change_state", request).success

    second_robot.subscribe("output/segmentation")
    for _ in range(2):
        assert change("configure")
        assert change("activate")
        assert second_robot.label(cloud_of(some_points())).width == 2000
        assert change("deactivate")
        assert change("cleanup")
    assert change("shutdown")
    assert node.end(signal.SIGTERM) == 0
    assert node.log.count("clouds received") == 1


def test_a_parameter_that_is_not_allowed_ends_the_start_with_one_line(start):
    node = start("precision:=fp8")
    assert node.process.wait(WAIT_S) == 2
    assert "precision is 'fp8', must be one of auto, fp32, bf16, fp16" in node.log
    assert len(node.log.splitlines()) == 1
