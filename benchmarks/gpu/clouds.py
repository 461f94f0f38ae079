"""Clouds to label: of a recording, or of a simulated street."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from gpu.part import Case

BEAMS = np.radians(np.linspace(-25.0, 10.0, 64))
SENSOR_HEIGHT_M = 1.8
STREET_M = (70.0, 12.0)
"""Half of its length and of its width, between walls."""
CARS = 24


def clouds(case: Case, points: int, count: int) -> list[np.ndarray]:
    """[points, 4] float32 each: x y z in m in the sensor frame, intensity 0..255.

    A recording's clouds have points left out by chance, or some of them once more, 3 cm off.
    """
    if case.bag is None:
        return [street(points, seed) for seed in range(count)]
    from haskd_ros.clouds.pointcloud import read_xyz_intensity, valid_returns
    from haskd_training.recordings.readers.bag import POINT_CLOUD, choose_topic, open_bag

    found = []
    with open_bag(Path(case.bag)) as bag:
        messages = bag.messages_with_cdr(choose_topic(bag, POINT_CLOUD, case.topic, "--topic"))
        for message, _ in islice(messages, count):
            cloud, _ = read_xyz_intensity(message)
            found.append(_of_size(cloud[valid_returns(cloud)].astype(np.float32), points))
    return found


def _of_size(cloud: np.ndarray, points: int) -> np.ndarray:
    chosen = np.sort(np.random.default_rng(0).permutation(len(cloud))[:points])
    parts = [cloud[chosen]]
    while (missing := points - sum(map(len, parts))) > 0:
        again = cloud[:missing].copy()
        again[:, :3] += 0.03 * len(parts)
        parts.append(again)
    return np.concatenate(parts)


def street(points: int, seed: int) -> np.ndarray:
    """A sweep of a sensor of 64 beams between two rows of houses, with cars on the road."""
    generator = np.random.default_rng(seed)
    turns = -(-points // len(BEAMS))
    azimuth, beam = np.meshgrid(np.linspace(-np.pi, np.pi, turns, endpoint=False), BEAMS)
    azimuth, beam = azimuth.ravel(), beam.ravel()
    rays = np.stack(
        [np.cos(beam) * np.cos(azimuth), np.cos(beam) * np.sin(azimuth), np.sin(beam)], 1
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        down = np.where(rays[:, 2] < 0, -SENSOR_HEIGHT_M / rays[:, 2], np.inf)
        walls = np.min(np.array(STREET_M) / np.abs(rays[:, :2]), axis=1)
        distance = np.minimum(down, walls)
        for _ in range(CARS):
            centre = [generator.uniform(-60, 60), generator.choice([-8, -3, 3, 8]), -1.0]
            half = np.array([2.2, 0.9, 0.8])
            # Where the ray is between each pair of the box's planes; in all three, in the box.
            one, other = (centre - half) / rays, (centre + half) / rays
            into = np.minimum(one, other).max(1)
            out_of = np.maximum(one, other).min(1)
            distance = np.where((into > 0) & (into < out_of), np.minimum(distance, into), distance)
    distance += generator.normal(0, 0.02, len(distance))
    intensity = generator.uniform(0, 255, (len(rays), 1))
    cloud = np.concatenate([rays * distance[:, None], intensity], 1).astype(np.float32)
    return cloud[np.sort(generator.permutation(len(cloud))[:points])]
