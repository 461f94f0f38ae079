"""Fittings of kitchen, bathroom and bedroom: back at y = 0, front at +y, on the floor, m."""

from __future__ import annotations

import numpy as np

from haskd_training.simulation.indoor.kinds import (
    APPLIANCE,
    BATHTUB,
    BED,
    CABINET,
    COUNTER,
    REFRIGERATOR,
    SINK,
    TOILET,
)
from haskd_training.simulation.indoor.surfaces import (
    CLOTH,
    ENAMEL,
    METAL,
    PAINT,
    SCREEN,
    WOOD,
    cloth_shade,
    shade,
    wood_shade,
)
from haskd_training.simulation.indoor.wall_things import wall_cabinets
from haskd_training.simulation.mesh import Mesh, box, ellipsoid, merge, tube


def kitchen_row(rng: np.random.Generator, width: float) -> Mesh:
    """Base cupboards under a counter with sink and hob, and mostly cupboards above."""
    tint = shade(rng, (1, 1, 1), (0.4, 0.5, 0.5), (0.75, 0.72, 0.66), (0.3, 0.33, 0.42))
    top = (WOOD, wood_shade(rng)) if rng.random() < 0.5 else (ENAMEL, shade(
        rng, (0.25, 0.25, 0.27), (0.8, 0.8, 0.78)))  # fmt: skip
    parts = [
        box((width, 0.55, 0.84), (0, 0.275, 0.46), PAINT, CABINET, tint),
        box((width, 0.62, 0.04), (0, 0.31, 0.9), top[0], COUNTER, top[1]),
    ]
    count = max(2, round(width / 0.6))
    cell = width / count
    oven = int(rng.integers(count))
    for number in range(count):
        x = (number + 0.5) * cell - width / 2
        if number == oven:
            parts.append(box((0.58, 0.02, 0.58), (x, 0.565, 0.48), SCREEN, APPLIANCE))
            parts.append(box((0.45, 0.03, 0.02), (x, 0.59, 0.7), METAL, APPLIANCE))
            parts.append(box((0.56, 0.5, 0.008), (x, 0.32, 0.924), SCREEN, APPLIANCE))
        else:
            front = (cell - 0.02, 0.02, 0.76)
            parts.append(box(front, (x, 0.56, 0.48), PAINT, CABINET, tint * 0.94))
            parts.append(box((0.12, 0.02, 0.012), (x, 0.58, 0.8), METAL, CABINET))
    x = ((oven + 1 + (count > 2)) % count + 0.5) * cell - width / 2
    parts.append(box((0.5, 0.4, 0.012), (x, 0.32, 0.922), METAL, SINK))
    parts.append(box((0.42, 0.32, 0.004), (x, 0.32, 0.93), METAL, SINK, (0.5, 0.5, 0.5)))
    parts.append(tube((x, 0.1, 0.92), (x, 0.1, 1.17), 0.015, METAL, SINK, sides=8))
    parts.append(tube((x, 0.1, 1.17), (x, 0.28, 1.15), 0.012, METAL, SINK, sides=8))
    if rng.random() < 0.75:
        parts.append(wall_cabinets(rng, width, tint).placed(z=1.42))
    return merge(parts)


def refrigerator(rng: np.random.Generator) -> Mesh:
    height, tint = (
        rng.uniform(1.5, 1.95),
        shade(rng, (1, 1, 1), (0.6, 0.62, 0.64), (0.7, 0.2, 0.18)),
    )
    split = rng.uniform(0.3, 0.7) * height
    parts = [box((0.6, 0.58, height), (0, 0.29, height / 2), ENAMEL, REFRIGERATOR, tint)]
    for low, high in ((0.06, split - 0.005), (split + 0.005, height)):
        size, z = (0.59, 0.05, high - low), (low + high) / 2
        parts.append(box(size, (0, 0.6, z), ENAMEL, REFRIGERATOR, tint))
        parts.append(box((0.025, 0.03, 0.3), (0.24, 0.64, z), METAL, REFRIGERATOR))
    return merge(parts)


