"""Doors and windows, in the frame of their wall: x along it, y into the room, z up, m.

Each is built about x = 0 of a hole `width` wide; the wall reaches from y = 0 to y = -`depth`.
"""

from __future__ import annotations

import numpy as np

from haskd_training.simulation.indoor.kinds import CURTAIN, DOOR, WALL, WINDOW
from haskd_training.simulation.indoor.surfaces import (
    CLOTH,
    ENAMEL,
    METAL,
    PAINT,
    VIEW,
    WOOD,
    cloth_shade,
    wood_shade,
)
from haskd_training.simulation.mesh import Mesh, Vector, box, merge, quad, tube

_LEAF_M = 0.04


def lining(
    width: float, bottom: float, top: float, depth: float, material: int, label: int, tint: Vector
) -> Mesh:
    """The inner faces of a hole in a wall; of one that begins above the floor all four."""
    x, near, far = width / 2, 0.0, -depth
    faces = [
        [[-x, near, bottom], [-x, far, bottom], [-x, far, top], [-x, near, top]],
        [[x, near, bottom], [x, far, bottom], [x, far, top], [x, near, top]],
        [[-x, near, top], [x, near, top], [x, far, top], [-x, far, top]],
    ]
    if bottom > 0:
        faces.append([[-x, near, bottom], [x, near, bottom], [x, far, bottom], [-x, far, bottom]])
    return merge([quad(np.array(face), material, label, tint) for face in faces])


def _casing(width: float, top: float, y: float, material: int, tint: Vector) -> list[Mesh]:
    """The frame around a door on one face of the wall."""
    x = width / 2 + 0.02
    return [
        box((0.07, 0.02, top + 0.05), (side * x, y, (top + 0.05) / 2), material, DOOR, tint)
        for side in (-1, 1)
    ] + [box((width + 0.11, 0.02, 0.07), (0, y, top + 0.025), material, DOOR, tint)]


def door_leaf(rng: np.random.Generator, width: float, height: float) -> Mesh:
    """A leaf that hangs at x = 0 and reaches to x = `width`, its middle plane at y = 0."""
    material, tint = (WOOD, wood_shade(rng)) if rng.random() < 0.6 else (PAINT, (0.95, 0.95, 0.93))
    parts = [box((width, _LEAF_M, height), (width / 2, 0, height / 2), material, DOOR, tint)]
    style = rng.integers(3)
    dark = np.asarray(tint) * 0.8
    if style == 1:
        for low, high in ((0.12, 0.45), (0.52, 0.93)):
            size = (width - 0.26, _LEAF_M + 0.015, (high - low) * height)
            parts.append(box(size, (width / 2, 0, (low + high) / 2 * height), material, DOOR, dark))
    elif style == 2:
        size = (0.5 * width, _LEAF_M + 0.006, 0.55 * height)
        parts.append(box(size, (width / 2, 0, 0.6 * height), ENAMEL, DOOR, (0.72, 0.80, 0.82)))
    for side in (-1, 1):
        y = side * (_LEAF_M / 2 + 0.02)
        grip = tube((width - 0.07, side * 0.05, 1.03), (width - 0.19, side * 0.05, 1.03), 0.011,
                    METAL, DOOR, sides=6)  # fmt: skip
        parts += [box((0.04, 0.015, 0.16), (width - 0.07, y, 1.0), METAL, DOOR), grip]
    return merge(parts)


def door(
    rng: np.random.Generator, width: float, top: float, depth: float, turn: float
) -> tuple[Mesh, Mesh]:
    """A door's frame, and its leaf: opened by `turn` rad into the room, hinged at the hole's -x
    end."""
    material, tint = (WOOD, wood_shade(rng)) if rng.random() < 0.5 else (PAINT, (0.97, 0.97, 0.95))
    leaf = door_leaf(rng, width - 0.03, top - 0.02)
    frame = [
        lining(width, 0.0, top, depth, material, DOOR, tint),
        *_casing(width, top, 0.01, material, tint),
        *_casing(width, top, -depth - 0.01, material, tint),
    ]
    return merge(frame), leaf.placed(-width / 2 + 0.015, -_LEAF_M / 2, 0.01, turn)


def closed_door(rng: np.random.Generator, width: float, top: float) -> Mesh:
    """A closed door, its leaf nearly flush with the wall."""
    material, tint = (WOOD, wood_shade(rng)) if rng.random() < 0.5 else (PAINT, (0.97, 0.97, 0.95))
    leaf = door_leaf(rng, width, top - 0.01)
    back = np.array([[-width / 2, -0.03, 0], [width / 2, -0.03, 0],
                     [width / 2, -0.03, top], [-width / 2, -0.03, top]])  # fmt: skip
    return merge(
        [
            lining(width, 0.0, top, 0.03, material, DOOR, tint),
            *_casing(width, top, 0.01, material, tint),
            quad(back, material, DOOR, tint),
            leaf.placed(-width / 2, -0.015),
        ]
    )


def window(rng: np.random.Generator, width: float, bottom: float, top: float, depth: float) -> Mesh:
    """A window with its reveal, which is wall, a sill, and a pane that shows the outside."""
    x, y = width / 2, -depth + 0.03
    material, tint = (WOOD, wood_shade(rng)) if rng.random() < 0.35 else (PAINT, (1, 1, 1))
    middle = (bottom + top) / 2
    pane = np.array([[-x, y, bottom], [x, y, bottom], [x, y, top], [-x, y, top]])
    parts = [
        lining(width, bottom, top, depth, PAINT, WALL, (0.97, 0.97, 0.95)),
        quad(pane, VIEW, WINDOW),
        box((width + 0.1, depth + 0.06, 0.03), (0, -depth / 2 + 0.03, bottom), material, WINDOW,
            tint),
    ]  # fmt: skip
    bars = np.linspace(-x + 0.03, x - 0.03, 2 + int(width > 1.0) + int(width > 1.7))
    parts += [
        box((0.06, 0.05, top - bottom), (at, y + 0.02, middle), material, WINDOW, tint)
        for at in bars
    ]
    heights = [bottom + 0.03, top - 0.03, *([bottom + 0.7 * (top - bottom)] * (rng.random() < 0.3))]
    parts += [box((width, 0.05, 0.06), (0, y + 0.02, at), material, WINDOW, tint) for at in heights]
    grip = box((0.025, 0.03, 0.12), (bars[1], y + 0.06, middle), METAL, WINDOW)
    return merge([*parts, grip])


def curtains(rng: np.random.Generator, width: float, top: float, low: float) -> Mesh:
    """Two curtains that hang in folds beside a window, down to `low`, on a rod."""
    color = cloth_shade(rng)
    parts = [
        tube((-width / 2 - 0.3, 0.09, top + 0.1), (width / 2 + 0.3, 0.09, top + 0.1), 0.012, METAL,
             CURTAIN, sides=6)
    ]  # fmt: skip
    height = top + 0.09 - low
    for side in (-1, 1):
        for fold in range(5):
            x = side * (width / 2 + 0.22 - 0.075 * fold)
            size = (0.08, 0.05 if fold % 2 else 0.09, height)
            shade = color * (0.9 if fold % 2 else 1.0)
            parts.append(box(size, (x, 0.09, low + height / 2), CLOTH, CURTAIN, shade))
    return merge(parts)
