"""The launch file under ROS 2's own launch, where that is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="launch and launch_ros come with a ROS installation")

from robot import REPOSITORY, wait_until
from small_run import DRIVE

pytestmark = pytest.mark.live

SUPPORT = Path(__file__).resolve().parents[2] / "support"
ROS2 = [sys.executable, "-c", "import ros2cli.cli; ros2cli.cli.main()"]


@pytest.fixture
def environment(tmp_path):
    """Of a launch, kept from everybody else's."""
    packages = pytest.importorskip("ament_index_python.packages")
    try:
        packages.get_package_share_directory("haskd_ros")
    except LookupError:
        pytest.skip("haskd_ros is not installed where ROS 2 finds it")
    return {
        **os.environ,
        "ROS_LOG_DIR": str(tmp_path),
        "ROS_DOMAIN_ID": "98",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }


@contextmanager
def launched(environment, log, *arguments):
    """A `ros2 launch haskd_ros segment.launch.py`, interrupted on leaving."""
    with log.open("w") as output:
        launch = subprocess.Popen(
            [*ROS2, "launch", "haskd_ros", "segment.launch.py", *arguments],
            env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield lambda text: wait_until(lambda: text in log.read_text() or launch.poll() is not None)
    finally:
        launch.send_signal(signal.SIGINT)
        assert launch.wait(30) == 0, log.read_text()
    assert "process has finished cleanly" in log.read_text()


def test_the_arguments_are_described():
    path = REPOSITORY / "launch" / "segment.launch.py"
    spec = importlib.util.spec_from_file_location("segment_launch", path)
    launch_file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launch_file)
    arguments = {argument.name: argument for argument in launch_file.ARGUMENTS}
    assert list(arguments) == [
        "input_topic", "model", "device", "params_file", "rviz", "bag", "bag_rate", "bag_loop",
        "use_sim_time", "namespace", "log_level", "autostart",
    ]  # fmt: skip
    assert all(argument.description for argument in arguments.values())
    assert tuple(arguments["rviz"].choices) == ("true", "false")


def test_nothing_but_the_launch_file_gives_an_active_node(environment, tmp_path):
    log = tmp_path / "launch.log"
    with launched(environment, log) as wait_for:
        wait_for("waiting for clouds on")
    assert "active after" in log.read_text()
    assert "waiting for clouds on /lidar/points" in log.read_text()
    assert "classes: road, road_marking" in log.read_text()


def test_an_argument_beats_the_parameter_file(environment, tmp_path, tiny_model):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "/**: {ros__parameters: {model: /no/such/file, warmup_points: 0, max_rate: 3.0}}"
    )
    log = tmp_path / "launch.log"
    arguments = (f"params_file:={file}", f"model:={tiny_model}", "log_level:=warn")
    with launched(environment, log, *arguments, "autostart:=false", "namespace:=robot") as wait_for:
        wait_for("process started")
        asked = [*ROS2, "param", "get", "--hide-type", "/robot/segment"]

        def answer(name: str) -> str:
            done = subprocess.run(
                [*asked, name], env=environment, capture_output=True, text=True, timeout=60
            )
            return done.stdout.strip()

        wait_until(lambda: answer("model") == str(tiny_model))
        assert answer("max_rate") == "3.0"
        assert answer("autostart") == "False"
    assert "active" not in log.read_text()


def test_a_bag_is_replayed_once_the_node_is_active(environment, tmp_path, tiny_model, drive):
    pytest.importorskip("ros2bag", reason="ros2bag comes with a ROS installation")
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
    done = subprocess.run(
        [sys.executable, "-m", "launch_testing.launch_test", SUPPORT / "launched_node.py",
         f"model:={tiny_model}"],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("\nOK\n") == 2, done.stdout + done.stderr
