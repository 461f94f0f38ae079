"""A street so simple that a tiny network learns it in seconds: flat road, boxes, a wall."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.preparing.prepare import prepare
from recorded_bags import POINT, Scene, write_bag

ROAD, CAR, BUILDING = 7, 13, 41  # raw ids of the pandaset label map


def street(index: int, count: int = 600) -> np.ndarray:
    """[3 * count] points of sweep `index` in the sensor frame, 2 m above the road."""
    generator = np.random.default_rng(index)
    points = np.zeros(3 * count, POINT)
    for start, label, low, high in (
        (0, ROAD, (-15, -6, -2.02), (15, 6, -1.98)),
        (count, CAR, (3, -3, -1.7), (7, -1, -0.5)),
        (2 * count, BUILDING, (-15, 6, -2), (15, 6.3, 4)),
    ):
        part = points[start : start + count]
        for axis, a, b in zip("xyz", low, high):
            part[axis] = generator.uniform(a, b, count)
        part["intensity"] = generator.uniform(10, 200, count)
        part["label"] = label
    return points


def street_cache(folder: Path, sweeps: int = 10, labels: str | None = "pandaset") -> Path:
    """A prepared cache of `sweeps` sweeps under `folder`."""
    bag = write_bag(folder, Scene(clouds=sweeps, images=0, points=street))
    prepare([bag], labels, folder / "cache", PrepareConfig())
    return folder / "cache"
