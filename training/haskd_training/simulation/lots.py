"""What stands behind the sidewalks: town houses, houses with front gardens, parks."""

from __future__ import annotations

import numpy as np

from haskd_training.simulation import street_objects
from haskd_training.simulation.materials import (
    BRICK,
    BRICK_WINDOWS,
    BUILDING,
    CONCRETE,
    FLOOR_M,
    GLASS_FRONT,
    METAL,
    PLASTER,
    PLASTER_WINDOWS,
    ROOF,
    SHOP_FRONT,
    WOOD,
)
from haskd_training.simulation.mesh import Mesh, box, from_arrays, merge, quad
from haskd_training.simulation.streets import Street

_PLASTER_TINTS = (
    (1.0, 0.97, 0.90), (0.98, 0.86, 0.66), (0.90, 0.72, 0.62), (0.80, 0.86, 0.80),
    (0.78, 0.82, 0.90), (0.72, 0.70, 0.68), (0.95, 0.92, 0.75),
)  # fmt: skip


def _walls(x: float, y: float, z0: float, z1: float, material: int, tint: np.ndarray) -> Mesh:
    """The four walls of a block of half sizes x, y, their texture starting at each corner."""
    corners = np.array([[-x, -y], [x, -y], [x, y], [-x, y]])
    walls = []
    for k in range(4):
        a, b = corners[k], corners[(k + 1) % 4]
        face = np.array([[*a, z0], [*b, z0], [*b, z1], [*a, z1]])
        walls.append(quad(face, material, BUILDING, tint))
    return merge(walls)


def _gable_roof(x: float, y: float, z: float, rise: float, tint: np.ndarray) -> Mesh:
    """A roof with its ridge along x, on walls of half sizes x, y that end at height z."""
    eave = 0.35
    slopes = np.array(
        [[-x - eave, -y - eave, z - 0.1], [x + eave, -y - eave, z - 0.1],
         [x + eave, 0, z + rise], [-x - eave, 0, z + rise],
         [-x - eave, y + eave, z - 0.1], [x + eave, y + eave, z - 0.1]]
    )  # fmt: skip
    roof = from_arrays(slopes, [[0, 1, 2], [0, 2, 3], [3, 2, 5], [3, 5, 4]], ROOF, BUILDING)
    ends = np.array([[-x, -y, z], [-x, y, z], [-x, 0, z + rise], [x, -y, z], [x, y, z],
                     [x, 0, z + rise]])  # fmt: skip
    return merge([roof, from_arrays(ends, [[0, 1, 2], [3, 4, 5]], PLASTER, BUILDING, tint)])


def building(
    rng: np.random.Generator, bays: int, depth_bays: int, floors: int, shops: bool
) -> Mesh:
    """A building `bays` windows wide (along x), its front at y = 0 facing -y."""
    x, y = bays * FLOOR_M / 2, depth_bays * FLOOR_M / 2
    height = floors * FLOOR_M
    shares = (0.35, 0.55, 0.10) if floors > 2 else (0.4, 0.6, 0.0)
    upper = int(rng.choice((BRICK_WINDOWS, PLASTER_WINDOWS, GLASS_FRONT), p=shares))
    tint = np.array(_PLASTER_TINTS[rng.integers(len(_PLASTER_TINTS))]) * rng.uniform(0.85, 1.0)
    lower = SHOP_FRONT if shops else upper
    plain = {BRICK_WINDOWS: BRICK, PLASTER_WINDOWS: PLASTER, GLASS_FRONT: CONCRETE}[upper]
    parts = [
        _walls(x, y, 0.0, FLOOR_M, lower, tint),
        _walls(x, y, FLOOR_M, height, upper, tint),
        box((2.6 if shops else 1.1, 0.12, 2.2), (FLOOR_M * rng.integers(-1, 2), -y, 1.1), WOOD,
            BUILDING, rng.uniform(0.5, 1.1, 3)),
        box((2 * x + 0.3, 2 * y + 0.3, 0.25), (0, 0, FLOOR_M), plain, BUILDING, tint),
    ]  # fmt: skip
    if shops and rng.random() < 0.6:
        awning = box((0.8 * x, 1.2, 0.12), (rng.uniform(-0.5, 0.5) * x, -y - 0.6, 2.75), METAL,
                     BUILDING, rng.uniform(0.4, 1.6, 3))  # fmt: skip
        parts.append(awning)
    if floors <= 3 and rng.random() < 0.7:
        parts.append(_gable_roof(x, y, height, rng.uniform(1.8, 3.2), tint))
    else:
        size = (2 * x + 0.4, 2 * y + 0.4, 0.7)
        parts.append(box(size, (0, 0, height), plain, BUILDING, 0.9 * tint))
    if floors > 2 and rng.random() < 0.5:
        for floor in range(1, floors):
            for bay in range(0, bays, 2):
                at = (-x + (bay + 0.5) * FLOOR_M, -y - 0.55, floor * FLOOR_M + 0.55)
                parts.append(box((1.9, 1.1, 0.95), at, plain, BUILDING, 0.8 * tint))
    return merge(parts).placed(y=y)


