"""A running node's labelled clouds, as they go into a file for Rerun's viewer."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
pytest.importorskip("rerun", reason="needs rerun-sdk (pip install '.[view]')")

from rerun_files import classes, ids, read_back, timed
from robot import DOMAIN, cloud_of, some_points, wait_until

from haskd_ros.errors import InputError
from haskd_training.robot.live.node_client import OUTPUT
from haskd_training.robot.views.over_time import live_clouds
from haskd_training.robot.views.over_time.node_view import view_node


@pytest.fixture(autouse=True)
def same_domain(ros_environment, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))


def test_clouds_of_the_node_are_shown_with_its_classes(segment, robot, tmp_path):
    robot.subscribe("output/segmentation")
    file = tmp_path / "live.rrd"
    with ThreadPoolExecutor(1) as pool:
        viewing = pool.submit(view_node, OUTPUT, file, clouds=":2")
        sent = []
        while not viewing.done():
            cloud = cloud_of(some_points())
            sent.append(robot.label(cloud))
        # How many are dropped is the machine's business: more than four may come before the legend.
        assert viewing.result()[0] == 2
    rows = read_back(file)
    seen = timed(rows["/live/lidar/published/class"])
    assert [row["cloud"] for row in seen] == [0, 1]
    by_stamp = {m.header.stamp.sec * 10**9 + m.header.stamp.nanosec: m.data for m in sent}
    for row in seen:
        points = np.frombuffer(by_stamp[row["stamp"]], np.uint8).reshape(-1, 24)
        assert ids(row) == points[:, 12].tolist()
    assert [entry[1:] for entry in classes(rows, "/live/lidar/published")] == [
        ("road", 0x804080),
        ("car", 0x00008E),
        ("building", 0x464646),
        ("not labelled", 0x4B4B4B),
    ]


def test_ctrl_c_ends_a_whole_file(segment, robot, tmp_path):
    robot.subscribe("output/segmentation")
    file = tmp_path / "live.rrd"
    partial = tmp_path / "live.rrd.partial" / "live.rrd"

    def press_when_a_cloud_is_written() -> None:
        # Places are written twice a cloud, with classes and with entropy. What precedes the first
        # cloud, layout and classes, is larger than one of these, so two are not a cloud yet.
        wait_until(
            lambda: partial.exists() and partial.stat().st_size > 4 * 2000 * 12,
            lambda: robot.label(cloud_of(some_points())),
        )
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        pressed = pool.submit(press_when_a_cloud_is_written)
        shown, _ = view_node(OUTPUT, file)
        pressed.result()
    # The one that Ctrl-C comes upon may be in the file and not counted.
    written = len(timed(read_back(file)["/live/lidar/published/class"]))
    assert written > 0
    assert written in (shown, shown + 1)
    assert list(tmp_path.iterdir()) == [file]


def test_a_topic_without_clouds_is_said_and_leaves_nothing(ros_environment, tmp_path, monkeypatch):
    monkeypatch.setattr(live_clouds, "FIRST_TIMEOUT_S", 0.5)
    with pytest.raises(InputError, match=r"no cloud on /nowhere/points within 0 s"):
        view_node("/nowhere/points", tmp_path / "live.rrd")
    assert list(tmp_path.iterdir()) == []
