"""The flat without furniture: floors, ceilings, walls with their holes, columns and beams."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from haskd_training.simulation.indoor.floor_grid import FloorGrid
from haskd_training.simulation.indoor.kinds import BEAM, CEILING, COLUMN, FLOOR, WALL
from haskd_training.simulation.indoor.openings import (
    closed_door,
    curtains,
    door,
    lining,
    window,
)
from haskd_training.simulation.indoor.plan import WALL_M, Opening, Plan, Room
from haskd_training.simulation.indoor.surfaces import (
    CARPET,
    PAINT,
    PLANKS,
    TILES,
    WALLPAPER,
    shade,
    wood_shade,
)
from haskd_training.simulation.mesh import Mesh, Vector, box, merge, quad, tube


class Item(NamedTuple):
    """A thing in the map frame, and the number of the room that it belongs to."""

    mesh: Mesh
    room: int


def in_wall(mesh: Mesh, room: Room, side: int, x: float, z: float = 0.0) -> Mesh:
    """A mesh in the frame of a wall, at `x` along it, in the map frame."""
    x0, y0, yaw, _ = room.side(side)
    return mesh.placed(x0 + x * np.cos(yaw), y0 + x * np.sin(yaw), z, yaw)


def _rectangle(x0: float, x1: float, z0: float, z1: float, material: int, tint: Vector) -> Mesh:
    corners = np.array([[x0, 0, z0], [x1, 0, z0], [x1, 0, z1], [x0, 0, z1]])
    return quad(corners, material, WALL, tint)


def _wall(
    room: Room, side: int, holes: list[Opening], material: int, tint: Vector, skirting: Vector
) -> Mesh:
    """One wall with its holes and a skirting board."""
    length, height = room.side(side)[3], room.height
    parts, x, low = [], 0.0, 0.0
    for hole in holes:
        parts.append(_rectangle(x, hole.start, 0, height, material, tint))
        parts.append(_rectangle(hole.start, hole.end, hole.top, height, material, tint))
        if hole.bottom > 0:
            parts.append(_rectangle(hole.start, hole.end, 0, hole.bottom, material, tint))
        else:
            parts.append(_skirting(low, hole.start - 0.07, skirting))
            low = hole.end + 0.07
        x = hole.end
    parts += [_rectangle(x, length, 0, height, material, tint), _skirting(low, length, skirting)]
    return in_wall(merge(parts), room, side, 0.0)


def _skirting(start: float, end: float, tint: Vector) -> Mesh:
    length = max(end - start, 0.01)
    return box((length, 0.015, 0.07), (start + length / 2, 0.0075, 0.035), PAINT, WALL, tint)


def _level(room: Room, z: float, material: int, label: int, tint: Vector) -> Mesh:
    corners = [[room.x0, room.y0, z], [room.x1, room.y0, z], [room.x1, room.y1, z],
               [room.x0, room.y1, z]]  # fmt: skip
    return quad(np.array(corners), material, label, tint)


def _floor(rng: np.random.Generator, room: Room) -> Mesh:
    if room.kind in ("bathroom", "kitchen"):
        tint = shade(rng, (1.0, 1.0, 1.0), (0.55, 0.56, 0.58), (0.9, 0.75, 0.6), (0.7, 0.78, 0.8))
        return _level(room, 0.0, TILES, FLOOR, tint)
    if rng.random() < 0.25:
        tint = shade(rng, (0.55, 0.57, 0.6), (0.75, 0.66, 0.52), (0.4, 0.46, 0.55))
        return _level(room, 0.0, CARPET, FLOOR, tint)
    return _level(room, 0.0, PLANKS, FLOOR, wood_shade(rng).clip(0.4, 1.6))


def _beams(rng: np.random.Generator, room: Room) -> Mesh:
    """One beam or several below the ceiling, across the room's shorter side."""
    across = room.x1 - room.x0 >= room.y1 - room.y0
    low, high = (room.x0, room.x1) if across else (room.y0, room.y1)
    wood = rng.random() < 0.5
    count = int(rng.integers(2, 5)) if wood else int(rng.integers(1, 3))
    width, depth = (0.14, 0.16) if wood else (rng.uniform(0.25, 0.35), rng.uniform(0.2, 0.3))
    material, tint = (PLANKS, wood_shade(rng)) if wood else (PAINT, (0.97, 0.97, 0.95))
    parts = []
    for at in low + (high - low) * (np.arange(count) + rng.uniform(0.35, 0.65)) / count:
        x, y = (at, (room.y0 + room.y1) / 2) if across else ((room.x0 + room.x1) / 2, at)
        size = (width, room.y1 - room.y0) if across else (room.x1 - room.x0, width)
        parts.append(box((*size, depth), (x, y, room.height - depth / 2), material, BEAM, tint))
    return merge(parts)