def _house_or_block(rng: np.random.Generator, room: float, tall: float) -> tuple[Mesh, float]:
    bays = int(np.clip(rng.integers(3, 8), 2, max(2, room // FLOOR_M)))
    floors = int(np.clip(rng.poisson(tall), 2, 8))
    mesh = building(rng, bays, int(rng.integers(3, 5)), floors, shops=bool(rng.random() < 0.4))
    return mesh, bays * FLOOR_M


def _boundary(rng: np.random.Generator, length: float) -> Mesh:
    """What parts a garden from the sidewalk: hedge and wall come in the same shapes."""
    height, depth = rng.uniform(1.0, 2.0), rng.uniform(0.35, 0.7)
    kind = rng.choice(["hedge", "wall", "fence"], p=[0.42, 0.38, 0.20])
    if kind == "hedge":
        return street_objects.hedge(rng, length, height, depth)
    if kind == "wall":
        return street_objects.wall(rng, length, height, depth)
    return street_objects.fence(rng, length)


def _garden(rng: np.random.Generator, width: float, depth: float) -> list[Mesh]:
    parts = [_boundary(rng, width - 1.5).placed(y=0.45)]
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(-0.4, 0.4) * width, rng.uniform(1.5, max(2.0, depth - 1.5))
        plant = street_objects.bush(rng) if rng.random() < 0.6 else street_objects.tree(rng, 0.6)
        parts.append(plant.placed(x, y))
    return parts


def _park(rng: np.random.Generator, width: float) -> list[Mesh]:
    parts = [_boundary(rng, width - 2.5).placed(y=0.45)] if rng.random() < 0.7 else []
    for _ in range(rng.integers(2, 6)):
        position = (rng.uniform(-0.45, 0.45) * width, rng.uniform(2.0, 16.0))
        parts.append(street_objects.tree(rng).placed(*position))
    for _ in range(rng.integers(1, 5)):
        position = (rng.uniform(-0.45, 0.45) * width, rng.uniform(1.5, 10.0))
        thing = (street_objects.bush, street_objects.boulder)[rng.integers(2)](rng)
        parts.append(thing.placed(*position, yaw=rng.uniform(0, 6)))
    return parts


def fill_lots(rng: np.random.Generator, streets: tuple[Street, ...]) -> list[Mesh]:
    """Lots along both sides of every street, none of them on another street."""
    urban, tall = rng.uniform(0.3, 0.75), rng.uniform(2.5, 5.0)
    meshes = []
    for index, street in enumerate(streets):
        others = [other for k, other in enumerate(streets) if k != index]
        for start, end in street.between_crossings():
            for side in (-1.0, 1.0):
                s = start + (street.verge + street.sidewalk + 2.0)
                while s < end - 9.0:
                    kind = rng.random()
                    if kind < 0.82:
                        house, width = _house_or_block(rng, end - s - 4.0, tall)
                        setback = 0.3 if kind < urban else rng.uniform(4.5, 7.5)
                        lot = [house.placed(y=setback)]
                        if setback > 1.0:
                            lot += _garden(rng, width, setback)
                    else:
                        width = min(rng.uniform(14.0, 28.0), end - s)
                        lot = _park(rng, width)
                    mesh = merge(lot)
                    x, y, heading = street.path.at(s + width / 2, side * street.lot_edge)
                    placed = mesh.placed(x, y, 0.05, heading + (np.pi if side < 0 else 0.0))
                    if all(_clear(placed, other) for other in others):
                        meshes.append(placed)
                    s += width + rng.choice([0.0, 1.5, 4.0])
    return meshes


def _clear(mesh: Mesh, street: Street) -> bool:
    """Whether all of a mesh keeps off a street's roadway and sidewalks."""
    low, high = mesh.vertices[:, :2].min(axis=0), mesh.vertices[:, :2].max(axis=0)
    points = street.path.points[::4]
    gap = np.maximum(np.maximum(low - points, points - high), 0.0)
    return bool(np.linalg.norm(gap, axis=1).min() > street.lot_edge)
