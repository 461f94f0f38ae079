"""Meshes of what stands along a street: trees, hedges, signs, lamps, benches, fences.

All stand on the ground at the origin of their own frame: x along the street, y left, z up, m.
"""

from __future__ import annotations

import numpy as np

from haskd_training.simulation.materials import (
    BARK,
    BRICK,
    BUILDING,
    CONCRETE,
    LEAVES,
    METAL,
    OTHER_STATIC,
    PLASTIC,
    REFLECTOR,
    RUBBER,
    TRAFFIC_OBJECT,
    VEGETATION,
    WOOD,
)
from haskd_training.simulation.mesh import Mesh, box, ellipsoid, from_arrays, leaves, merge, tube


def _foliage(rng: np.random.Generator) -> np.ndarray:
    return np.array([rng.uniform(0.85, 1.4), rng.uniform(0.95, 1.3), rng.uniform(0.7, 1.2)])


def tree(rng: np.random.Generator, size: float = 1.0) -> Mesh:
    """A broad-leaved tree or a conifer, 5 to 11 m high times `size`."""
    height = rng.uniform(5.0, 11.0) * size
    color = _foliage(rng)
    lean = rng.uniform(-0.15, 0.15, 2)
    if rng.random() < 0.2:
        crown = [
            leaves(rng, (1.5 * size * (1 - k / 5), 1.5 * size * (1 - k / 5), 0.13 * height),
                   (0, 0, height * (0.2 + 0.17 * k)), 70 - 12 * k, 0.34, LEAVES, VEGETATION,
                   color * 0.75)
            for k in range(5)
        ]  # fmt: skip
        return merge(
            [tube((0, 0, 0), (0, 0, 0.9 * height), (0.15, 0.03), BARK, VEGETATION), *crown]
        )
    fork = rng.uniform(0.32, 0.42) * height
    thickness = 0.022 * height
    parts = [
        tube((0, 0, 0), (*lean, fork), (thickness, 0.75 * thickness), BARK, VEGETATION),
    ]
    for _ in range(rng.integers(3, 6)):
        spread = rng.normal(0.0, 0.13 * height, 2)
        middle = (*(lean + spread), rng.uniform(0.55, 0.78) * height)
        radii = rng.uniform(0.15, 0.24, 3) * height
        parts.append(
            tube((*lean, fork - 0.1), middle, (0.5 * thickness, 0.02), BARK, VEGETATION, sides=5)
        )
        parts.append(leaves(rng, radii, middle, 150, 0.36, LEAVES, VEGETATION, color))
    return merge(parts)


def bush(rng: np.random.Generator) -> Mesh:
    radii = rng.uniform(0.45, 0.9, 3)
    return leaves(rng, radii, (0, 0, 0.8 * radii[2]), 130, 0.22, LEAVES, VEGETATION, _foliage(rng))


def hedge(rng: np.random.Generator, length: float, height: float, depth: float) -> Mesh:
    """A clipped hedge: from a LiDAR's view the very shape of `wall`."""
    color = _foliage(rng)
    return box((length, depth, height), (0, 0, height / 2), LEAVES, VEGETATION, color)


def wall(rng: np.random.Generator, length: float, height: float, depth: float) -> Mesh:
    """A garden wall of brick or concrete."""
    material = BRICK if rng.random() < 0.65 else CONCRETE
    return box(
        (length, depth, height),
        (0, 0, height / 2),
        material,
        BUILDING,
        [rng.uniform(0.8, 1.15)] * 3,
    )


def fence(rng: np.random.Generator, length: float) -> Mesh:
    """A fence of pickets or of horizontal rails."""
    posts = np.arange(-length / 2, length / 2 + 0.01, 2.0)
    material, tint = (WOOD, (1, 1, 1)) if rng.random() < 0.6 else (METAL, (0.35, 0.4, 0.38))
    parts = [box((0.09, 0.09, 1.15), (x, 0, 0.57), material, OTHER_STATIC, tint) for x in posts]
    if material == WOOD:
        parts += [
            box((0.10, 0.03, 0.95), (x, 0.04, 0.55), WOOD, OTHER_STATIC)
            for x in np.arange(-length / 2, length / 2, 0.2)
        ]
    heights = (0.3, 0.9) if material == WOOD else (0.25, 0.55, 0.85, 1.1)
    parts += [box((length, 0.04, 0.07), (0, 0, z), material, OTHER_STATIC, tint) for z in heights]
    return merge(parts)


