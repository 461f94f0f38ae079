"""The launch file under ROS 2's own launch, where that is installed."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="launch and launch_ros come with a ROS installation")

from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from robot import DOMAIN, REPOSITORY

pytestmark = pytest.mark.live

LAUNCH_FILE = REPOSITORY / "launch" / "segment.launch.py"
TWO_LIDARS = (str(REPOSITORY / "launch" / "robot_two_lidars.launch.py"),)
NAV2 = (str(REPOSITORY / "launch" / "nav2_obstacles.launch.py"),)
SUPPORT = Path(__file__).resolve().parents[2] / "support"
ROS2 = [sys.executable, "-c", "import ros2cli.cli, sys; sys.exit(ros2cli.cli.main())"]
WAIT_S = 240.0
"""For a start on a loaded machine, with the import of torch."""
PATIENT = ("sigterm_timeout:=120", "sigkill_timeout:=120")
"""Launch kills what has not ended 10 s after an interrupt, as on a loaded machine."""


@pytest.fixture
def environment(ros_environment, tmp_path):
    """Of a launch, in the domain of `second_robot`."""
    packages = pytest.importorskip("ament_index_python.packages")
    try:
        packages.get_package_share_directory("haskd_ros")
    except LookupError:
        pytest.skip("haskd_ros is not installed where ROS 2 finds it")
    return {**os.environ, "ROS_LOG_DIR": str(tmp_path), "ROS_DOMAIN_ID": str(DOMAIN + 1)}


@pytest.fixture
def quick(tmp_path, tiny_model):
    """Arguments of a node that soon is active."""
    file = tmp_path / "quick.yaml"
    file.write_text("/**: {ros__parameters: {warmup_points: 0}}")
    return f"params_file:={file}", f"model:={tiny_model}"


@contextmanager
def launched(environment, log, *arguments, file=("haskd_ros", "segment.launch.py")):
    """A `ros2 launch`, interrupted on leaving; gives what waits for a text in its log."""
    with log.open("w") as output:
        launch = subprocess.Popen(
            [*ROS2, "launch", *file, *arguments, *PATIENT],
            env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait_for(text: str, times: int = 1) -> None:
        end = time.monotonic() + WAIT_S
        while log.read_text().count(text) < times:
            assert launch.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)

    try:
        yield wait_for
    finally:
        launch.send_signal(signal.SIGINT)
        assert launch.wait(WAIT_S) == 0, log.read_text()
    assert "process has finished cleanly" in log.read_text()


def refused(environment, *arguments, file=("haskd_ros", "segment.launch.py")) -> str:
    """What a launch says that fails, and starts nothing."""
    done = subprocess.run(
        [*ROS2, "launch", *file, *arguments],
        env=environment, capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "process started" not in said
    return said


def values(robot, node: str, *names: str) -> list:
    """Of a node's parameters."""
    client = robot.node.create_client(GetParameters, f"{node}/get_parameters")
    robot.wait(client.service_is_ready)
    futures = []
    again = 0.0

    def has_response() -> bool:
        nonlocal again
        if time.monotonic() > again:  # a node answers nobody whom it has not discovered yet
            again = time.monotonic() + 10.0
            futures.append(client.call_async(GetParameters.Request(names=list(names))))
        return any(future.done() for future in futures)

    robot.wait(has_response)
    response = next(future.result() for future in futures if future.done())
    robot.node.destroy_client(client)
    return [parameter_value_to_python(value) for value in response.values]


def wait_for_publisher(robot, topic: str) -> None:
    robot.wait(lambda: robot.node.count_publishers(topic) > 0)


def including(tmp_path, *actions: str, **arguments: str) -> tuple[str]:
    """A launch file that includes the package's, after these actions, in a group."""
    path = tmp_path / "robot.launch.py"
    path.write_text(
        "from launch import LaunchDescription\n"
        "from launch.actions import GroupAction, IncludeLaunchDescription\n"
        "from launch.launch_description_sources import PythonLaunchDescriptionSource\n"
        "from launch_ros.actions import PushRosNamespace, SetParameter, SetRemap\n"
        "def generate_launch_description():\n"
        f"    source = PythonLaunchDescriptionSource({str(LAUNCH_FILE)!r})\n"
        f"    include = IncludeLaunchDescription(source, launch_arguments={arguments}.items())\n"
        f"    return LaunchDescription([GroupAction([{', '.join((*actions, 'include'))}])])\n"
    )
    return (str(path),)


