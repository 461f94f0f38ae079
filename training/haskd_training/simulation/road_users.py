"""Meshes of cars, large vehicles, two-wheelers and people.

All stand on the ground at the origin of their own frame: x forward, y left, z up, m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from haskd_training.simulation.materials import (
    CAR,
    CLOTH,
    GLASS,
    LARGE_VEHICLE,
    METAL,
    PAINT,
    PERSON,
    PLASTIC,
    REFLECTOR,
    RUBBER,
    SKIN,
    TWO_WHEELER,
)
from haskd_training.simulation.mesh import Mesh, box, ellipsoid, merge, tube

_CAR_COLORS = (
    (0.95, 0.95, 0.95), (0.62, 0.64, 0.66), (0.32, 0.33, 0.35), (0.08, 0.08, 0.09),
    (0.62, 0.10, 0.09), (0.12, 0.22, 0.48), (0.13, 0.30, 0.22), (0.68, 0.60, 0.45),
)  # fmt: skip
_CLOTH_COLORS = (
    (0.15, 0.17, 0.28), (0.55, 0.16, 0.14), (0.25, 0.35, 0.25), (0.75, 0.70, 0.60),
    (0.20, 0.20, 0.20), (0.25, 0.42, 0.62), (0.85, 0.62, 0.20), (0.9, 0.9, 0.9),
)  # fmt: skip
_LIGHT, _TAIL = (1.0, 1.0, 0.92), (0.75, 0.07, 0.05)


def _pick(rng: np.random.Generator, colors: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(colors[int(rng.integers(len(colors)))]) * rng.uniform(0.9, 1.05)


def _wheels(hubs: list[tuple[float, float]], radius: float, width: float, label: int) -> Mesh:
    """Wheels with hubs at (x, y) of their outer faces."""
    parts = []
    for x, y in hubs:
        inner = y - np.sign(y) * width
        parts.append(tube((x, inner, radius), (x, y, radius), radius, RUBBER, label, sides=12))
        hub = y + np.sign(y) * 0.01
        parts.append(
            tube((x, inner, radius), (x, hub, radius), 0.58 * radius, METAL, label, sides=8)
        )
    return merge(parts)


def car(rng: np.random.Generator) -> Mesh:
    """A saloon, an estate or a van."""
    kind = rng.choice(["saloon", "estate", "van"], p=[0.45, 0.4, 0.15])
    color = _pick(rng, _CAR_COLORS)
    length = rng.uniform(4.1, 4.8) if kind != "van" else rng.uniform(4.8, 5.4)
    width = rng.uniform(1.75, 1.9)
    height = {"saloon": 1.45, "estate": 1.58, "van": 2.05}[kind] * rng.uniform(0.97, 1.06)
    belt = {"saloon": 0.92, "estate": 0.98, "van": 1.1}[kind]
    cabin_length = {"saloon": 0.56, "estate": 0.66, "van": 0.76}[kind] * length
    cabin_x = {"saloon": -0.05, "estate": -0.10, "van": -0.09}[kind] * length
    taper, rake = (0.74, -0.06) if kind == "saloon" else (0.84, -0.12)
    half = length / 2
    radius = 0.33
    glass_height = height - belt - 0.06
    cabin = (cabin_x, 0.0, belt + glass_height / 2)
    parts = [
        box((length, width, 0.36), (0, 0, 0.40), PAINT, CAR, color, top=(1.0, 1.0, 0.0)),
        box((length, width, belt - 0.57), (0, 0, (belt + 0.57) / 2), PAINT, CAR, color,
            top=(0.95, 0.93, 0.0)),
        box((cabin_length, 0.9 * width, glass_height), cabin, GLASS, CAR,
            top=(taper, 0.84, rake)),
        box((taper * cabin_length, 0.76 * width, 0.07), (cabin_x + rake, 0, height - 0.03), PAINT,
            CAR, color, top=(0.94, 0.94, 0.0)),
    ]  # fmt: skip
    for side in (-1, 1):
        # Pillars break the glass up, front, middle and rear.
        for at in (-0.47, 0.02, 0.47):
            base = (cabin_x + at * cabin_length, side * 0.45 * width, belt)
            head = (cabin_x + rake + at * taper * cabin_length, side * 0.38 * width, height - 0.05)
            parts.append(tube(base, head, 0.05, PAINT, CAR, color, sides=4))
        parts.append(
            box((0.12, 0.2, 0.14), (cabin_x + 0.42 * cabin_length, side * (width / 2 + 0.05),
                belt + 0.05), PAINT, CAR, color)
        )  # fmt: skip
        parts.append(
            box((0.06, 0.36, 0.16), (half - 0.04, side * (width / 2 - 0.26), 0.66), PLASTIC, CAR,
                _LIGHT)
        )  # fmt: skip
        parts.append(
            box((0.06, 0.32, 0.18), (-half + 0.04, side * (width / 2 - 0.22), 0.74), PLASTIC, CAR,
                _TAIL)
        )  # fmt: skip
    for end in (-1, 1):
        parts.append(box((0.03, 0.52, 0.11), (end * (half + 0.01), 0, 0.5), REFLECTOR, CAR))
    hubs = [(x, side * width / 2) for x in (0.30 * length, -0.30 * length) for side in (-1, 1)]
    parts.append(_wheels(hubs, radius, 0.22, CAR))
    return merge(parts)


def truck(rng: np.random.Generator) -> Mesh:
    """A lorry with a box body."""
    color, body_color = _pick(rng, _CAR_COLORS), rng.uniform(0.6, 1.0, 3)
    length, width, height = rng.uniform(6.8, 9.0), 2.45, rng.uniform(3.0, 3.6)
    half = length / 2
    body = length - 2.1
    parts = [
        box((length, 1.0, 0.3), (0, 0, 0.75), METAL, LARGE_VEHICLE, (0.4, 0.4, 0.4)),
        box((body, width, height - 1.0), (-half + body / 2, 0, (height + 1.0) / 2), PAINT,
            LARGE_VEHICLE, body_color),
        box((1.8, 2.3, 1.0), (half - 0.9, 0, 1.1), PAINT, LARGE_VEHICLE, color),
        box((1.8, 2.2, 0.8), (half - 0.9, 0, 2.0), GLASS, LARGE_VEHICLE, top=(0.85, 0.95, -0.12)),
        box((1.5, 2.1, 0.15), (half - 1.03, 0, 2.45), PAINT, LARGE_VEHICLE, color),
        box((0.9, 2.2, 0.8), (half - 1.4, 0, 2.0), PAINT, LARGE_VEHICLE, color),
        box((0.1, 2.2, 0.3), (half, 0, 0.65), PLASTIC, LARGE_VEHICLE, (0.2, 0.2, 0.2)),
        box((0.05, 0.55, 0.14), (-half, 0, 0.8), REFLECTOR, LARGE_VEHICLE),
    ]  # fmt: skip
    for side in (-1, 1):
        parts.append(box((0.06, 0.3, 0.2), (-half, side * 1.0, 0.8), PLASTIC, LARGE_VEHICLE, _TAIL))
        parts.append(
            box((0.06, 0.35, 0.2), (half + 0.03, side * 0.85, 0.9), PLASTIC, LARGE_VEHICLE, _LIGHT)
        )
    hubs = [
        (x, side * width / 2) for x in (half - 1.2, -half + 1.3, -half + 2.5) for side in (-1, 1)
    ]
    parts.append(_wheels(hubs, 0.48, 0.3, LARGE_VEHICLE))
    return merge(parts)


def bus(rng: np.random.Generator) -> Mesh:
    """A city bus."""
    color = _pick(rng, ((0.75, 0.15, 0.12), (0.85, 0.7, 0.15), (0.15, 0.35, 0.6), (0.9, 0.9, 0.9)))
    length, width, height = rng.uniform(10.5, 12.5), 2.5, 3.1
    half = length / 2
    parts = [
        box((length, width, 0.95), (0, 0, 0.82), PAINT, LARGE_VEHICLE, color),
        box((length - 0.08, width - 0.08, 1.25), (0, 0, 1.92), GLASS, LARGE_VEHICLE),
        box((length, width, 0.55), (0, 0, height - 0.28), PAINT, LARGE_VEHICLE, color,
            top=(0.98, 0.9, 0.0)),
        box((0.05, 1.6, 0.3), (half + 0.01, 0, height - 0.3), PLASTIC, LARGE_VEHICLE,
            (0.9, 0.6, 0.1)),
        box((2.4, 1.7, 0.3), (-1.0, 0, height + 0.1), METAL, LARGE_VEHICLE),
    ]  # fmt: skip
    for x in np.arange(-half + 0.05, half, 1.45):
        parts.append(box((0.14, width, 1.3), (x, 0, 1.92), PAINT, LARGE_VEHICLE, color))
    hubs = [(x, side * width / 2) for x in (half - 2.6, -half + 3.0) for side in (-1, 1)]
    parts.append(_wheels(hubs, 0.48, 0.3, LARGE_VEHICLE))
    return merge(parts)


def person(rng: np.random.Generator) -> Mesh:
    """A standing or walking person."""
    height = rng.uniform(1.55, 1.9)
    scale = height / 1.75
    coat, trousers = _pick(rng, _CLOTH_COLORS), _pick(rng, _CLOTH_COLORS) * 0.7
    stride = rng.uniform(0.05, 0.35)
    build = rng.uniform(0.9, 1.15)
    parts = []
    for side in (-1, 1):
        hip = (0, side * 0.09, 0.88)
        foot = (side * stride, side * 0.10, 0.06)
        parts.append(tube(foot, hip, (0.06, 0.09), CLOTH, PERSON, trousers, sides=6))
        toe_x = side * stride + 0.05
        parts.append(
            box(
                (0.26, 0.09, 0.09),
                (toe_x, side * 0.10, 0.05),
                RUBBER,
                PERSON,
                top=(0.7, 0.9, -0.03),
            )
        )
        shoulder, hand = (0, side * 0.21 * build, 1.40), (-side * stride * 0.8, side * 0.27, 0.85)
        parts.append(tube(shoulder, hand, (0.06, 0.045), CLOTH, PERSON, coat, sides=6))
        parts.append(ellipsoid((0.05, 0.04, 0.07), hand, SKIN, PERSON, segments=6))
    parts += [
        box((0.24 * build, 0.40 * build, 0.60), (0, 0, 1.16), CLOTH, PERSON, coat,
            top=(0.9, 1.08, 0.0)),
        tube((0, 0, 1.44), (0, 0, 1.56), 0.055, SKIN, PERSON, sides=6),
        ellipsoid((0.10, 0.085, 0.125), (0.01, 0, 1.63), SKIN, PERSON),
        ellipsoid((0.105, 0.09, 0.10), (-0.02, 0, 1.67), CLOTH, PERSON,
                  rng.uniform(0.1, 0.45) * np.array([1.0, 0.8, 0.6])),
    ]  # fmt: skip
    if rng.random() < 0.4:
        parts.append(
            box((0.16, 0.3, 0.42), (-0.19, 0, 1.22), CLOTH, PERSON, _pick(rng, _CLOTH_COLORS))
        )
    body = merge(parts)
    return replace(body, vertices=body.vertices * np.float32(scale))


def _rider(rng: np.random.Generator, seat: tuple[float, float], grip_x: float) -> list[Mesh]:
    """Someone who sits at (x, z) of `seat` and holds a handlebar at `grip_x`."""
    x, z = seat
    coat, trousers = _pick(rng, _CLOTH_COLORS), _pick(rng, _CLOTH_COLORS) * 0.7
    neck = (x + 0.28, 0.0, z + 0.55)
    parts = [
        tube((x, 0, z), neck, (0.15, 0.18), CLOTH, TWO_WHEELER, coat),
        ellipsoid((0.11, 0.09, 0.13), (x + 0.36, 0, z + 0.72), SKIN, TWO_WHEELER),
        ellipsoid((0.14, 0.11, 0.10), (x + 0.33, 0, z + 0.80), PLASTIC, TWO_WHEELER,
                  _pick(rng, _CAR_COLORS)),
    ]  # fmt: skip
    for side in (-1, 1):
        shoulder = (neck[0], side * 0.18, neck[2] - 0.05)
        parts.append(
            tube(shoulder, (grip_x, side * 0.24, z + 0.12), 0.05, CLOTH, TWO_WHEELER, coat, sides=6)
        )
        knee = (x + 0.38, side * 0.12, z - 0.12 + side * 0.08)
        foot = (x + 0.22, side * 0.12, knee[2] - 0.42)
        for start, end in (((x, side * 0.1, z), knee), (knee, foot)):
            parts.append(tube(start, end, 0.07, CLOTH, TWO_WHEELER, trousers, sides=6))
    return parts


def _ring(x: float, radius: float, thickness: float) -> list[Mesh]:
    """A spoked wheel's tyre, standing on the ground at x."""
    angle = np.linspace(0.0, 2 * np.pi, 13)
    rim = np.stack([x + radius * np.cos(angle), 0 * angle, radius * (1 + np.sin(angle))], 1)
    tyre = [tube(rim[i], rim[i + 1], thickness, RUBBER, TWO_WHEELER, sides=4) for i in range(12)]
    spokes = [tube(rim[i], rim[i + 6], 0.012, METAL, TWO_WHEELER, sides=3) for i in (0, 2, 4)]
    return tyre + spokes


