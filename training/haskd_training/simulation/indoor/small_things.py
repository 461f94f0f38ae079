"""Clutter: plants, lamps, boxes, bins, bags, screens, dishes, rugs. On the floor or a top, z up."""

from __future__ import annotations

import numpy as np

from haskd_training.simulation.indoor.kinds import (
    APPLIANCE,
    BAG,
    BOX,
    LAMP,
    RUG,
    SMALL_THING,
    TELEVISION,
)
from haskd_training.simulation.indoor.surfaces import (
    BULB,
    CLOTH,
    ENAMEL,
    LEAVES,
    METAL,
    PAINT,
    PAPER,
    PLASTIC,
    RUG_PILE,
    SCREEN,
    WOOD,
    bright_shade,
    cloth_shade,
    shade,
)
from haskd_training.simulation.mesh import Mesh, box, ellipsoid, leaves, merge, tube


def plant(rng: np.random.Generator) -> Mesh:
    """A plant in a pot on the floor."""
    height, pot = rng.uniform(0.6, 1.5), rng.uniform(0.13, 0.2)
    color = shade(rng, (0.8, 0.45, 0.3), (0.95, 0.95, 0.95), (0.3, 0.32, 0.35))
    green = np.array([rng.uniform(0.8, 1.3), rng.uniform(0.9, 1.2), rng.uniform(0.7, 1.2)])
    spread = rng.uniform(0.22, 0.38)
    return merge(
        [
            tube((0, 0, 0), (0, 0, 1.6 * pot), (0.75 * pot, pot), ENAMEL, SMALL_THING, color,
                 sides=14),
            tube((0, 0, 1.5 * pot), (0, 0, 0.7 * height), 0.015, WOOD, SMALL_THING, (0.5, 0.5, 0.4),
                 sides=5),
            leaves(rng, (spread, spread, 0.3 * height), (0, 0, 0.75 * height), 110, 0.13, LEAVES,
                   SMALL_THING, green),
        ]
    )  # fmt: skip


def floor_lamp(rng: np.random.Generator) -> Mesh:
    height = rng.uniform(1.4, 1.7)
    color = shade(rng, (0.95, 0.92, 0.85), (0.8, 0.5, 0.3), (0.3, 0.35, 0.4))
    return merge(
        [
            tube((0, 0, 0), (0, 0, 0.03), 0.14, METAL, LAMP, (0.4, 0.4, 0.4), sides=16),
            tube((0, 0, 0.03), (0, 0, height), 0.014, METAL, LAMP, (0.4, 0.4, 0.4), sides=8),
            tube((0, 0, height - 0.26), (0, 0, height), (0.2, 0.14), CLOTH, LAMP, color, sides=16),
        ]
    )


def ceiling_lamp(rng: np.random.Generator, height: float) -> Mesh:
    """A lamp below a ceiling at `height`: a flat disc, or a shade on a wire."""
    if rng.random() < 0.5:
        radius = rng.uniform(0.16, 0.25)
        return tube((0, 0, height - 0.07), (0, 0, height), (radius, radius + 0.02), BULB, LAMP,
                    (0.97, 0.97, 0.95), sides=20)  # fmt: skip
    drop = rng.uniform(0.25, 0.45)
    color = shade(rng, (0.95, 0.92, 0.85), (0.2, 0.2, 0.22), (0.85, 0.4, 0.2))
    low = height - drop
    return merge(
        [
            tube((0, 0, low), (0, 0, height), 0.006, PLASTIC, LAMP, (0.2, 0.2, 0.2), sides=5),
            tube((0, 0, low - 0.2), (0, 0, low), (0.2, 0.08), PAPER, LAMP, color, sides=18),
            ellipsoid((0.06, 0.06, 0.07), (0, 0, low - 0.2), BULB, LAMP),
        ]
    )


