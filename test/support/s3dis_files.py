"""Rooms in the published form of S3DIS, of a few points each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from haskd_training.data.readers.s3dis import READER

OBJECTS = {
    "floor_1": [[10, 20, 1, 1, 2, 3], [14, 20, 1, 4, 5, 6], [10, 26, 1, 7, 8, 9]],
    "chair_1": [[11, 21, 1.5, 100, 110, 120]],
    "chair_2": [[12, 21, 1.25, 255, 0, 0], [12, 22, 1.5, 0, 255, 0]],
    "stairs_1": [[13, 25, 2, 9, 9, 9]],
    "clutter_1": [[13.5, 25.5, 3.125, 8, 8, 8]],
}
"""Points x y z r g b by object."""


def room(number: int, count: int = 400) -> dict[str, np.ndarray]:
    """A floor, a wall, a table and stairs."""
    random = np.random.default_rng(number)
    parts = {
        "floor_1": ([0, 0, 0], [5, 4, 0.02], count // 2),
        "wall_1": ([0, 0, 0], [5, 0.03, 2.5], count // 4),
        "table_1": ([2, 2, 0.7], [3, 3, 0.75], count // 8),
        "stairs_1": ([4, 3, 0], [5, 4, 1], count // 8),
    }
    return {
        name: np.hstack(
            [random.uniform(low, high, (points, 3)), random.integers(0, 256, (points, 3))]
        )
        for name, (low, high, points) in parts.items()
    }


def write_room(root: Path, name: str, objects: Mapping[str, object] = OBJECTS) -> Path:
    """A room by its name as `Area_1_office_2`; gives its folder of objects."""
    area, number, place = name.split("_", 2)
    folder = root / f"{area}_{number}" / place / "Annotations"
    folder.mkdir(parents=True)
    rows = []
    for file, points in objects.items():
        np.savetxt(folder / f"{file}.txt", np.array(points), fmt=["%.3f"] * 3 + ["%d"] * 3)
        rows.append((folder / f"{file}.txt").read_text())
    (folder.parent / f"{place}.txt").write_text("".join(rows))
    (folder / ".DS_Store").write_bytes(b"\0\1")
    return folder


def write_split(root: Path, split: str) -> None:
    """All rooms of a split."""
    for name in READER.names(root, split):
        write_room(root, name)