def bicycle(rng: np.random.Generator, ridden: bool) -> Mesh:
    """A bicycle, with its rider or parked."""
    color = _pick(rng, _CAR_COLORS)
    frame = [
        ((-0.52, 0.34), (-0.15, 0.85)), ((-0.15, 0.85), (0.38, 0.88)),
        ((-0.05, 0.30), (0.42, 0.82)), ((-0.05, 0.30), (-0.15, 0.95)),
        ((-0.52, 0.34), (-0.05, 0.30)), ((0.52, 0.34), (0.36, 1.02)),
    ]  # fmt: skip
    parts = [
        tube((x0, 0, z0), (x1, 0, z1), 0.022, PAINT, TWO_WHEELER, color, sides=5)
        for (x0, z0), (x1, z1) in frame
    ]
    parts += _ring(-0.52, 0.34, 0.022) + _ring(0.52, 0.34, 0.022)
    parts.append(box((0.26, 0.15, 0.07), (-0.17, 0, 0.97), RUBBER, TWO_WHEELER))
    parts.append(tube((0.34, -0.28, 1.03), (0.34, 0.28, 1.03), 0.018, METAL, TWO_WHEELER, sides=5))
    if ridden:
        parts += _rider(rng, (-0.17, 1.02), 0.34)
    return merge(parts)