def _hung(rng: np.random.Generator, plan: Plan, opening: Opening, grid: FloorGrid) -> list[Item]:
    """What is in a hole in the wall, and the curtains before it."""
    room, x = plan.rooms[opening.room], (opening.start + opening.end) / 2
    width, top = opening.end - opening.start, opening.top
    if opening.kind == "window":
        parts = [window(rng, width, opening.bottom, top, WALL_M)]
        if room.kind != "bathroom" and rng.random() < 0.45:
            low = 0.03 if rng.random() < 0.6 else max(opening.bottom - 0.15, 0.03)
            parts.append(curtains(rng, width, top, low))
    elif opening.kind == "passage":
        parts = [lining(width, 0.0, top, WALL_M, PAINT, WALL, (0.96, 0.96, 0.94))]
    elif opening.kind == "closed door":
        parts = [closed_door(rng, width, top)]
    else:
        turn = np.deg2rad(rng.uniform(78, 100))
        frame, leaf = door(rng, width, top, WALL_M, turn)
        grid.take(in_wall(leaf, room, opening.side, x))
        parts = [merge([frame, leaf])]
    return [Item(in_wall(part, room, opening.side, x), opening.room) for part in parts]


def _threshold(plan: Plan, opening: Opening) -> Mesh:
    """The floor within a door."""
    x, y, yaw, _ = plan.rooms[opening.room].side(opening.side)
    a, b = opening.start, opening.end
    corners = np.array([[a, 0, 0], [b, 0, 0], [b, -WALL_M, 0], [a, -WALL_M, 0]], float)
    return quad(corners, PLANKS, FLOOR, (0.8, 0.75, 0.7)).placed(x, y, 0.0, yaw)


def _accent_shade(rng: np.random.Generator) -> np.ndarray:
    """[3] colour of the one wall of a room that differs."""
    return shade(rng, (0.45, 0.55, 0.62), (0.62, 0.70, 0.55), (0.80, 0.60, 0.45), (0.5, 0.5, 0.54))


def build_shell(rng: np.random.Generator, plan: Plan, grid: FloorGrid) -> list[Item]:
    """Floors, ceilings, walls, doors, windows and beams; every wall is a thing. The open leaves of
    doors stand in the grid then."""
    items = []
    for number, room in enumerate(plan.rooms):
        paper = room.kind not in ("bathroom", "kitchen") and rng.random() < 0.3
        material = WALLPAPER if paper else TILES if room.kind == "bathroom" else PAINT
        tint = shade(
            rng, (1.0, 1.0, 0.98), (1.0, 0.97, 0.88), (0.85, 0.92, 0.95), (0.88, 0.95, 0.86),
            (0.97, 0.86, 0.80), (0.86, 0.86, 0.90),
        )  # fmt: skip
        accent, accent_tint = int(rng.integers(8)), _accent_shade(rng)
        skirting = shade(rng, (1.05, 1.05, 1.05), (0.6, 0.47, 0.36))
        items.append(Item(_floor(rng, room), number))
        white = _level(room, room.height, PAINT, CEILING, (1.0, 1.0, 1.0))
        items.append(Item(white, number))
        for side in range(4):
            color = accent_tint if side == accent else tint
            wall = _wall(room, side, plan.on(number, side), material, color, skirting)
            items.append(Item(wall, number))
        if number == len(plan.rooms) - 1 or rng.random() < 0.25:
            items.append(Item(_beams(rng, room), number))
    for opening in plan.openings:
        if not opening.mirror:
            items += _hung(rng, plan, opening, grid)
            if opening.kind in ("door", "passage"):
                items.append(Item(_threshold(plan, opening), opening.room))
    return items


def column(rng: np.random.Generator, room: Room) -> Mesh:
    """A column that stands free about its own origin, from floor to ceiling."""
    size, height = rng.uniform(0.25, 0.4), room.height
    tint = shade(rng, (1.0, 1.0, 0.98), (0.75, 0.74, 0.72))
    if rng.random() < 0.35:
        return tube((0, 0, 0), (0, 0, height), size / 2, PAINT, COLUMN, tint, sides=20)
    width = size * rng.uniform(0.8, 1.3)
    return box((size, width, height), (0, 0, height / 2), PAINT, COLUMN, tint)
