"""Triangle meshes with a material and a class per triangle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

Vector = Sequence[float] | np.ndarray
"""Three numbers, such as a point in m or an RGB colour."""

WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Mesh:
    """A triangle soup.

    vertices: [V, 3] float32, m. triangles: [T, 3] uint32. material: [T] uint8, index into
    `materials.MATERIALS`. label: [T] uint8, class id. tint: [T, 3] float32, RGB factor on the
    material's texture. shift: [T] float32, m, added to the texture's horizontal coordinate, so that
    a wall's windows begin at its corner.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    material: np.ndarray
    label: np.ndarray
    tint: np.ndarray
    shift: np.ndarray

    def placed(
        self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0, pitch: float = 0.0
    ) -> Mesh:
        """The mesh turned by `pitch` about y, then by `yaw` about z (radians), then moved."""
        cos_p, sin_p, cos_y, sin_y = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
        turn_y = np.array([[cos_p, 0.0, sin_p], [0.0, 1.0, 0.0], [-sin_p, 0.0, cos_p]])
        turn_z = np.array([[cos_y, -sin_y, 0.0], [sin_y, cos_y, 0.0], [0.0, 0.0, 1.0]])
        vertices = self.vertices @ (turn_z @ turn_y).T + [x, y, z]
        return replace(self, vertices=vertices.astype(np.float32))

    def normals(self) -> np.ndarray:
        """[T, 3] float32 unit normals; the side they point to follows the winding."""
        a, b, c = (self.vertices[self.triangles[:, corner]] for corner in range(3))
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        unit: np.ndarray = (normal / np.maximum(length, 1e-12)).astype(np.float32)
        return unit


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """All meshes as one, in their order."""
    first_vertex = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate(
            [mesh.triangles + np.uint32(first) for mesh, first in zip(meshes, first_vertex)]
        ),
        *(
            np.concatenate([getattr(mesh, name) for mesh in meshes])
            for name in ("material", "label", "tint", "shift")
        ),
    )


def from_arrays(
    vertices: ArrayLike,
    triangles: ArrayLike,
    material: int,
    label: int,
    tint: Vector = WHITE,
) -> Mesh:
    """A mesh of vertices [V, 3] and triangles [T, 3] with one material and class; `tint` is one RGB
    colour or one per triangle, [T, 3]."""
    faces = np.asarray(triangles, np.uint32)
    count = len(faces)
    tints = np.empty((count, 3), np.float32)
    tints[:] = tint
    return Mesh(
        np.asarray(vertices, np.float32),
        faces,
        np.full(count, material, np.uint8),
        np.full(count, label, np.uint8),
        tints,
        np.zeros(count, np.float32),
    )


def quad(corners: np.ndarray, material: int, label: int, tint: Vector = WHITE) -> Mesh:
    """One flat quadrilateral; corners: [4, 3] in order."""
    return from_arrays(corners, np.array([[0, 1, 2], [0, 2, 3]]), material, label, tint)


