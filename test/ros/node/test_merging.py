"""A node that merges the clouds of two LiDARs, both in one frame: TF is not asked."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
pytest.importorskip("nav_msgs", reason="needs nav_msgs (pip install '.[ros-wheels]')")

from driving_robot import ODOMETRY, Drive, measured, xyz_of
from moving_sensor import sweep
from robot import DOMAIN, Robot, cloud_of, some_points, steady_node
from sensor_msgs.msg import LaserScan
from two_lidars import CLOUDS, PARAMETERS, REAR, TwoLidars

from haskd_ros.clouds.pointcloud import read_points

pytestmark = pytest.mark.live

OK, WARN = b"\0", b"\1"
MS = 1e-3
ALL = some_points(3000)
FRONT, BACK = ALL[:2000], ALL[2000:]


@pytest.fixture(scope="module")
def node(ros_environment, tiny_model, tmp_path_factory, warm_starts):
    with steady_node(
        tmp_path_factory.mktemp("merging"), f"model:={tiny_model}", "poses.timeout:=0.5",
        "poses.source:=odometry", f"poses.odometry_topic:={ODOMETRY}", *PARAMETERS,
        warm=warm_starts,
    ) as node:  # fmt: skip
        yield node


@pytest.fixture(scope="module")
def lidars(node, robot):
    lidars = TwoLidars(robot)
    robot.wait(lidars.has_subscriber)
    return lidars


def test_every_output_has_the_points_of_both_in_their_order(node, lidars):
    merged = lidars.label(FRONT, [(cloud_of(BACK), 20 * MS)], width=3000)
    labelled = read_points(merged["output/labelled"])
    for name in ("x", "y", "z", "intensity"):
        assert labelled[name].tolist() == ALL[name].tolist()
    for topic in CLOUDS:
        reply = merged[topic]
        assert reply.header.frame_id == "lidar" and (reply.height, reply.width) == (1, 3000)
        assert read_points(reply)["z"].tolist() == ALL["z"].tolist()
    _, _, values = lidars.status("clouds merged recently")
    assert values["topics"] == REAR and int(values["clouds merged with all"]) >= 1

    # They have the labels of one cloud with all the points
    alone = lidars.label(ALL, width=3000)
    expected = read_points(alone["output/segmentation"])["class_id"]
    assert len(set(expected.tolist())) > 2
    found = read_points(merged["output/segmentation"])["class_id"]
    np.testing.assert_array_equal(found, expected)


def test_without_the_other_lidar_the_input_is_labelled_and_a_warning_says_why(node, lidars):
    time.sleep(1.1)  # the node takes it for silent
    alone = lidars.label(FRONT, width=2000)
    assert read_points(alone["output/labelled"])["x"].tolist() == FRONT["x"].tolist()
    level, _, values = lidars.status(f"without some: {REAR}: no cloud for")
    assert level == WARN
    assert int(values[f"{REAR}: no cloud"]) >= 1 and int(values["clouds without some"]) >= 1
    node.wait_for_log(f"not merged: {REAR}: no cloud for")
    # A cloud of another time is none of this one
    lidars.label(FRONT, [(cloud_of(BACK), 200 * MS)], width=2000)
    level, _, _ = lidars.status("+0.200 s from the input's, merge.max_gap is 0.06 s")
    assert level == WARN


def labelled_between(lidars, before_ms, after) -> list[float]:
    """z of the labelled points of an input, for which the rear LiDAR sends clouds so many ms before
    and, 0.3 s after the input was sent, `after`, by ms and points; empty where none came."""
    replies = lidars.robot.received["output/segmentation"]
    stamp_ns = lidars.next_stamp()
    del replies[:]
    for behind in before_ms:
        lidars.send_rear(cloud_of(BACK), stamp_ns - behind * 10**6)
        time.sleep(0.02)
    lidars.send_front(FRONT, stamp_ns)
    time.sleep(0.3)
    later_ms, points = after
    lidars.send_rear(cloud_of(points), stamp_ns + later_ms * 10**6)
    end = time.monotonic() + 2.0
    lidars.robot.wait(lambda: bool(replies) or time.monotonic() > end)
    return read_points(replies[-1])["z"].tolist() if replies else []


def test_a_cloud_waits_for_the_others_that_may_still_come(node, lidars):
    # At 10 Hz, the last one 100 ms before
    other = BACK[:500]
    expected = [*FRONT["z"].tolist(), *other["z"].tolist()]
    lidars.robot.wait(lambda: labelled_between(lidars, (300, 200, 100), (0, other)) == expected)


def test_a_cloud_does_not_wait_for_one_that_would_be_further_away(node, lidars):
    # The last one was 40 ms before, the next will be 60 ms after
    expected = [*FRONT["z"].tolist(), *BACK["z"].tolist()]
    lidars.robot.wait(
        lambda: labelled_between(lidars, (240, 140, 40), (10, BACK[:500])) == expected
    )


def test_a_malformed_cloud_of_the_other_lidar_is_left_out(node, lidars):
    short = cloud_of(BACK)
    short.width += 1
    lidars.label(FRONT, [(short, 0.0)], width=2000)
    level, _, values = lidars.status(f"{REAR}: cloud: 1 x 1001 points of 16 bytes need")
    assert level == WARN
    assert int(values[f"{REAR}: data too short"]) >= 1
    # Nor does a frame of its own, that nobody knows the place of, stop the input
    turned = cloud_of(BACK)
    turned.header.frame_id = "rear_lidar"
    lidars.label(FRONT, [(turned, 0.0)], width=2000)
    level, _, _ = lidars.status("no transform from rear_lidar to lidar")
    assert level == WARN


def test_topics_change_while_the_node_runs(node, lidars):
    robot = lidars.robot
    for topics, reason in (
        (["/segment/input/points"], "/segment/input/points is the input's"),
        ([REAR, REAR], f"{REAR} stands there twice"),
        (["/rear points"], "parameter merge.topics is '/rear points', must be the name of a topic"),
        ([f"/rear{n}" for n in range(17)], "merge.topics has 17 topics, must have at most 16"),
    ):
        successful, told = robot.set_parameter("merge.topics", topics)
        assert not successful and reason in told
    assert robot.set_parameter("merge.topics", []) == (True, "")
    robot.wait(lambda: not lidars.has_subscriber())
    alone = lidars.label(FRONT, [(cloud_of(BACK), 0.0)], width=2000)
    assert len(read_points(alone["output/filtered"])) == 2000
    assert lidars.status("off: the input's clouds alone")[0] == OK
    # A name without a / is in the node's namespace
    assert robot.set_parameter("merge.topics", ["rear/points"]) == (True, "")
    robot.wait(lidars.has_subscriber)
    lidars.label(FRONT, [(cloud_of(BACK), 0.0)], width=3000)


def test_each_lidar_is_compensated_from_its_own_times_to_the_inputs_stamp(node, lidars):
    robot = lidars.robot
    drive, sweep_s = Drive(robot), np.linspace(0, 0.1, 5000)
    robot.wait(lambda: robot.set_parameter("motion.compensation", True) == (True, ""))
    robot.wait(lambda: robot.node.count_subscribers(ODOMETRY) > 0)
    times = np.round(sweep_s * 1e9).astype("u4")
    front, front_standing = sweep(sweep_s)
    back, back_standing = sweep(sweep_s + 40 * MS)
    rear = cloud_of(measured(back, "t", times))
    standing = np.concatenate([front_standing, back_standing])

    def odometry(stamp_ns: int) -> None:
        drive.send_poses(stamp_ns, np.arange(-0.15, 0.2, 0.01))

    points = measured(front, "t", times)

    def compensated() -> bool:
        """Until all odometry is there in time: what comes after its cloud is too late."""
        moved = lidars.label(points, [(rear, 40 * MS)], width=10_000, sent=odometry)
        labelled = read_points(moved["output/labelled"])
        is_there = np.linalg.norm(xyz_of(labelled) - standing, axis=1).max() < 2e-3
        return is_there and not labelled["t"].any()

    robot.wait(compensated)

    # Without poses they stay where they were measured
    still = lidars.label(points, [(rear, 40 * MS)], width=10_000)
    labelled = read_points(still["output/labelled"])
    np.testing.assert_array_equal(xyz_of(labelled), np.float32(np.concatenate([front, back])))
    # Its times count from the input's stamp, 40 ms before its own
    assert labelled["t"][:5000].tolist() == times.tolist()
    off = labelled["t"][5000:].astype(float) - times
    assert off == pytest.approx(np.full(5000, 40e6), abs=20)
    node.wait_for_log(f"{REAR}: merged without motion compensation: ")
    assert robot.set_parameter("motion.compensation", False) == (True, "")


def test_another_type_on_the_topic_is_told(node, lidars):
    assert lidars.robot.set_parameter("merge.topics", ["/scan"]) == (True, "")
    scanner = Robot(DOMAIN)  # a process can't have a topic with two types
    scanner.node.create_publisher(LaserScan, "/scan", 1)
    level, _, _ = lidars.status("/scan is offered as sensor_msgs/msg/LaserScan, must be")
    assert level == WARN
    node.wait_for_log("not merged: /scan is offered as sensor_msgs/msg/LaserScan")
    scanner.close()
