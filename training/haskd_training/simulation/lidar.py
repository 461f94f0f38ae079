"""A spinning LiDAR: named beam tables, firing times, ranges, intensities, lost returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from haskd_training.simulation.config import LidarName, SimulationConfig
from haskd_training.simulation.scene import Scene, turn_left
from haskd_training.simulation.traffic import EGO_SPEED, Trajectory

MAX_RANGE_M, MIN_RANGE_M = 100.0, 1.0

# A return is seen if reflectivity * cos(incidence) / range^2 exceeds this: black at right angles at
# about 100 m, asphalt under a sensor 1.9 m up at about 40 m.
_DETECTABLE = 3.5e-6
_FASTEST_M_S = 12.0

POINT = np.dtype(
    {
        "names": ["x", "y", "z", "intensity", "time", "ring", "label"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<f4", "<u2", "u1"],
        "offsets": [0, 4, 8, 12, 16, 20, 22],
        "itemsize": 24,
    }
)
"""One point of a cloud: x y z m, intensity 0..255, time s before the stamp (<= 0), beam, label."""

BEAM_ELEVATIONS_DEG: dict[LidarName, np.ndarray] = {
    "beams_16": np.linspace(-15.0, 15.0, 16),
    # Half of the beams within 4 degrees of the horizon, the others spread out downwards.
    "beams_32": np.concatenate(
        [
            [-25.0, -19.5, -15.6, -13.0, -11.2, -9.8, -8.6, -7.6, -6.7, -5.9, -5.2, -4.6],
            np.linspace(-4.0, 1.333, 17),
            [3.333, 7.0, 15.0],
        ]
    ),
    "beams_64": np.linspace(-24.8, 2.0, 64),
    # A third of a degree or less around the horizon, up to 6 degrees apart at the edges.
    "pandar64": np.concatenate(
        [
            [-25.0, -19.0, -14.0, -13.0, -12.0, -11.0, -10.0, -9.0, -8.0, -7.0],
            np.linspace(-6.0, 2.0, 49),
            [3.0, 5.0, 8.0, 11.0, 15.0],
        ]
    ),
    # Every eighth of a degree around the horizon, where most of a street is.
    "beams_128": np.concatenate(
        [np.linspace(-25.0, -6.6, 32), np.linspace(-6.0, 2.0, 65), np.linspace(2.5, 15.0, 31)]
    ),
}
"""Elevation of every beam by sensor, degrees, from the lowest up. Modelled on what such sensors
have; the tables are this project's own."""


@dataclass(frozen=True)
class Firings:
    """The rays of one turn, in firing order: N = azimuth steps * beams.

    directions: [N, 3] float32, unit, frame `lidar`. time: [N] float64, s before the end of the
    turn, <= 0. ring: [N] uint16, beam by elevation, 0 the lowest.
    """

    directions: np.ndarray
    time: np.ndarray
    ring: np.ndarray


def mount_of(config: SimulationConfig) -> np.ndarray:
    """[3]: origin of the frame `lidar` in `base_link`, m; its axes are those of
    `base_link`, which is on the ground."""
    return np.array([0.0, 0.0, config.lidar_height_m])


def make_firings(config: SimulationConfig) -> Firings:
    """One clockwise turn that begins and ends behind the vehicle, its beams firing one by one."""
    elevation = np.deg2rad(BEAM_ELEVATIONS_DEG[config.lidar])
    beams, total = len(elevation), config.azimuth_steps * len(elevation)
    part = np.arange(1, total + 1) / total
    azimuth = np.pi - 2 * np.pi * part
    ring = np.tile(np.arange(beams), config.azimuth_steps)
    cos = np.cos(elevation[ring])
    directions = np.stack(
        [cos * np.cos(azimuth), cos * np.sin(azimuth), np.sin(elevation[ring])], 1
    )
    return Firings(
        directions.astype(np.float32), (part - 1.0) / config.lidar_rate_hz, ring.astype(np.uint16)
    )


def simulate_sweep(
    scene: Scene,
    ego: Trajectory,
    firings: Firings,
    *,
    stamp: float,
    config: SimulationConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """One sweep that ends at `stamp` s: [N] of dtype `POINT`, in firing order, returns only.

    Every point is in the sensor's frame at its own firing time: motion is not compensated, as on a
    real sensor.
    """
    times = stamp + firings.time
    pose = ego.at(times)
    mount = np.broadcast_to(mount_of(config), (len(times), 3))
    origins = turn_left(mount, pose[:, 2]) + pose.astype(np.float32) * np.array(
        [1, 1, 0], np.float32
    )
    directions = turn_left(firings.directions, pose[:, 2])
    moved = (EGO_SPEED + _FASTEST_M_S) / config.lidar_rate_hz
    hits = scene.cast(origins, directions, times, moved)

    rows = np.flatnonzero(
        (hits.triangle >= 0) & (hits.distance < MAX_RANGE_M) & (hits.distance > MIN_RANGE_M)
    )
    distance, triangle = hits.distance[rows], hits.triangle[rows]
    cosine = -np.einsum("ij,ij->i", hits.normal[rows], directions[rows])
    # A spot grows with range by about 3 mrad.
    texel = scene.texels(hits, rows, 0.003 * distance)
    shade = 0.3 + 0.7 * scene.tint[triangle].mean(axis=1)
    reflectivity = shade * texel[:, 3] * np.float32(0.01)

    signal = reflectivity * cosine / distance**2 * rng.lognormal(0.0, 0.25, len(rows))
    # Glass and black surfaces send most of the light elsewhere.
    mirrored = 0.8 * np.clip(1.0 - reflectivity / 0.06, 0.0, 1.0)
    lost = 1.0 - (1.0 - config.drop_rate) * (1.0 - mirrored)
    seen = (signal > _DETECTABLE) & (rng.random(len(rows)) >= lost)

    rows, distance = rows[seen], distance[seen]
    measured = distance + rng.normal(0.0, config.range_noise_m, len(rows))
    # Sensors correct intensity for range, though not quite, nor for incidence.
    brightness = reflectivity[seen] * (0.35 + 0.65 * cosine[seen]) / (1.0 + (distance / 70.0) ** 2)
    brightness = 200.0 * brightness * rng.lognormal(0.0, 0.08, len(rows))
    points = np.zeros(len(rows), POINT)
    points["x"], points["y"], points["z"] = (measured[:, None] * firings.directions[rows]).T
    points["intensity"] = np.clip(np.round(brightness + rng.normal(0.0, 1.0, len(rows))), 0, 255)
    points["time"] = firings.time[rows]
    points["ring"] = firings.ring[rows]
    points["label"] = scene.label[triangle[seen]] + 1
    return points
