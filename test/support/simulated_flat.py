"""A small walk through a simulated flat, and the files of data sets read without their readers."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from haskd_training.simulation.indoor import FlatConfig

WALK = FlatConfig(seed=3, frames=30, image_width=160, image_height=120)

PLY_TYPES = {"float": "<f4", "uchar": "u1", "ushort": "<u2"}


def read_ply(path: Path) -> np.ndarray:
    """[N] structured: the vertices of a binary PLY without faces."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert lines[-2:] == ["element face 0", "property list uchar int vertex_indices"]
    assert lines[2].startswith("element vertex ")
    fields = [line.split()[1:] for line in lines[3:-2]]
    dtype = np.dtype([(name, PLY_TYPES[kind]) for kind, name in fields])
    vertices = np.frombuffer(body, dtype)
    assert len(vertices) == int(lines[2].split()[-1])
    return vertices


class SensFrame(NamedTuple):
    pose: np.ndarray
    stamps_us: tuple[int, int]
    color: np.ndarray
    depth: np.ndarray


class Sens(NamedTuple):
    intrinsics: np.ndarray
    shift: float
    frames: list[SensFrame]


def read_sens(path: Path) -> Sens:
    """A ScanNet stream of version 4, JPEG and zlib, byte after byte."""
    data, at = path.read_bytes(), 0

    def take(kind: str, count: int = 1) -> np.ndarray:
        nonlocal at
        values = np.frombuffer(data, kind, count, at)
        at += values.nbytes
        return values

    assert take("<u4")[0] == 4
    take("u1", int(take("<u8")[0]))
    color_k, color_pose, depth_k, depth_pose = (take("<f4", 16).reshape(4, 4) for _ in range(4))
    np.testing.assert_array_equal(color_k, depth_k)
    np.testing.assert_array_equal([color_pose, depth_pose], [np.eye(4)] * 2)
    assert take("<i4", 2).tolist() == [2, 1]
    width, height, *depth_size = take("<u4", 4).tolist()
    assert depth_size == [width, height]
    shift, count = float(take("<f4")[0]), int(take("<u8")[0])
    frames = []
    for _ in range(count):
        pose = take("<f4", 16).reshape(4, 4)
        first, second, color_bytes, depth_bytes = take("<u8", 4).tolist()
        color = cv2.imdecode(take("u1", color_bytes), cv2.IMREAD_COLOR)[..., ::-1]
        raw = zlib.decompress(take("u1", depth_bytes).tobytes())
        depth = np.frombuffer(raw, "<u2").reshape(height, width)
        frames.append(SensFrame(pose, (first, second), color, depth))
    # No readings of an inertial sensor.
    assert take("<u8").tolist() == [0] and at == len(data)
    return Sens(color_k, shift, frames)
