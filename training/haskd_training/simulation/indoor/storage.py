"""Bookcases and cabinets: back at y = 0, front at +y, x along the wall, on the floor, m."""

from __future__ import annotations

import itertools

import numpy as np

from haskd_training.simulation.indoor.kinds import BOOKCASE, BOOKS, CABINET, SMALL_THING
from haskd_training.simulation.indoor.surfaces import (
    METAL,
    PAINT,
    PAPER,
    WOOD,
    bright_shade,
    shade,
    wood_shade,
)
from haskd_training.simulation.mesh import Mesh, box, merge


def _row_of_books(
    rng: np.random.Generator, left: float, right: float, z: float, room: float, depth: float
) -> list[Mesh]:
    """Books that stand on a shelf from `left` on, up to what the row leaves free."""
    parts, x = [], left + 0.01
    end = left + (right - left) * rng.uniform(0.35, 1.0)
    tall = min(room - 0.03, 0.32)
    while x < end - 0.06:
        thick, height = rng.uniform(0.02, 0.055), rng.uniform(0.62, 1.0) * tall
        deep = rng.uniform(0.6, 0.9) * depth
        size, centre = (
            (thick - 0.003, deep, height),
            (x + thick / 2, 0.02 + deep / 2, z + height / 2),
        )
        parts.append(box(size, centre, PAPER, BOOKS, bright_shade(rng)))
        x += thick
    return parts


def bookcase(rng: np.random.Generator) -> Mesh:
    """Shelves with or without a back, filled with books more or less."""
    width, depth = rng.uniform(0.6, 1.3), rng.uniform(0.24, 0.38)
    height = rng.uniform(1.0, 1.3) if rng.random() < 0.3 else rng.uniform(1.7, 2.15)
    tint, board = wood_shade(rng), 0.025
    middle = depth / 2
    parts = [
        box((board, depth, height), (x, middle, height / 2), WOOD, BOOKCASE, tint)
        for x in (-width / 2, width / 2)
    ]
    if rng.random() < 0.75:
        back = box((width, 0.012, height), (0, 0.006, height / 2), WOOD, BOOKCASE, tint * 0.85)
        parts.append(back)
    count = max(2, round(height / rng.uniform(0.33, 0.42)))
    levels = np.linspace(0.06, height - board / 2, count + 1)
    for z in levels:
        parts.append(box((width, depth, board), (0, middle, z), WOOD, BOOKCASE, tint))
    divided = rng.random() < 0.4
    for low, high in itertools.pairwise(levels):
        cells = [(-width / 2, 0.0), (0.0, width / 2)] if divided else [(-width / 2, width / 2)]
        if divided:
            size = (board, depth, high - low)
            parts.append(box(size, (0, middle, (low + high) / 2), WOOD, BOOKCASE, tint))
        for left, right in cells:
            filled = rng.random()
            if filled < 0.75:
                parts += _row_of_books(
                    rng, left + board, right - board, low + board / 2, high - low - board, depth
                )
            elif filled < 0.88:
                side = rng.uniform(0.12, min(0.22, high - low - 0.05))
                x = (left + right) / 2
                size, centre = (side, 0.6 * depth, side), (x, middle, low + side / 2 + 0.012)
                parts.append(box(size, centre, PAPER, SMALL_THING, bright_shade(rng)))
    return merge(parts)


def cabinet(rng: np.random.Generator, *, wardrobe: bool = False) -> Mesh:
    """A closed cupboard with doors or drawers: a sideboard, a chest of drawers, or a wardrobe."""
    if wardrobe:
        width, depth, height = rng.uniform(1.0, 1.8), 0.58, rng.uniform(1.9, 2.15)
    else:
        width, depth, height = rng.uniform(0.7, 1.6), rng.uniform(0.38, 0.5), rng.uniform(0.6, 1.1)
    material, tint = (WOOD, wood_shade(rng)) if rng.random() < 0.6 else (
        PAINT, shade(rng, (1, 1, 1), (0.5, 0.55, 0.6), (0.45, 0.55, 0.5)))  # fmt: skip
    feet = 0.0 if wardrobe else rng.choice([0.0, 0.12])
    tall = height - feet
    parts = [box((width, depth, tall), (0, depth / 2, feet + tall / 2), material, CABINET, tint)]
    if feet:
        parts += [
            box((0.05, 0.05, feet), (x, y, feet / 2), material, CABINET, tint)
            for x in (-width / 2 + 0.06, width / 2 - 0.06) for y in (0.06, depth - 0.06)
        ]  # fmt: skip
    columns = max(2, round(width / 0.5))
    rows = 1 if wardrobe or rng.random() < 0.4 else int(rng.integers(2, 4))
    cell = (width / columns, tall / rows)
    for column in range(columns):
        for row in range(rows):
            x = (column + 0.5) * cell[0] - width / 2
            z = feet + (row + 0.5) * cell[1]
            front = (cell[0] - 0.015, 0.02, cell[1] - 0.02)
            parts.append(box(front, (x, depth + 0.01, z), material, CABINET, tint * 0.95))
            grip = (0.015, 0.02, 0.14) if rows == 1 else (0.12, 0.02, 0.015)
            at = x + (0.35 * cell[0] * (-1) ** column if rows == 1 else 0.0)
            parts.append(box(grip, (at, depth + 0.03, z), METAL, CABINET))
    return merge(parts)