def lamp_post(rng: np.random.Generator) -> Mesh:
    """A lamp whose arm reaches 1.8 m to the right (-y)."""
    height = rng.uniform(5.5, 7.5)
    return merge(
        [
            tube((0, 0, 0), (0, 0, height), (0.10, 0.06), METAL, TRAFFIC_OBJECT),
            tube((0, 0, 0), (0, 0, 0.5), 0.14, METAL, TRAFFIC_OBJECT),
            tube((0, 0, height), (0, -1.8, height + 0.25), 0.05, METAL, TRAFFIC_OBJECT, sides=6),
            box((0.28, 0.65, 0.12), (0, -1.9, height + 0.25), PLASTIC, TRAFFIC_OBJECT),
        ]
    )


def sign(rng: np.random.Generator) -> Mesh:
    """A traffic sign that faces traffic coming along +x."""
    height = rng.uniform(2.0, 2.6)
    face = rng.integers(3)
    color = ((0.85, 0.12, 0.10), (0.12, 0.28, 0.70), (0.95, 0.80, 0.15))[face]
    parts = [tube((0, 0, 0), (0, 0, height + 0.3), 0.035, METAL, TRAFFIC_OBJECT, sides=6)]
    if face == 0:
        plate = tube((-0.06, 0, height), (-0.04, 0, height), 0.33, REFLECTOR, TRAFFIC_OBJECT, color,
                     sides=16)  # fmt: skip
        inner = tube((-0.07, 0, height), (-0.06, 0, height), 0.23, REFLECTOR, TRAFFIC_OBJECT,
                     sides=16)  # fmt: skip
        parts += [plate, inner]
    elif face == 1:
        parts.append(box((0.03, 0.6, 0.6), (-0.05, 0, height), REFLECTOR, TRAFFIC_OBJECT, color))
    else:
        corners = np.array([[-0.06, -0.4, height - 0.3], [-0.06, 0.4, height - 0.3],
                            [-0.06, 0.0, height + 0.4]])  # fmt: skip
        parts.append(from_arrays(corners, np.array([[0, 1, 2]]), REFLECTOR, TRAFFIC_OBJECT, color))
    return merge(parts)


def traffic_light() -> Mesh:
    """A signal that faces traffic coming along +x."""
    parts = [
        tube((0, 0, 0), (0, 0, 3.6), 0.07, METAL, TRAFFIC_OBJECT, (0.5, 0.5, 0.5)),
        box((0.25, 0.36, 1.0), (0, 0, 3.1), PLASTIC, TRAFFIC_OBJECT, (0.12, 0.12, 0.12)),
    ]
    for row, color in enumerate(((0.15, 0.5, 0.25), (0.5, 0.4, 0.1), (0.9, 0.12, 0.1))):
        z = 2.8 + 0.3 * row
        parts.append(
            tube((-0.15, 0, z), (-0.12, 0, z), 0.10, PLASTIC, TRAFFIC_OBJECT, color, sides=10)
        )
    return merge(parts)


def cone() -> Mesh:
    orange = (1.0, 0.38, 0.10)
    return merge(
        [
            box((0.38, 0.38, 0.04), (0, 0, 0.02), RUBBER, TRAFFIC_OBJECT),
            tube((0, 0, 0.04), (0, 0, 0.35), (0.15, 0.095), PLASTIC, TRAFFIC_OBJECT, orange),
            tube((0, 0, 0.35), (0, 0, 0.50), (0.097, 0.068), REFLECTOR, TRAFFIC_OBJECT),
            tube((0, 0, 0.50), (0, 0, 0.72), (0.068, 0.025), PLASTIC, TRAFFIC_OBJECT, orange),
        ]
    )


