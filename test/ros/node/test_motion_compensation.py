"""A node that moves the points of its clouds to their stamps: a sensor drives a curve through a
room, and the walls are where they are."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
pytest.importorskip("nav_msgs", reason="needs nav_msgs (pip install '.[ros-wheels]')")

from driving_robot import Drive, measured, stamp, xyz_of
from moving_sensor import sweep
from robot import cloud_of, steady_node, wait_until

from haskd_ros.clouds.pointcloud import read_points

pytestmark = pytest.mark.live

COUNT = 20_000
SWEEP_S = np.linspace(0, 0.1, COUNT)
MM = 1e-3
OK, WARN = b"\0", b"\1"


@pytest.fixture(scope="module")
def node(ros_environment, tiny_model, tmp_path_factory, warm_starts):
    parameters = ("warmup_points:=1000", "diagnostics.period:=0.2", "poses.timeout:=0.5",
                  "motion.compensation:=true", "poses.source:=odometry",
                  "poses.odometry_topic:=/drive/odom",
                  "diagnostics.max_age:=0.0")  # fmt: skip
    folder = tmp_path_factory.mktemp("motion")
    with steady_node(folder, f"model:={tiny_model}", *parameters, warm=warm_starts) as node:
        yield node


@pytest.fixture(scope="module")
def drive(node, robot):
    drive = Drive(robot)
    points = measured(sweep(SWEEP_S)[0], "t", np.round(SWEEP_S * 1e9).astype("u4"))

    def heard() -> bool:
        """Whether the node has discovered who sends odometry, and so moves points."""
        segmentation, _ = drive.label(points, drive.next_stamp(), np.arange(-0.15, 0.16, 0.01))
        return not np.array_equal(xyz_of(segmentation), xyz_of(points))

    robot.wait(heard)
    # A report tells of all clouds since the one before.
    drive.status("no cloud recently")
    return drive


def time_field(driver: str, stamp_ns: int) -> tuple[np.ndarray, str, np.ndarray, float]:
    """Times of the points relative to the stamp, and how a driver writes them; what it would write
    for a point at the stamp."""
    if driver == "ouster":
        return SWEEP_S, "t", np.round(SWEEP_S * 1e9).astype("u4"), 0
    if driver == "velodyne":
        return SWEEP_S - 0.1, "time", (SWEEP_S - 0.1).astype("f4"), 0
    return SWEEP_S - 0.05, "timestamp", stamp_ns * 1e-9 + SWEEP_S - 0.05, stamp_ns / 1e9


@pytest.mark.parametrize("driver", ["ouster", "velodyne", "hesai"])
def test_the_walls_are_where_a_sensor_that_stands_would_see_them(node, drive, driver):
    stamp_ns = drive.next_stamp()
    seconds, name, times, at_stamp = time_field(driver, stamp_ns)
    seen, standing = sweep(seconds)
    # Not compensated they are off by up to decimetres
    assert np.linalg.norm(seen - standing, axis=1).max() > 0.3
    points = measured(seen, name, times)
    # 100 Hz: between two messages the curve is 0.06 mm off the straight line
    segmentation, filtered = drive.label(points, stamp_ns, np.arange(-0.15, 0.16, 0.01))
    assert np.linalg.norm(xyz_of(segmentation) - standing, axis=1).max() < MM
    # The filtered cloud has the input's fields; its times say that nothing is left to be done
    assert filtered.dtype.names == points.dtype.names
    assert filtered["intensity"].tolist() == points["intensity"].tolist()
    assert np.linalg.norm(xyz_of(filtered) - standing, axis=1).max() < MM
    assert filtered[name] == pytest.approx(np.full(COUNT, at_stamp), abs=1e-6)
    level, _, values = drive.status("clouds compensated recently", f"{name} (")
    assert level == OK and values["poses"] == "odometry on /drive/odom"
    assert float(values["times since the stamp (ms)"].split()[0]) == pytest.approx(
        1e3 * seconds[0], abs=0.1
    )
    assert int(values["clouds compensated"]) >= 1


def test_a_cloud_waits_for_the_odometry_of_its_last_points(node, drive):
    stamp_ns = drive.next_stamp()
    seen, standing = sweep(SWEEP_S)
    cloud = cloud_of(measured(seen, "t", np.round(SWEEP_S * 1e9).astype("u4")))
    cloud.header.stamp = stamp(stamp_ns)
    replies = drive.robot.received["output/segmentation"]
    sent = 0.0

    def labelled() -> bool:
        nonlocal sent
        if time.monotonic() > sent + 3.0:
            sent = time.monotonic()
            drive.send_poses(stamp_ns, np.arange(-0.1, 0.06, 0.01))
            drive.robot.send(cloud)
            time.sleep(0.15)
            drive.send_poses(stamp_ns, np.arange(0.06, 0.12, 0.01))
        return any(reply.header == cloud.header for reply in replies)

    drive.robot.wait(labelled)
    found = next(reply for reply in replies if reply.header == cloud.header)
    assert np.linalg.norm(xyz_of(read_points(found)) - standing, axis=1).max() < MM


def test_without_poses_the_cloud_is_labelled_as_measured_and_a_warning_says_so(node, drive):
    stamp_ns = drive.next_stamp()
    points = measured(sweep(SWEEP_S)[0], "t", np.round(SWEEP_S * 1e9).astype("u4"))
    segmentation, filtered = drive.label(points, stamp_ns)
    np.testing.assert_array_equal(xyz_of(segmentation), xyz_of(points))
    assert filtered["t"].tolist() == points["t"].tolist()
    level, _, values = drive.status("not compensated recently: /drive/odom: the newest odometry is")
    assert level == WARN
    assert int(values["not compensated: no odometry of that time"]) >= 1

    def is_logged() -> bool:
        """Of a kind once in five seconds: where the first odometry was lost, as the drive began, it
        has been."""
        if "no motion compensation: /drive/odom: the newest odometry is" in node.log:
            return True
        drive.label(points, drive.next_stamp())
        return False

    wait_until(is_logged)


def test_odometry_of_another_frame_needs_its_transform(node, drive):
    stamp_ns = drive.next_stamp()
    points = measured(sweep(SWEEP_S)[0], "t", np.round(SWEEP_S * 1e9).astype("u4"))
    seconds = np.arange(-0.15, 0.16, 0.01)
    segmentation, _ = drive.label(points, stamp_ns, seconds, base="base_link")
    np.testing.assert_array_equal(xyz_of(segmentation), xyz_of(points))
    level, _, _ = drive.status("no transform from lidar to base_link")
    assert level == WARN


def test_a_cloud_that_was_compensated_already_is_left_alone(node, drive):
    stamp_ns = drive.next_stamp()
    points = measured(sweep(SWEEP_S)[0], "time", np.zeros(COUNT, "f4"))
    segmentation, _ = drive.label(points, stamp_ns)
    np.testing.assert_array_equal(xyz_of(segmentation), xyz_of(points))
    level, message, values = drive.status("nothing to compensate")
    assert level == OK and "field 'time' (float32) is 0 at all 20000 points" in message
    assert int(values["clouds with one time for all points"]) >= 1
    assert node.log.count("no motion compensation needed") == 1
    drive.status("no cloud recently")


def test_a_cloud_without_times_and_times_of_a_wrong_unit_are_warned_of(node, drive):
    stamp_ns = drive.next_stamp()
    seen, _ = sweep(SWEEP_S)
    drive.label(measured(seen, "ring", np.zeros(COUNT, "u2")), stamp_ns)
    level, message, _ = drive.status("the clouds have no field with the time of each point")
    assert level == WARN and "set motion.compensation to false" in message
    assert drive.robot.set_parameter("motion.time_unit", "us") == (True, "")
    try:
        points = measured(seen, "t", np.round(SWEEP_S * 1e9).astype("u4"))
        segmentation, _ = drive.label(points, drive.next_stamp(), np.arange(-0.15, 0.16, 0.01))
        np.testing.assert_array_equal(xyz_of(segmentation), xyz_of(points))
        level, _, _ = drive.status("goes from 0 to 100000000, in us a sweep of 0.001 to 1 s")
        assert level == WARN
    finally:
        assert drive.robot.set_parameter("motion.time_unit", "auto") == (True, "")


def test_what_can_not_be_is_refused(node, drive):
    for name in ("a topic", "", "{robot}/odom", "odom/"):
        successful, reason = drive.robot.set_parameter("poses.odometry_topic", name)
        assert not successful
        assert reason.startswith(f"parameter poses.odometry_topic is {name!r}, must be the name")
    successful, reason = drive.robot.set_parameter("poses.fixed_frame", "/")
    assert not successful
    assert reason == "parameter poses.fixed_frame is '/', must name a frame"
    successful, reason = drive.robot.set_parameter("poses.source", "imu")
    assert not successful and "must be one of tf, odometry" in reason
    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        successful, reason = drive.robot.set_parameter("poses.source", "tf")
        assert not successful
        assert reason.startswith("parameter poses.source is 'tf', which needs tf2_ros")


def test_switched_off_and_on_while_it_runs(node, drive):
    stamp_ns = drive.next_stamp()
    seen, standing = sweep(SWEEP_S)
    points = measured(seen, "t", np.round(SWEEP_S * 1e9).astype("u4"))
    seconds = np.arange(-0.15, 0.16, 0.01)
    assert drive.robot.set_parameter("motion.compensation", False) == (True, "")
    segmentation, filtered = drive.label(points, stamp_ns, seconds)
    np.testing.assert_array_equal(xyz_of(segmentation), xyz_of(points))
    assert filtered["t"].tolist() == points["t"].tolist()
    level, _, _ = drive.status("off: points are published as they were measured")
    assert level == OK
    assert drive.robot.set_parameter("motion.compensation", True) == (True, "")
    drive.robot.wait(lambda: drive.robot.node.count_subscribers("/drive/odom") > 0)
    segmentation, _ = drive.label(points, drive.next_stamp(), seconds)
    assert np.linalg.norm(xyz_of(segmentation) - standing, axis=1).max() < MM