def box(
    size: Vector,
    centre: Vector,
    material: int,
    label: int,
    tint: Vector = WHITE,
    top: Sequence[float] = (1.0, 1.0, 0.0),
) -> Mesh:
    """A box of `size` (x, y, z) in m about `centre`.

    `top` tapers it: factors on the upper face's x and y, and how far that face is moved along x.
    """
    corners = np.array(
        [[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1],
         [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], float
    )  # fmt: skip
    corners *= np.asarray(size, float) / 2
    corners[4:, :2] *= top[:2]
    corners[4:, 0] += top[2]
    faces = np.array(
        [[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7], [0, 1, 5], [0, 5, 4],
         [1, 2, 6], [1, 6, 5], [2, 3, 7], [2, 7, 6], [3, 0, 4], [3, 4, 7]]
    )  # fmt: skip
    return from_arrays(corners + np.asarray(centre, float), faces, material, label, tint)


def tube(
    start: Vector,
    end: Vector,
    radius: float | tuple[float, float],
    material: int,
    label: int,
    tint: Vector = WHITE,
    sides: int = 8,
) -> Mesh:
    """A closed cylinder or cone frustum between two points; radius: one, or (at start, at end)."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    axis = _unit(b - a)
    helper = (1.0, 0.0, 0.0) if abs(axis[2]) > 0.7 else (0.0, 0.0, 1.0)
    side = _unit(_cross(axis, helper))
    up = _cross(axis, side)
    radii = radius if isinstance(radius, tuple) else (radius, radius)
    cos, sin, faces = _circle(sides)
    ring = cos * side + sin * up
    vertices = np.concatenate([a + radii[0] * ring, b + radii[1] * ring, [a, b]])
    return from_arrays(vertices, faces, material, label, tint)


def _unit(vector: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vector / math.sqrt(vector.dot(vector))
    return unit


def _cross(one: Vector, other: Vector) -> np.ndarray:
    """As `np.cross`, which takes ten times as long for a single pair; a town has thousands."""
    (a, b, c), (x, y, z) = (map(float, vector) for vector in (one, other))
    return np.array([b * z - c * y, c * x - a * z, a * y - b * x])


@cache
def _circle(sides: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines and sines [sides, 1] of a tube's edges, and its faces [4 * sides, 3]."""
    angle = np.arange(sides)[:, None] * 2 * np.pi / sides
    i = np.arange(sides)
    j = (i + 1) % sides
    low, high = np.full(sides, 2 * sides), np.full(sides, 2 * sides + 1)
    faces = np.concatenate(
        [
            np.stack([i, j, j + sides], 1),
            np.stack([i, j + sides, i + sides], 1),
            np.stack([low, j, i], 1),
            np.stack([high, i + sides, j + sides], 1),
        ]
    ).astype(np.uint32)
    faces.setflags(write=False)  # all tubes of as many sides have them
    return np.cos(angle), np.sin(angle), faces


def ellipsoid(
    radii: Vector,
    centre: Vector,
    material: int,
    label: int,
    tint: Vector = WHITE,
    segments: int = 10,
) -> Mesh:
    """An ellipsoid with the half axes `radii`, in `segments` x `segments`/2 facets."""
    rows = segments // 2
    polar = np.linspace(0.0, np.pi, rows + 1)[:, None]
    azimuth = np.arange(segments)[None] * 2 * np.pi / segments
    unit = np.stack(
        np.broadcast_arrays(
            np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)
        ),
        axis=-1,
    ).reshape(-1, 3)
    row, column = np.divmod(np.arange(rows * segments), segments)
    right = row * segments + (column + 1) % segments
    here = row * segments + column
    faces = np.concatenate(
        [
            np.stack([here, here + segments, right + segments], 1),
            np.stack([here, right + segments, right], 1),
        ]
    )
    return from_arrays(unit * radii + np.asarray(centre, float), faces, material, label, tint)


def leaves(
    rng: np.random.Generator,
    radii: Vector,
    centre: Vector,
    count: int,
    size: float,
    material: int,
    label: int,
    tint: Vector,
) -> Mesh:
    """`count` randomly turned triangles of about `size` m, scattered through an ellipsoid.

    Rays get through the gaps, as through a real crown; outer leaves are lighter than inner ones.
    """
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    depth = rng.uniform(0.25, 1.0, (count, 1)) ** (1 / 3)
    # Lobes make the outline irregular.
    lobes = 1.0 + 0.22 * np.sin(direction @ rng.normal(0.0, 3.0, (3, 1)) + rng.uniform(0, 6))
    middle = direction * depth * lobes * radii + np.asarray(centre, float)
    vertices = middle[:, None] + rng.normal(0.0, size / 1.6, (count, 3, 3))
    brightness = (0.55 + 0.45 * depth) * rng.uniform(0.8, 1.15, (count, 1))
    faces = np.arange(3 * count).reshape(-1, 3)
    return from_arrays(
        vertices.reshape(-1, 3), faces, material, label, brightness * np.asarray(tint, float)
    )
