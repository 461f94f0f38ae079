"""Chairs and sofas. All stand on the floor about their own origin and face +y; z is up, m."""

from __future__ import annotations

import numpy as np

from haskd_training.simulation.indoor.kinds import CHAIR, SOFA
from haskd_training.simulation.indoor.surfaces import (
    CLOTH,
    LEATHER,
    METAL,
    PLASTIC,
    WOOD,
    bright_shade,
    cloth_shade,
    shade,
    wood_shade,
)
from haskd_training.simulation.mesh import Mesh, Vector, box, merge, tube


def _legs(
    width: float, depth: float, height: float, material: int, label: int, tint: Vector
) -> list[Mesh]:
    x, y = width / 2 - 0.03, depth / 2 - 0.03
    return [
        tube((a * x * 1.05, b * y * 1.05, 0), (a * x, b * y, height), 0.018, material, label, tint,
             sides=6)
        for a in (-1, 1) for b in (-1, 1)
    ]  # fmt: skip


def dining_chair(rng: np.random.Generator) -> Mesh:
    """Four legs, a seat and a back of slats or of one board."""
    width, depth, seat = rng.uniform(0.4, 0.48), rng.uniform(0.4, 0.48), rng.uniform(0.43, 0.47)
    top = rng.uniform(0.78, 1.0)
    tint = wood_shade(rng)
    material, cover = (CLOTH, cloth_shade(rng)) if rng.random() < 0.5 else (WOOD, tint)
    parts = _legs(width, depth, seat, WOOD, CHAIR, tint)
    parts.append(box((width, depth, 0.045), (0, 0, seat), material, CHAIR, cover))
    back = -depth / 2 + 0.015
    for x in (-1, 1):
        foot, head = (
            (x * (width / 2 - 0.02), back, seat),
            (x * (width / 2 - 0.02), back - 0.06, top),
        )
        parts.append(tube(foot, head, 0.016, WOOD, CHAIR, tint, sides=6))
    if rng.random() < 0.5:
        heights = np.linspace(seat + 0.15, top - 0.04, int(rng.integers(2, 5)))
        for z in heights:
            y = back - 0.06 * (z - seat) / (top - seat)
            parts.append(box((width - 0.04, 0.02, 0.06), (0, y, z), WOOD, CHAIR, tint))
    else:
        size = (width - 0.02, 0.03, top - seat - 0.12)
        parts.append(box(size, (0, back - 0.035, (seat + top) / 2 + 0.05), material, CHAIR, cover))
    return merge(parts)


def shell_chair(rng: np.random.Generator) -> Mesh:
    """A plastic shell on thin legs."""
    color = shade(rng, (1, 1, 1), (0.15, 0.15, 0.16), (0.85, 0.3, 0.2), (0.2, 0.5, 0.5),
                  (0.9, 0.75, 0.2))  # fmt: skip
    legs = _legs(0.46, 0.44, 0.43, *((METAL, CHAIR, (0.9, 0.9, 0.9)) if rng.random() < 0.5 else
                                     (WOOD, CHAIR, (1.2, 1.2, 1.2))))  # fmt: skip
    seat = box((0.46, 0.42, 0.04), (0, 0, 0.45), PLASTIC, CHAIR, color)
    back = box((0.44, 0.03, 0.36), (0, -0.21, 0.64), PLASTIC, CHAIR, color, top=(0.8, 1.0, 0.0))
    sides = [
        box((0.03, 0.26, 0.12), (x, -0.07, 0.52), PLASTIC, CHAIR, color) for x in (-0.22, 0.22)
    ]
    return merge([*legs, seat, back, *sides])