def bollard() -> Mesh:
    return merge(
        [
            tube((0, 0, 0), (0, 0, 0.95), 0.075, METAL, TRAFFIC_OBJECT, (0.45, 0.45, 0.45)),
            tube((0, 0, 0.78), (0, 0, 0.88), 0.08, REFLECTOR, TRAFFIC_OBJECT),
        ]
    )


def bench() -> Mesh:
    parts = []
    for x in (-0.75, 0.75):
        parts.append(box((0.06, 0.45, 0.42), (x, 0, 0.21), METAL, OTHER_STATIC, (0.3, 0.3, 0.3)))
        parts.append(box((0.06, 0.06, 0.5), (x, 0.22, 0.65), METAL, OTHER_STATIC, (0.3, 0.3, 0.3)))
    for y in (-0.15, 0.0, 0.15):
        parts.append(box((1.8, 0.12, 0.04), (0, y, 0.44), WOOD, OTHER_STATIC))
    for z in (0.62, 0.8):
        parts.append(box((1.8, 0.04, 0.12), (0, 0.22, z), WOOD, OTHER_STATIC))
    return merge(parts)


def bin_(rng: np.random.Generator) -> Mesh:
    """A litter bin or a wheeled refuse bin."""
    if rng.random() < 0.5:
        body = tube((0, 0, 0.12), (0, 0, 0.9), (0.2, 0.24), METAL, OTHER_STATIC, (0.35, 0.5, 0.4))
        return merge([body, tube((0, 0, 0), (0, 0, 0.95), 0.05, METAL, OTHER_STATIC)])
    color = ((0.2, 0.3, 0.2), (0.2, 0.25, 0.4), (0.6, 0.5, 0.15), (0.2, 0.2, 0.2))[rng.integers(4)]
    return merge(
        [
            box(
                (0.56, 0.62, 0.9), (0, 0, 0.55), PLASTIC, OTHER_STATIC, color, top=(1.2, 1.15, 0.0)
            ),
            box((0.72, 0.78, 0.08), (0, 0, 1.04), PLASTIC, OTHER_STATIC, color),
        ]
    )


def cabinet(rng: np.random.Generator) -> Mesh:
    """A switch cabinet, a letter box or a planter."""
    kind = rng.integers(3)
    if kind == 0:
        size = (rng.uniform(0.7, 1.6), 0.4, rng.uniform(1.0, 1.5))
        return box(size, (0, 0, size[2] / 2), METAL, OTHER_STATIC, (0.75, 0.78, 0.72))
    if kind == 1:
        yellow = (0.95, 0.75, 0.12)
        body = box((0.5, 0.4, 0.7), (0, 0, 1.0), METAL, OTHER_STATIC, yellow)
        return merge([body, box((0.12, 0.12, 0.65), (0, 0, 0.32), METAL, OTHER_STATIC)])
    planter = box((1.1, 1.1, 0.6), (0, 0, 0.3), CONCRETE, OTHER_STATIC, top=(1.1, 1.1, 0.0))
    shrub = leaves(rng, (0.5, 0.5, 0.35), (0, 0, 0.8), 70, 0.2, LEAVES, VEGETATION, _foliage(rng))
    return merge([planter, shrub])


def boulder(rng: np.random.Generator) -> Mesh:
    radii = rng.uniform(0.25, 0.5, 3)
    return ellipsoid(radii, (0, 0, 0.6 * radii[2]), CONCRETE, OTHER_STATIC, segments=8)


def bus_shelter() -> Mesh:
    """A roof on posts with a rear wall at +y."""
    posts = [
        tube((x, y, 0), (x, y, 2.4), 0.05, METAL, OTHER_STATIC, sides=6)
        for x in (-1.9, 1.9) for y in (-0.6, 0.6)
    ]  # fmt: skip
    return merge(
        [
            *posts,
            box((4.2, 1.6, 0.12), (0, 0, 2.45), METAL, OTHER_STATIC, (0.5, 0.55, 0.6)),
            box((3.8, 0.05, 1.2), (0, 0.6, 1.5), PLASTIC, OTHER_STATIC, (0.45, 0.6, 0.7)),
            bench().placed(y=0.2),
        ]
    )
