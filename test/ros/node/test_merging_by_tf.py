"""A node that merges the clouds of two LiDARs, each with a frame of its own, by the real TF."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
pytest.importorskip("tf2_ros", reason="needs tf2_ros, which no package index has")

import tf2_ros
from driving_robot import xyz_of
from geometry_msgs.msg import TransformStamped
from robot import cloud_of, some_points
from scipy.spatial.transform import Rotation
from two_lidars import PARAMETERS, REAR, TwoLidars

from haskd_ros.clouds.pointcloud import read_points

pytestmark = pytest.mark.live

ALL = some_points(3000)
FRONT, BACK = ALL[:2000], ALL[2000:]
TURN, PLACE = Rotation.from_euler("zyx", [170, 10, -5], degrees=True), np.array([-2.0, 0.3, -0.5])
"""T_lidar_rear."""


def mounted(robot):
    """lidar -> rear, latched as long as the result lives."""
    found = TransformStamped(child_frame_id="rear")
    found.header.frame_id = "lidar"
    translation, rotation = found.transform.translation, found.transform.rotation
    translation.x, translation.y, translation.z = map(float, PLACE)
    rotation.x, rotation.y, rotation.z, rotation.w = map(float, TURN.as_quat())
    broadcaster = tf2_ros.StaticTransformBroadcaster(robot.node)
    broadcaster.sendTransform(found)
    return broadcaster


def test_a_turned_lidar_has_the_labels_of_one_cloud_with_all_points(
    start, second_robot, tiny_model
):
    node = start(f"model:={tiny_model}", *PARAMETERS)
    node.wait_for_log("active")
    lidars = TwoLidars(second_robot)
    second_robot.wait(lidars.has_subscriber)
    # As the rear one measures them
    seen = BACK.copy()
    for axis, values in zip("xyz", TURN.inv().apply(xyz_of(BACK) - PLACE).T):
        seen[axis] = values
    rear = cloud_of(seen)
    rear.header.frame_id = "rear"
    # Nobody knows yet where it is mounted
    lidars.label(FRONT, [(rear, 0.0)], width=2000)
    level, _, _ = lidars.status(f"{REAR}: no transform from rear to lidar")
    assert level == b"\1"

    latched = mounted(second_robot)
    merged = lidars.label(FRONT, [(rear, 0.0)], width=3000)["output/segmentation"]
    assert merged.header.frame_id == "lidar"
    found, alone = read_points(merged), lidars.label(ALL, width=3000)["output/segmentation"]
    assert np.linalg.norm(xyz_of(found) - xyz_of(ALL), axis=1).max() < 1e-4
    # A point at the edge of a voxel may fall to either side
    same = found["class_id"] == read_points(alone)["class_id"]
    assert same.mean() > 0.99
    del latched