def office_chair(rng: np.random.Generator) -> Mesh:
    """A swivel chair on five castors."""
    color = cloth_shade(rng) if rng.random() < 0.5 else np.array([0.16, 0.16, 0.17])
    dark = (0.14, 0.14, 0.15)
    parts = [tube((0, 0, 0.1), (0, 0, 0.45), 0.03, METAL, CHAIR, dark)]
    for angle in np.arange(5) * 2 * np.pi / 5:
        x, y = 0.28 * np.cos(angle), 0.28 * np.sin(angle)
        parts.append(tube((0, 0, 0.13), (x, y, 0.07), 0.02, PLASTIC, CHAIR, dark, sides=6))
        parts.append(box((0.05, 0.05, 0.06), (x, y, 0.03), PLASTIC, CHAIR, dark))
    height = rng.uniform(0.45, 0.6)
    parts += [
        box((0.48, 0.47, 0.08), (0, 0, 0.48), CLOTH, CHAIR, color),
        box((0.06, 0.03, 0.3), (0, -0.26, 0.55), PLASTIC, CHAIR, dark),
        box((0.45, 0.06, height), (0, -0.25, 0.6 + height / 2), CLOTH, CHAIR, color,
            top=(0.85, 1.0, 0.0)),
    ]  # fmt: skip
    if rng.random() < 0.7:
        for x in (-0.27, 0.27):
            parts.append(box((0.05, 0.25, 0.03), (x, 0, 0.7), PLASTIC, CHAIR, dark))
            parts.append(box((0.03, 0.03, 0.24), (x, 0, 0.58), PLASTIC, CHAIR, dark))
    return merge(parts)


def stool(rng: np.random.Generator) -> Mesh:
    """A round seat on legs, without a back."""
    height = rng.uniform(0.45, 0.65)
    tint, color = wood_shade(rng), bright_shade(rng) if rng.random() < 0.3 else wood_shade(rng)
    legs = _legs(0.32, 0.32, height, WOOD, CHAIR, tint)
    top = tube((0, 0, height - 0.02), (0, 0, height + 0.02), 0.17, WOOD, CHAIR, color, sides=16)
    return merge([*legs, top])


def armchair(rng: np.random.Generator) -> Mesh:
    """A sofa for one, which counts as a chair."""
    return _upholstered(rng, rng.uniform(0.75, 0.9), CHAIR)


def sofa(rng: np.random.Generator) -> Mesh:
    """A sofa for two or three, with cushions or without."""
    return _upholstered(rng, rng.uniform(1.5, 2.2), SOFA)


def _upholstered(rng: np.random.Generator, width: float, label: int) -> Mesh:
    depth, seat, top = rng.uniform(0.8, 0.95), rng.uniform(0.38, 0.45), rng.uniform(0.7, 0.9)
    arm, arm_top = rng.uniform(0.12, 0.22), rng.uniform(0.52, 0.64)
    if rng.random() < 0.3:
        material, color = (
            LEATHER,
            shade(rng, (0.28, 0.18, 0.12), (0.12, 0.12, 0.13), (0.8, 0.74, 0.64)),
        )
    else:
        material, color = CLOTH, cloth_shade(rng)
    low = 0.12 if rng.random() < 0.7 else 0.02
    inner = width - 2 * arm
    parts = [
        box((width, depth, seat - 0.12 - low), (0, 0, (seat - 0.12 + low) / 2), material, label,
            color * 0.92),
        box((width, 0.2, top - low), (0, -depth / 2 + 0.1, (top + low) / 2), material, label,
            color),
    ]  # fmt: skip
    for x in (-1, 1):
        centre = (x * (width - arm) / 2, 0, (arm_top + low) / 2)
        parts.append(box((arm, depth, arm_top - low), centre, material, label, color))
        if low > 0.1:
            for y in (-1, 1):
                at = (x * (width / 2 - 0.08), y * (depth / 2 - 0.08), low / 2)
                parts.append(box((0.05, 0.05, low), at, WOOD, label, (0.4, 0.35, 0.3)))
    seats = max(1, round(inner / 0.65))
    for number in range(seats):
        middle = (number + 0.5) * inner / seats - inner / 2
        size = (inner / seats - 0.012, depth - 0.22, 0.13)
        parts.append(box(size, (middle, 0.1, seat - 0.055), material, label, color * 1.04))
        size = (inner / seats - 0.03, 0.14, top - seat + 0.03)
        parts.append(
            box(
                size,
                (middle, -depth / 2 + 0.26, (top + seat) / 2 + 0.03),
                material,
                label,
                color * 1.04,
            )
        )
    if label == SOFA and rng.random() < 0.7:
        cushion = bright_shade(rng)
        for at in rng.uniform(-inner / 2 + 0.2, inner / 2 - 0.2, int(rng.integers(1, 4))):
            parts.append(
                box((0.4, 0.12, 0.38), (0, 0, 0), CLOTH, label, cushion).placed(
                    float(at), -depth / 2 + 0.4, seat + 0.2, rng.uniform(-0.3, 0.3)
                )
            )
    return merge(parts)