def motorcycle(rng: np.random.Generator, ridden: bool) -> Mesh:
    """A motorcycle, with its rider or parked."""
    color = _pick(rng, _CAR_COLORS)
    parts = [
        _wheels([(0.68, 0.08), (-0.68, 0.09)], 0.31, 0.17, TWO_WHEELER),
        box((0.75, 0.32, 0.42), (0.0, 0, 0.52), METAL, TWO_WHEELER, (0.4, 0.4, 0.4)),
        box((0.62, 0.30, 0.28), (0.18, 0, 0.86), PAINT, TWO_WHEELER, color, top=(0.7, 0.7, 0.0)),
        box((0.75, 0.26, 0.12), (-0.38, 0, 0.82), RUBBER, TWO_WHEELER),
        tube((0.68, 0, 0.31), (0.48, 0, 1.0), 0.05, METAL, TWO_WHEELER),
        tube((0.45, -0.36, 1.05), (0.45, 0.36, 1.05), 0.025, METAL, TWO_WHEELER, sides=5),
        ellipsoid((0.10, 0.10, 0.10), (0.62, 0, 0.88), PLASTIC, TWO_WHEELER, _LIGHT, segments=8),
        box((0.03, 0.2, 0.14), (-0.80, 0, 0.70), REFLECTOR, TWO_WHEELER),
    ]
    if ridden:
        parts += _rider(rng, (-0.32, 0.88), 0.42)
    return merge(parts)