def test_the_arguments_are_described():
    arguments = {item.name: item for item in runpy.run_path(str(LAUNCH_FILE))["ARGUMENTS"]}
    assert list(arguments) == [
        "input_topic", "segmentation_topic", "labelled_topic", "visualization_topic",
        "filtered_topic", "model", "device", "params_file", "rviz", "bag", "bag_rate", "bag_loop",
        "use_sim_time", "name", "namespace", "log_level", "autostart", "respawn", "respawn_delay",
    ]  # fmt: skip
    assert all(argument.description for argument in arguments.values())
    assert {"true", "True", "TRUE", "false"} < set(arguments["rviz"].choices)


def test_nothing_but_the_launch_file_gives_an_active_node(environment, tmp_path):
    log = tmp_path / "launch.log"
    with launched(environment, log) as wait_for:
        wait_for("waiting for clouds on /lidar/points")
    assert "active after" in log.read_text()
    assert "classes: road, road_marking" in log.read_text()


def test_an_argument_beats_the_parameter_file(environment, tmp_path, tiny_model, second_robot):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "/**: {ros__parameters: {model: /no/such/file, max_rate: 3.0, use_sim_time: true}}"
    )
    arguments = (f"params_file:={file}", f"model:={tiny_model}", "log_level:=WARN")
    log = tmp_path / "launch.log"
    with launched(
        environment, log, *arguments, "autostart:=False", "namespace:=robot", "name:=eyes"
    ):
        names = ("model", "max_rate", "autostart", "use_sim_time")
        found = values(second_robot, "/robot/eyes", *names)
        assert found == [str(tiny_model), 3.0, False, True]
    assert "active" not in log.read_text()


def test_an_including_launch_file_beats_the_defaults_and_nothing_else(
    environment, tmp_path, tiny_model, second_robot
):
    file = tmp_path / "mine.yaml"
    file.write_text("/**: {ros__parameters: {warmup_points: 0, max_rate: 3.0}}")
    robot = including(
        tmp_path,
        "PushRosNamespace('robot')",
        "SetParameter('use_sim_time', True)",
        "SetParameter('max_rate', 7.0)",
        "SetParameter('range.max', 40.0)",
        "SetRemap('~/output/filtered', '/obstacles')",
        model=str(tiny_model), params_file=str(file), namespace="front", input_topic="points",
        segmentation_topic="labels",
    )  # fmt: skip
    with launched(environment, tmp_path / "launch.log", file=robot) as wait_for:
        wait_for("waiting for clouds on /robot/front/points")
        names = ("use_sim_time", "max_rate", "range.max", "min_points")
        found = values(second_robot, "/robot/front/segment", *names)
        # The group's, the file's although the group has it too, the group's, the default.
        assert found == [True, 3.0, 40.0, 0]
        published = dict(second_robot.node.get_topic_names_and_types())
        assert {"/robot/front/labels", "/obstacles"} <= set(published)


def test_two_lidars_have_a_node_each_and_share_the_rest(
    environment, tmp_path, tiny_model, second_robot
):
    file = tmp_path / "both.yaml"
    file.write_text(
        "/**: {ros__parameters: {warmup_points: 0, max_rate: 3.0}}\n"
        "/**/segment_rear: {ros__parameters: {range.max: 20.0}}\n"
    )
    arguments = (f"params_file:={file}", f"model:={tiny_model}", "rear_topic:=/behind")
    with launched(environment, tmp_path / "launch.log", *arguments, file=TWO_LIDARS) as wait_for:
        wait_for("waiting for clouds on /lidar_front/points")
        wait_for("waiting for clouds on /behind")
        for side, furthest in (("front", float("inf")), ("rear", 20.0)):
            found = values(second_robot, f"/segment_{side}", "model", "max_rate", "range.max")
            assert found == [str(tiny_model), 3.0, furthest]
            wait_for_publisher(second_robot, f"/segment_{side}/output/segmentation")


def test_nav2_gets_obstacles_where_its_costmap_looks_for_them(environment, tmp_path, second_robot):
    with launched(environment, tmp_path / "launch.log", file=NAV2) as wait_for:
        wait_for("waiting for clouds on /lidar/points")
        names = ("filter.exclude", "filter.voxel_size", "filter.unlabelled", "autostart")
        found = values(second_robot, "/segment", *names)
        assert found == [["road", "road_marking", "sidewalk"], 0.05, "keep", True]
        wait_for_publisher(second_robot, "/obstacles")


