"""Points and labels for tests of cloud files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from haskd_training.recordings.cloud_files import formats
from haskd_training.recordings.cloud_files.cloud import PointLabels

COUNT = 40


def coordinates(count: int = COUNT, kind: str = "f4") -> np.ndarray:
    """[count, 3] that no rounding leaves as they are: thirds of whole numbers."""
    return (np.arange(3 * count).reshape(count, 3) / 3 - 20).astype(kind)


def intensities(count: int = COUNT) -> np.ndarray:
    """[count] float32, 0 to 255."""
    return np.linspace(0, 255, count).astype("f4")


def labels_of(count: int = COUNT, names: tuple[str, ...] = ()) -> PointLabels:
    """Classes 0 to 10 and one point without; probabilities that need all digits."""
    class_id = (np.arange(count) % 11).astype("u1")
    class_id[3:4] = 255
    probability = (1 / np.arange(1, count + 1)).astype("f4")
    rgb = np.stack([class_id, 255 - class_id, np.arange(count) % 256], axis=1).astype("u1")
    return PointLabels(class_id, probability, rgb, names)


def label(path: Path, out: Path, labels: PointLabels | None = None) -> Path:
    """Write the labelled copy of a file of one cloud."""
    if labels is None:
        labels = labels_of(len(formats.read_clouds(path)[0]))
    formats.format_of(path).write(path, out, [labels])
    return out


def write_pcd(path: Path, header: str, body: bytes) -> Path:
    path.write_bytes(header.encode() + body)
    return path


PADDED_HEADER = """# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS x y z _ intensity ring _ normal
SIZE 4 4 4 1 4 2 1 4
TYPE F F F U F U U F
COUNT 1 1 1 4 1 1 10 2
WIDTH {width}
HEIGHT {height}
VIEWPOINT 0 0 0 1 0 0 0
POINTS {points}
DATA {data}
"""
"""As PCL writes a point type whose fields are aligned."""

PADDED_POINT = np.dtype(
    [("x", "f4"), ("y", "f4"), ("z", "f4"), ("pad", "u1", (4,)), ("intensity", "f4"),
     ("ring", "u2"), ("pad2", "u1", (10,)), ("normal", "f4", (2,))]
)  # fmt: skip


def padded_points(count: int = COUNT) -> np.ndarray:
    """[count] of `PADDED_POINT`; the padding holds the sender's memory."""
    octets = np.random.default_rng(0).integers(0, 256, count * PADDED_POINT.itemsize, np.uint8)
    points = octets.view(PADDED_POINT)
    for column, axis in enumerate("xyz"):
        points[axis] = coordinates(count)[:, column]
    points["intensity"] = intensities(count)
    points["ring"] = np.arange(count)
    points["normal"] = coordinates(count)[:, :2]
    return points


def lzf_of_literals(content: bytes) -> bytes:
    """LZF by its definition, of runs that stand for themselves; with the two sizes of a PCD."""
    runs = (content[start : start + 32] for start in range(0, len(content), 32))
    packed = b"".join(bytes([len(run) - 1]) + run for run in runs)
    return struct.pack("<II", len(packed), len(content)) + packed