def floor_thing(rng: np.random.Generator) -> Mesh:
    """A box, a stack of them, a bin, a bag or a fan heater."""
    style = rng.integers(5)
    if style == 0:
        width, depth, height = rng.uniform(0.25, 0.5, 3)
        return box((width, depth, height), (0, 0, height / 2), PAPER, BOX, (0.72, 0.55, 0.38))
    if style == 1:
        low = rng.uniform(0.2, 0.35)
        return merge(
            [
                box((0.45, 0.35, low), (0, 0, low / 2), PAPER, BOX, (0.72, 0.55, 0.38)),
                box((0.36, 0.3, 0.22), (0.02, 0, low + 0.11), PAPER, BOX, bright_shade(rng)),
            ]
        )
    if style == 2:
        color = shade(rng, (0.2, 0.2, 0.22), (0.9, 0.9, 0.9), (0.4, 0.6, 0.8))
        return tube((0, 0, 0), (0, 0, 0.34), (0.11, 0.15), PLASTIC, SMALL_THING, color, sides=14)
    if style == 3:
        color = cloth_shade(rng)
        body = ellipsoid((0.2, 0.12, 0.22), (0, 0, 0.22), CLOTH, BAG, color, segments=14)
        return merge([body, box((0.24, 0.06, 0.2), (0, 0.1, 0.16), CLOTH, BAG, color * 0.8)])
    return merge(
        [
            box((0.3, 0.2, 0.42), (0, 0, 0.23), PLASTIC, APPLIANCE, (0.95, 0.95, 0.95)),
            box((0.24, 0.01, 0.3), (0, 0.103, 0.24), METAL, APPLIANCE, (0.4, 0.4, 0.4)),
        ]
    )


def screen(rng: np.random.Generator) -> Mesh:
    """A monitor with a keyboard, for a desk: it faces +y."""
    width = rng.uniform(0.5, 0.7)
    dark = (0.13, 0.13, 0.14)
    height = 0.56 * width
    return merge(
        [
            box((0.24, 0.18, 0.015), (0, -0.08, 0.0075), PLASTIC, TELEVISION, dark),
            box((0.05, 0.03, 0.2), (0, -0.1, 0.1), PLASTIC, TELEVISION, dark),
            box((width, 0.035, height), (0, -0.08, 0.12 + height / 2), PLASTIC, TELEVISION, dark),
            box((width - 0.02, 0.004, height - 0.02), (0, -0.06, 0.12 + height / 2), SCREEN,
                TELEVISION),
            box((0.44, 0.14, 0.02), (0, 0.17, 0.01), PLASTIC, SMALL_THING, (0.3, 0.3, 0.32)),
        ]
    )  # fmt: skip


def table_thing(rng: np.random.Generator) -> Mesh:
    """A vase, a bowl, a cup, a stack of paper or a table lamp."""
    style = rng.integers(5)
    color = bright_shade(rng)
    if style == 0:
        return tube((0, 0, 0), (0, 0, rng.uniform(0.18, 0.3)), (0.06, 0.04), ENAMEL, SMALL_THING,
                    color, sides=12)  # fmt: skip
    if style == 1:
        return tube((0, 0, 0), (0, 0, 0.09), (0.06, 0.14), ENAMEL, SMALL_THING, color, sides=16)
    if style == 2:
        return tube((0, 0, 0), (0, 0, 0.1), 0.04, ENAMEL, SMALL_THING, color, sides=12)
    if style == 3:
        height = rng.uniform(0.02, 0.1)
        return box((0.22, 0.3, height), (0, 0, height / 2), PAPER, SMALL_THING, color * 0.5 + 0.5)
    return merge(
        [
            tube((0, 0, 0), (0, 0, 0.3), (0.05, 0.015), METAL, LAMP, (0.5, 0.5, 0.5), sides=10),
            tube((0, 0, 0.24), (0, 0, 0.42), (0.13, 0.08), CLOTH, LAMP, color, sides=14),
        ]
    )


def rug(rng: np.random.Generator) -> Mesh:
    """A rug, 8 mm thick: what makes it one is its colour."""
    width, depth = rng.uniform(1.2, 2.2), rng.uniform(0.8, 1.5)
    color = cloth_shade(rng) * 1.1
    return merge(
        [
            box((width, depth, 0.007), (0, 0, 0.0035), RUG_PILE, RUG, color * 0.55),
            box((width - 0.14, depth - 0.14, 0.008), (0, 0, 0.004), RUG_PILE, RUG, color),
        ]
    )


def radiator(rng: np.random.Generator, width: float) -> Mesh:
    """A radiator below a window: back at y = 0."""
    parts = [box((width, 0.05, 0.5), (0, 0.065, 0.4), PAINT, APPLIANCE, (1, 1, 0.98))]
    for x in np.arange(-width / 2 + 0.03, width / 2, 0.06):
        parts.append(box((0.03, 0.02, 0.46), (x, 0.1, 0.4), PAINT, APPLIANCE, (1, 1, 0.98)))
    return merge(parts)