def test_nav2s_manager_leads_the_node_where_it_is_installed(environment, tmp_path):
    packages = pytest.importorskip("ament_index_python.packages")
    if "nav2_lifecycle_manager" in packages.get_packages_with_prefixes():
        pytest.skip("nav2_lifecycle_manager is installed")
    wanted = "lifecycle_manager:=true"
    said = refused(environment, wanted, file=NAV2)
    assert f"{wanted} needs the package nav2_lifecycle_manager, which is not installed" in said
    # The stand-in, as a package
    share, lib = tmp_path / "share", tmp_path / "lib" / "nav2_lifecycle_manager"
    index = share / "ament_index" / "resource_index" / "packages"
    for folder in (index, share / "nav2_lifecycle_manager", lib):
        folder.mkdir(parents=True)
    (index / "nav2_lifecycle_manager").touch()
    program = lib / "lifecycle_manager"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.append({str(SUPPORT)!r})\n"
        "from nav2_manager import main\nmain()\n"
    )
    program.chmod(0o755)
    prefixes = os.pathsep.join([str(tmp_path), os.environ["AMENT_PREFIX_PATH"]])
    environment = {**environment, "AMENT_PREFIX_PATH": prefixes}
    log = tmp_path / "launch.log"
    arguments = (wanted, "namespace:=robot", "name:=eyes")
    with launched(environment, log, *arguments, file=NAV2) as wait_for:
        wait_for("[robot.lifecycle_manager_eyes]: Managed nodes are active")
        wait_for("waiting for clouds on /lidar/points")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("params_file:=/no/such/file", "params_file is '/no/such/file', must be a file"),
        ("bag:=/no/such/bag", "bag is '/no/such/bag', must be a file or folder"),
        ("respawn_delay:=soon", "respawn_delay is 'soon', must be a number of seconds"),
    ],
)
def test_what_can_not_be_launched_is_said_before_anything_starts(environment, argument, said):
    assert said in refused(environment, argument)


def test_without_rviz_nothing_is_started(environment):
    packages = pytest.importorskip("ament_index_python.packages")
    if "rviz2" in packages.get_packages_with_prefixes():
        pytest.skip("rviz2 is installed")
    said = refused(environment, "rviz:=true")
    assert "rviz:=true needs the package rviz2, which is not installed" in said


def test_a_node_that_crashed_is_started_again(environment, tmp_path, quick):
    log = tmp_path / "launch.log"
    with launched(environment, log, *quick, "respawn:=true", "respawn_delay:=0.5") as wait_for:
        wait_for("waiting for clouds")
        os.kill(int(re.search(r"process started with pid \[(\d+)\]", log.read_text())[1]), 9)
        wait_for("waiting for clouds", times=2)


def test_a_misspelt_parameter_ends_the_node_and_another_nodes_is_logged(start):
    wrong = start("filter_classes:=[car]")
    assert wrong.process.wait(WAIT_S) == 2
    assert "there is no parameter filter_classes, filter.classes was probably" in wrong.log
    other = start("wheel_radius:=0.1", "use_sim_time:=false", "autostart:=false")
    other.wait_for_log("no parameters of this node")
    assert re.search(r"leaves them out: wheel_radius\n", other.log)
    assert other.end() == 0


def test_a_bag_is_replayed_once_the_node_is_active(environment, tmp_path, tiny_model, drive):
    pytest.importorskip("ros2bag", reason="ros2bag comes with a ROS installation")
    from small_run import DRIVE

    log, bag = tmp_path / "launch.log", tmp_path / "a drive"
    sweeps = round(DRIVE.duration_s * DRIVE.lidar_rate_hz)
    shutil.copytree(drive, bag)
    arguments = (f"bag:={bag}", f"model:={tiny_model}", "namespace:=robot")
    with launched(environment, log, *arguments) as wait_for:
        wait_for("Playback until")
        assert "active after" in log.read_text()
        # The player's end; the node is interrupted later.
        wait_for("process has finished cleanly")
    received = int(re.search(r"(\d+) clouds received", log.read_text())[1])
    assert received >= 0.9 * sweeps


def test_a_robot_gets_labels_from_the_launched_node(environment, tiny_model):
    pytest.importorskip("launch_testing", reason="launch_testing comes with a ROS installation")
    path = os.pathsep.join([str(SUPPORT), environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "launch_testing.launch_test", SUPPORT / "launched_node.py",
         f"model:={tiny_model}", *PATIENT],
        env={**environment, "PYTHONPATH": path}, capture_output=True, text=True, timeout=2 * WAIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("\nOK\n") == 2, done.stdout + done.stderr
