"""What hangs on walls, flat against them: x along the wall, y into the room, z about 0, m."""

from __future__ import annotations

import numpy as np

from haskd_training.simulation.indoor.kinds import BOARD, CABINET, PICTURE, TELEVISION
from haskd_training.simulation.indoor.surfaces import (
    ENAMEL,
    METAL,
    PAINT,
    PAPER,
    PLASTIC,
    SCREEN,
    WOOD,
    bright_shade,
    wood_shade,
)
from haskd_training.simulation.mesh import Mesh, Vector, box, merge


def _frame(
    width: float, height: float, bar: float, deep: float, material: int, label: int, tint: Vector
) -> list[Mesh]:
    x, z = (width - bar) / 2, (height - bar) / 2
    return [
        box((bar, deep, height), (side * x, deep / 2, 0), material, label, tint) for side in (-1, 1)
    ] + [
        box((width, deep, bar), (0, deep / 2, side * z), material, label, tint) for side in (-1, 1)
    ]


def board(rng: np.random.Generator) -> Mesh:
    """A whiteboard, a chalkboard or a pin board, thin on the wall, with something on it."""
    width, height = rng.uniform(1.1, 2.2), rng.uniform(0.85, 1.2)
    style = rng.choice(3, p=[0.6, 0.2, 0.2])
    face = ((1.03, 1.03, 1.03), (0.10, 0.24, 0.18), (0.72, 0.52, 0.33))[style]
    material = (ENAMEL, PAINT, PAPER)[style]
    parts = [box((width, 0.012, height), (0, 0.006, 0), material, BOARD, face)]
    frame = (METAL, (1.1, 1.1, 1.1)) if style == 0 else (WOOD, (0.9, 0.85, 0.8))
    parts += _frame(width, height, 0.025, 0.02, frame[0], BOARD, frame[1])
    for _ in range(rng.integers(3, 9)):
        x = rng.uniform(-0.42, 0.30) * width
        z = rng.uniform(-0.38, 0.40) * height
        if style == 2:
            size = (rng.uniform(0.1, 0.21), 0.004, rng.uniform(0.1, 0.297))
            x, z = x * 0.9, z * 0.8
            parts.append(box(size, (x, 0.014, z), PAPER, BOARD, bright_shade(rng) * 0.4 + 0.6))
            continue
        ink = (0.9, 0.9, 0.88) if style == 1 else bright_shade(rng) * 0.6
        size = (rng.uniform(0.1, 0.5), 0.002, rng.uniform(0.008, 0.02))
        parts.append(box(size, (x, 0.013, z), PAPER, BOARD, ink))
    if style == 0:
        parts.append(box((0.5 * width, 0.06, 0.015), (0, 0.03, -height / 2), METAL, BOARD))
    return merge(parts)


def picture(rng: np.random.Generator) -> Mesh:
    """A poster or a framed picture: coloured fields, nearly flush with the wall."""
    width, height = rng.uniform(0.4, 0.9), rng.uniform(0.4, 1.0)
    poster = rng.random() < 0.5
    ground = bright_shade(rng)
    parts = [box((width, 0.008, height), (0, 0.004, 0), PAPER, PICTURE, ground)]
    for _ in range(rng.integers(2, 6)):
        size = np.array([rng.uniform(0.15, 0.6) * width, 0.003, rng.uniform(0.1, 0.5) * height])
        x = rng.uniform(-0.5, 0.5) * (width - size[0] - 0.06)
        z = rng.uniform(-0.5, 0.5) * (height - size[2] - 0.06)
        parts.append(box(size, (x, 0.009, z), PAPER, PICTURE, bright_shade(rng)))
    if not poster:
        parts += _frame(width, height, 0.03, 0.022, WOOD, PICTURE, wood_shade(rng))
    return merge(parts)


def television(rng: np.random.Generator) -> Mesh:
    """A flat screen on the wall."""
    width = rng.uniform(0.8, 1.35)
    height = width * 0.58
    return merge(
        [
            box((width, 0.04, height), (0, 0.04, 0), PLASTIC, TELEVISION, (0.10, 0.10, 0.11)),
            box((width - 0.03, 0.004, height - 0.03), (0, 0.062, 0), SCREEN, TELEVISION),
            box((0.3, 0.03, 0.2), (0, 0.01, 0), PLASTIC, TELEVISION, (0.10, 0.10, 0.11)),
        ]
    )


def wall_cabinets(rng: np.random.Generator, width: float, tint: Vector) -> Mesh:
    """A row of cupboards above a counter; z is their lower edge."""
    count = max(1, round(width / 0.55))
    cell, height, depth = width / count, rng.uniform(0.55, 0.7), 0.33
    parts = [box((width, depth, height), (0, depth / 2, height / 2), PAINT, CABINET, tint)]
    for number in range(count):
        x = (number + 0.5) * cell - width / 2
        front = np.asarray(tint) * 0.95
        size = (cell - 0.015, 0.02, height - 0.015)
        parts.append(box(size, (x, depth + 0.01, height / 2), PAINT, CABINET, front))
        parts.append(box((0.1, 0.02, 0.012), (x, depth + 0.03, 0.06), METAL, CABINET))
    return merge(parts)
