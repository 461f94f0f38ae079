"""Tables and desks. All stand on the floor about their own origin, x along their longer side."""

from __future__ import annotations

import numpy as np

from haskd_training.simulation.indoor.kinds import DESK, TABLE
from haskd_training.simulation.indoor.surfaces import ENAMEL, METAL, PAINT, WOOD, shade, wood_shade
from haskd_training.simulation.mesh import Mesh, Vector, box, merge, tube


def _top(rng: np.random.Generator) -> tuple[int, Vector]:
    if rng.random() < 0.7:
        return WOOD, wood_shade(rng)
    return (ENAMEL, shade(rng, (1, 1, 1), (0.2, 0.2, 0.22), (0.75, 0.85, 0.86)))


def _four_legs(
    rng: np.random.Generator, width: float, depth: float, height: float, label: int
) -> list[Mesh]:
    thick = rng.uniform(0.035, 0.08)
    material, tint = (WOOD, wood_shade(rng)) if rng.random() < 0.6 else (METAL, (0.35, 0.35, 0.36))
    x, y = width / 2 - thick, depth / 2 - thick
    return [
        box((thick, thick, height), (a * x, b * y, height / 2), material, label, tint)
        for a in (-1, 1) for b in (-1, 1)
    ]  # fmt: skip


def dining_table(rng: np.random.Generator) -> Mesh:
    """A rectangular one on four legs, or a round one on a foot."""
    material, tint = _top(rng)
    height = rng.uniform(0.71, 0.77)
    if rng.random() < 0.35:
        radius = rng.uniform(0.45, 0.6)
        return merge(
            [
                tube(
                    (0, 0, height - 0.03), (0, 0, height), radius, material, TABLE, tint, sides=28
                ),
                tube((0, 0, 0.03), (0, 0, height), 0.05, METAL, TABLE, (0.5, 0.5, 0.5), sides=10),
                tube((0, 0, 0), (0, 0, 0.03), 0.28, METAL, TABLE, (0.5, 0.5, 0.5), sides=20),
            ]
        )
    width, depth = rng.uniform(1.1, 1.7), rng.uniform(0.75, 0.95)
    top = box((width, depth, 0.035), (0, 0, height - 0.0175), material, TABLE, tint)
    return merge([top, *_four_legs(rng, width, depth, height - 0.035, TABLE)])


def coffee_table(rng: np.random.Generator) -> Mesh:
    """A low table, with a shelf below or without."""
    material, tint = _top(rng)
    width, depth, height = rng.uniform(0.7, 1.2), rng.uniform(0.45, 0.65), rng.uniform(0.35, 0.48)
    parts = [box((width, depth, 0.04), (0, 0, height - 0.02), material, TABLE, tint)]
    parts += _four_legs(rng, width, depth, height - 0.04, TABLE)
    if rng.random() < 0.4:
        size = (width - 0.1, depth - 0.1, 0.02)
        parts.append(box(size, (0, 0, 0.4 * height), material, TABLE, tint))
    return merge(parts)


def desk(rng: np.random.Generator) -> tuple[Mesh, float, float]:
    """A desk whose back is at -y, with drawers on one side; and its depth and height."""
    material, tint = _top(rng)
    width, depth, height = rng.uniform(1.2, 1.7), rng.uniform(0.6, 0.8), rng.uniform(0.71, 0.76)
    parts = [box((width, depth, 0.03), (0, 0, height - 0.015), material, DESK, tint)]
    parts += _four_legs(rng, width, depth, height - 0.03, DESK)
    if rng.random() < 0.6:
        side, low = rng.choice([-1.0, 1.0]), 0.08
        x, tall = side * (width / 2 - 0.26), height - 0.05 - low
        body = (0.4, depth - 0.08, tall)
        front = wood_shade(rng) if rng.random() < 0.5 else np.array([1.0, 1.0, 1.0])
        parts.append(box(body, (x, 0, low + tall / 2), PAINT, DESK, front))
        for number in range(3):
            z = low + (number + 0.5) * tall / 3
            size = (0.37, 0.02, tall / 3 - 0.02)
            parts.append(box(size, (x, depth / 2 - 0.035, z), PAINT, DESK, front * 0.93))
            parts.append(box((0.12, 0.02, 0.015), (x, depth / 2 - 0.02, z), METAL, DESK))
    if rng.random() < 0.4:
        parts.append(
            box(
                (width - 0.1, 0.02, 0.35),
                (0, -depth / 2 + 0.06, height - 0.2),
                material,
                DESK,
                tint,
            )
        )
    return merge(parts), depth, height
