"""Waymo's range images -> points, as its development kit defines it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class TopLidar:
    """The TOP LiDAR's calibration.

    Attributes:
        T_vehicle_sensor: [4, 4]; the sensor is turned about z, and hardly tilted.
        inclinations: [H] rad, of the image's rows, from the highest.
    """

    T_vehicle_sensor: np.ndarray
    inclinations: np.ndarray

    @property
    def T_vehicle_lidar(self) -> np.ndarray:
        """[4, 4]: where points go out, in the sensor's place with the vehicle's axes."""
        moved = np.eye(4)
        moved[:3, 3] = self.T_vehicle_sensor[:3, 3]
        return moved

    def points(
        self, ranges: np.ndarray, poses: np.ndarray, T_world_vehicle: np.ndarray
    ) -> np.ndarray:
        """The returns of an image, row by row.

        Args:
            ranges: [H, W] m; 0 or less is no return.
            poses: [H, W, 6], the vehicle in the world when each pixel was measured: roll, pitch and
                yaw in rad, x y z in m.
            T_world_vehicle: [4, 4] at the sweep's time.

        Returns:
            [N, 3] float64, m, in the frame of `T_vehicle_lidar` at the sweep's time.
        """
        width = ranges.shape[1]
        row, column = np.nonzero(ranges > 0)
        # Columns go clockwise from behind, as seen from the vehicle: the sensor's own turn is taken
        # out, for its extrinsics put it in again.
        turn = np.arctan2(self.T_vehicle_sensor[1, 0], self.T_vehicle_sensor[0, 0])
        azimuth = np.pi * (2 * (width - column - 0.5) / width - 1) - turn
        inclination = self.inclinations[row]
        flat = np.cos(inclination)
        direction = np.stack(
            [np.cos(azimuth) * flat, np.sin(azimuth) * flat, np.sin(inclination)], 1
        )
        sensor = direction * ranges[row, column, None].astype(np.float64)
        vehicle = _transformed(self.T_vehicle_sensor, sensor)
        pose = poses[row, column].astype(np.float64)
        world = Rotation.from_euler("ZYX", pose[:, 2::-1]).apply(vehicle) + pose[:, 3:]
        # Inverted as any matrix: what it lacks to a rotation, 1e-7, would be millimetres at the
        # world's coordinates.
        return _transformed(np.linalg.inv(T_world_vehicle @ self.T_vehicle_lidar), world)


def uniform_inclinations(lowest: float, highest: float, height: int) -> np.ndarray:
    """[H] rad, of a LiDAR whose rows are equally far apart, from the highest."""
    steps = (np.arange(height)[::-1] + 0.5) / height
    return lowest + steps * (highest - lowest)


def _transformed(T: np.ndarray, points: np.ndarray) -> np.ndarray:
    moved: np.ndarray = points @ T[:3, :3].T + T[:3, 3]
    return moved
