"""A sensor that drives a curve through a room while it sweeps: what it measures when, and where its
walls are."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

SPEED, TURN = 3.0, 1.5
"""m/s along its x, rad/s to the left: a circle of 2 m."""

RADIUS = SPEED / TURN
WALLS = np.array([8.0, 6.0, 3.0])
"""Half of the room's length, width and height, m; its centre is the origin of `odom`."""


def pose(seconds: np.ndarray) -> tuple[Rotation, np.ndarray]:
    """T_odom_base [n] at times relative to the stamp, when it is at (1, -1, 0) and looks 0.5 rad to
    the left."""
    heading = 0.5 + TURN * np.asarray(seconds)
    x = 1 + RADIUS * (np.sin(heading) - np.sin(0.5))
    y = -1 - RADIUS * (np.cos(heading) - np.cos(0.5))
    rotation = Rotation.from_rotvec(np.stack([0 * heading, 0 * heading, heading], -1))
    return rotation, np.stack([x, y, 0 * x], -1)


MOUNT_TURN = Rotation.from_euler("zyx", [90, 5, 0], degrees=True)
MOUNT_PLACE = np.array([0.5, 0.2, 1.0])
"""T_base_sensor of a sensor that is not the base."""


def sweep(seconds: np.ndarray, *, mounted: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] on the walls of the room, each in the sensor's frame at its time, and the same
    points as the sensor at time 0 would have measured them.

    Args:
        mounted: the sensor is mounted on the base; else it is the base.
    """
    random = np.random.default_rng(5)
    rays = random.normal(size=(len(seconds), 3))
    turn, place = pose(seconds)
    turn_0, place_0 = pose(np.zeros(1))
    if mounted:
        turn, place = turn * MOUNT_TURN, place + turn.apply(MOUNT_PLACE)
        turn_0, place_0 = turn_0 * MOUNT_TURN, place_0 + turn_0.apply(MOUNT_PLACE)
    with np.errstate(divide="ignore"):
        distance = ((np.copysign(WALLS, rays) - place) / rays).min(1)
    walls = place + distance[:, None] * rays
    assert (np.isclose(np.abs(walls), WALLS).any(1)).all()
    return turn.inv().apply(walls - place), turn_0.inv().apply(walls - place_0)
