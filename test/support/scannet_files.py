"""Scans in the published form of ScanNet, of a few vertices each."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

# A quarter turn about z, then 1 m along x and 2 m up: (x, y, z) -> (1 - y, x, z + 2)
ALIGNMENT = "0 -1 0 1 1 0 0 0 0 0 1 2 0 0 0 1"

FLOOR = [[x, y, 0] for x in (0, 2, 4) for y in (0, 3)]
TABLE = [[1, 1, 0.75], [1, 2, 0.75]]
OBJECTS = [[3, 1, 1], [3, 2, 1.5], [2, 2, 2.5], [4, 3, 0.5]]
POINTS = np.array([*FLOOR, *TABLE, *OBJECTS], np.float32)
"""12 vertices of `by_hand`."""

LABELS = np.array([2] * 6 + [7] * 2 + [28, 39, 0, 40])
"""Floor, table, shower curtain, other furniture; nothing, and other prop, which is ignored."""

CATEGORIES = "id\traw_category\tcategory\tcount\tnyu40id\teigen13id\r\n" + "".join(
    f"{number}\t{name}\t{name}\t1\t{nyu40}\t12\r\n"
    for number, name, nyu40 in (
        (3, "floor", 2), (19, "dining table", 7), (55, "shower curtain", 28),
        (40, "mini fridge", 39), (999, "object", 40),
    )
)  # fmt: skip

WIDTH, HEIGHT = 120, 80
INTRINSICS = [[100, 0, 60, 0], [0, 100, 40, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
NO_POSE = np.full((4, 4), -np.inf)


def looking_along_y(x: float, y: float, z: float) -> np.ndarray:
    """T_mesh_camera of a camera that looks along y of the mesh, upright."""
    return np.array([[1, 0, 0, x], [0, 0, 1, y], [0, -1, 0, z], [0, 0, 0, 1]], float)


def room(number: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """A floor, two walls, a table and what nobody annotated."""
    random = np.random.default_rng(number)
    points = random.uniform([0, 0, 0], [5, 4, 0.02], (count, 3))
    labels = np.full(count, 2)
    wall, table = slice(count // 2, 3 * count // 4), slice(3 * count // 4, 7 * count // 8)
    points[wall] = random.uniform([0, 0, 0], [5, 0.03, 2.5], (count // 4, 3))
    labels[wall] = 1
    points[table] = random.uniform([2, 2, 0.7], [3, 3, 0.75], (count // 8, 3))
    labels[table] = 7
    labels[7 * count // 8 :] = random.choice([0, 13, 40], count - 7 * count // 8)
    return points.astype(np.float32), labels


def write_scan(
    root: Path,
    name: str,
    points: np.ndarray = POINTS,
    labels: np.ndarray | None = LABELS,
    poses: Sequence[np.ndarray] = (),
) -> Path:
    """`ROOT/scans/NAME`, with a colour by each vertex's number; without labels in `scans_test`.
    poses: T_mesh_camera of the stream's frames; none: no stream."""
    folder = root / ("scans_test" if labels is None else "scans") / name
    folder.mkdir(parents=True)
    write_mesh(folder / f"{name}_vh_clean_2.ply", points)
    if labels is None:
        (folder / f"{name}.txt").write_text("colorHeight = 80\ncolorWidth = 120\n")
    else:
        write_mesh(folder / f"{name}_vh_clean_2.labels.ply", points, labels)
        (folder / f"{name}.txt").write_text(
            f"axisAlignment = {ALIGNMENT} \ncolorHeight = 80\ncolorWidth = 120\n"
        )
    if poses:
        write_stream(folder / f"{name}.sens", poses)
    return folder


def write_mesh(file: Path, points: np.ndarray, labels: np.ndarray | None = None) -> None:
    kinds = [(axis, "<f4") for axis in "xyz"]
    kinds += [(colour, "u1") for colour in ("red", "green", "blue", "alpha")]
    kinds += [("label", "<u2")] if labels is not None else []
    vertices = np.zeros(len(points), kinds)
    for axis, values in zip("xyz", points.T, strict=True):
        vertices[axis] = values
    vertices["red"] = np.arange(len(points)) % 256
    vertices["green"], vertices["blue"], vertices["alpha"] = 100, 200, 255
    if labels is not None:
        vertices["label"] = labels
    faces = np.zeros(4, [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"] = 3
    types = {"<f4": "float", "u1": "uchar", "<u2": "ushort"}
    header = [
        "ply", "format binary_little_endian 1.0", "comment MLIB generated",
        f"element vertex {len(vertices)}",
        *(f"property {types[kind]} {name}" for name, kind in kinds),
        "element face 4", "property list uchar int vertex_indices", "end_header",
    ]  # fmt: skip
    text = "".join(f"{line}\n" for line in header).encode()
    file.write_bytes(text + vertices.tobytes() + faces.tobytes())


def write_segments(root: Path, folder: Path) -> None:
    """Instead of the labelled mesh of `POINTS` and `LABELS`: segments, objects and categories."""
    name = folder.name
    (folder / f"{name}_vh_clean_2.labels.ply").unlink()
    segments = [10] * 3 + [11] * 3 + [20] * 2 + [30, 40, 50, 60]
    (folder / f"{name}_vh_clean_2.0.010000.segs.json").write_text(
        json.dumps({"params": {"kThresh": "0.0001"}, "sceneId": name, "segIndices": segments})
    )
    objects = [
        ("floor", [10, 11]), ("dining table", [20]), ("shower curtain", [30]),
        ("mini fridge", [40]), ("object", [60]),
    ]  # fmt: skip
    groups = [
        {"id": number, "objectId": number, "segments": own, "label": label}
        for number, (label, own) in enumerate(objects)
    ]
    (folder / f"{name}.aggregation.json").write_text(
        json.dumps({"sceneId": f"scannet.{name}", "segGroups": groups})
    )
    (root / "scannetv2-labels.combined.tsv").write_bytes(CATEGORIES.encode())


def write_stream(
    file: Path, poses: Sequence[np.ndarray], *, version: int = 4, colour: int = 2
) -> None:
    """A grey image for each pose, 20 brighter than the one before."""
    sensor, identity = b"StructureSensor", np.eye(4)
    matrices = [np.array(INTRINSICS), identity, np.array(INTRINSICS), identity]
    parts = [
        struct.pack("<IQ", version, len(sensor)), sensor,
        *(matrix.astype("<f4").tobytes() for matrix in matrices),
        struct.pack("<iiIIIIf", colour, 1, WIDTH, HEIGHT, 64, 48, 1000),
        struct.pack("<Q", len(poses)),
    ]  # fmt: skip
    for number, pose in enumerate(poses):
        picture = np.full((HEIGHT, WIDTH, 3), 20 * number % 256, np.uint8)
        image = cv2.imencode(".jpg" if colour == 2 else ".png", picture)[1].tobytes()
        depth = zlib.compress(np.full((48, 64), 1500 + number, "<u2").tobytes())
        times = (33_000 * number, 33_000 * number + 5)
        parts += [
            pose.astype("<f4").tobytes(),
            struct.pack("<QQQQ", *times, len(image), len(depth)),
            image,
            depth,
        ]
    parts.append(struct.pack("<Q", 1) + struct.pack("<15dQ", *[0.0] * 15, 7))
    file.write_bytes(b"".join(parts))


def write_split(root: Path, split: str, names: Sequence[str]) -> None:
    (root / f"scannetv2_{split}.txt").write_text("\n".join(names))