def toilet(rng: np.random.Generator) -> Mesh:
    tint = shade(rng, (1.05, 1.05, 1.05), (1.0, 0.98, 0.92))
    return merge(
        [
            box((0.38, 0.17, 0.38), (0, 0.09, 0.6), ENAMEL, TOILET, tint),
            box((0.3, 0.3, 0.4), (0, 0.2, 0.2), ENAMEL, TOILET, tint),
            tube((0, 0.42, 0.0), (0, 0.42, 0.4), (0.12, 0.19), ENAMEL, TOILET, tint, sides=18),
            tube((0, 0.42, 0.4), (0, 0.42, 0.43), 0.2, ENAMEL, TOILET, tint * 0.95, sides=18),
            box((0.36, 0.3, 0.03), (0, 0.3, 0.415), ENAMEL, TOILET, tint * 0.95),
        ]
    )


def wash_basin(rng: np.random.Generator) -> Mesh:
    tint = (1.05, 1.05, 1.05)
    foot = (
        tube((0, 0.2, 0), (0, 0.2, 0.72), 0.09, ENAMEL, SINK, tint, sides=12)
        if rng.random() < 0.5
        else box((0.5, 0.4, 0.6), (0, 0.2, 0.42), WOOD, CABINET, wood_shade(rng))
    )
    return merge(
        [
            foot,
            box((0.58, 0.46, 0.16), (0, 0.23, 0.79), ENAMEL, SINK, tint),
            box((0.44, 0.3, 0.004), (0, 0.26, 0.873), ENAMEL, SINK, (0.8, 0.8, 0.82)),
            tube((0, 0.06, 0.87), (0, 0.06, 1.0), 0.015, METAL, SINK, sides=8),
            tube((0, 0.06, 1.0), (0, 0.19, 0.98), 0.012, METAL, SINK, sides=8),
        ]
    )


def bathtub(rng: np.random.Generator, length: float) -> Mesh:
    """A tub along the wall."""
    width, height, rim = 0.72, rng.uniform(0.52, 0.58), 0.07
    white, inner = (1.05, 1.05, 1.05), (0.96, 0.97, 0.99)
    parts = [
        box((length, rim, height), (0, y, height / 2), ENAMEL, BATHTUB, white)
        for y in (rim / 2, width - rim / 2)
    ]
    parts += [
        box((rim, width, height), (x, width / 2, height / 2), ENAMEL, BATHTUB, white)
        for x in (-(length - rim) / 2, (length - rim) / 2)
    ]
    parts.append(box((length, width, 0.12), (0, width / 2, 0.06), ENAMEL, BATHTUB, inner))
    x, y = -length / 2 + 0.1, width / 2
    tap = tube((x, y, height), (x, y, height + 0.12), 0.02, METAL, BATHTUB, sides=8)
    return merge([*parts, tap])


def bed(rng: np.random.Generator) -> Mesh:
    """A bed, its head at the wall: frame, mattress, blanket, pillows."""
    width, length = rng.choice([0.95, 1.4, 1.7]), 2.02
    head = rng.uniform(0.7, 1.0)
    tint, sheet, cover = wood_shade(rng), np.array([0.95, 0.95, 0.93]), cloth_shade(rng)
    parts = [
        box((width + 0.06, 0.05, head), (0, 0.03, head / 2), WOOD, BED, tint),
        box((width + 0.06, length, 0.22), (0, 0.05 + length / 2, 0.2), WOOD, BED, tint),
        box((width, length - 0.04, 0.2), (0, 0.05 + length / 2, 0.4), CLOTH, BED, sheet),
        box((width + 0.05, 0.68 * length, 0.1), (0, 0.05 + 0.65 * length, 0.49), CLOTH, BED, cover),
    ]
    count = 1 if width < 1.2 else 2
    for number in range(count):
        x = ((number + 0.5) / count - 0.5) * width
        parts.append(ellipsoid((0.32, 0.22, 0.08), (x, 0.32, 0.54), CLOTH, BED, sheet, segments=12))
    return merge(parts)
