"""Sequences in the published form of SemanticKITTI, a few small scans each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

Scan = tuple[np.ndarray, np.ndarray]
"""Points [N, 4] x y z remission, labels [N]: class in the lower 16 bits, instance above."""

# A camera at the LiDAR's origin that looks along its x: camera x = -y, y = -z, z = x of the LiDAR
TR = "0 -1 0 0  0 0 -1 0  1 0 0 0"
# f = 100 px, centre (60, 40); image_2 stands 0.5 m to the right of camera 0: P[0, 3] = -100 x 0.5
P2 = "100 0 60 -50  0 100 40 0  0 0 1 0"


def by_hand(number: int) -> Scan:
    """A car of instance 7, a lane marking, a moving other vehicle, a return of nothing that is
    unlabelled, and an other object."""
    points = [[10, 0, -1.5, 0.5], [20, 4, 0, 0.25], [5, -1, 1, 1], [0, 0, 0, 0], [60, -3, -1.7, 0]]
    return np.array(points), np.array([10 + (7 << 16), 60, 259, 0, 99])


def street(number: int, count: int = 400) -> Scan:
    """A road, a wall on its left, a car on it, and points that are unlabelled."""
    random = np.random.default_rng(number)
    points = random.uniform([-30, -8, -1.8, 0], [30, 8, -1.6, 1], (count, 4))
    labels = np.full(count, 40)
    wall, car = slice(count // 2, 3 * count // 4), slice(3 * count // 4, 7 * count // 8)
    points[wall, 1:3] = random.uniform([8, -1.6], [8.3, 4], (count // 4, 2))
    labels[wall] = 50
    points[car, :3] = random.uniform([4, -2, -1.6], [8, 0, -0.2], (count // 8, 3))
    labels[car] = 252
    labels[7 * count // 8 :] = random.choice([0, 1, 52, 99], count - 7 * count // 8)
    return points, labels


def write_sequence(
    root: Path,
    name: str,
    scans: int = 3,
    scan: Callable[[int], Scan] = by_hand,
    *,
    labelled: bool = True,
    images: bool = False,
) -> Path:
    """`ROOT/sequences/NAME`: 0.25 s and 2 m forward from each scan to the next."""
    folder = root / "sequences" / name
    for part in ("velodyne", *(["labels"] if labelled else []), *(["image_2"] if images else [])):
        (folder / part).mkdir(parents=True)
    for number in range(scans):
        points, labels = scan(number)
        stem = f"{number:06d}"
        points.astype("<f4").tofile(folder / "velodyne" / f"{stem}.bin")
        if labelled:
            labels.astype("<u4").tofile(folder / "labels" / f"{stem}.label")
        if images:
            picture = np.full((80, 120, 3), 20 * number, np.uint8)
            cv2.imwrite(str(folder / "image_2" / f"{stem}.png"), picture)
    lines = [f"{0.25 * number:e}\n" for number in range(scans)]
    (folder / "times.txt").write_text("".join(lines))
    # In camera 0's frame ahead is z
    poses = [f"1 0 0 0 0 1 0 0 0 0 1 {2 * number}\n" for number in range(scans)]
    if labelled:
        (folder / "poses.txt").write_text("".join(poses))
    (folder / "calib.txt").write_text(f"P0: {P2}\nP1: {P2}\nP2: {P2}\nP3: {P2}\nTr: {TR}\n")
    return folder
