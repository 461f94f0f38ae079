"""A furnished flat: one mesh, whose triangles know their thing, their room and their lights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from haskd_training.simulation.indoor.floor_grid import FloorGrid
from haskd_training.simulation.indoor.furnish import furnish
from haskd_training.simulation.indoor.kinds import CLASS_NAMES, CLASS_OF_KIND
from haskd_training.simulation.indoor.plan import Plan, make_plan
from haskd_training.simulation.indoor.shell import Item, build_shell
from haskd_training.simulation.mesh import Mesh, merge


@dataclass(frozen=True)
class Lights:
    """The lamp of each room, and its brightest window.

    position: [2, 3, rooms] float32, m. color: [2, 3, rooms] float32, 0 where there is none.
    """

    position: np.ndarray
    color: np.ndarray


@dataclass(frozen=True)
class Flat:
    """A flat in the map frame: the floor at z = 0, m.

    mesh: its labels are kinds. thing: [T] int32, number of the thing that a triangle is of, one
    kind each. kind_of_thing: [things] uint8. room_of_thing: [things] uint8.
    grid: what stands where.
    """

    plan: Plan
    mesh: Mesh
    thing: np.ndarray
    kind_of_thing: np.ndarray
    room_of_thing: np.ndarray
    lights: Lights
    grid: FloorGrid


def _lights(rng: np.random.Generator, plan: Plan) -> Lights:
    position = np.zeros((2, 3, len(plan.rooms)), np.float32)
    color = np.zeros((2, 3, len(plan.rooms)), np.float32)
    for number, room in enumerate(plan.rooms):
        warm = np.array([1.0, rng.uniform(0.86, 0.98), rng.uniform(0.66, 0.92)])
        position[0, :, number] = (
            (room.x0 + room.x1) / 2,
            (room.y0 + room.y1) / 2,
            room.height - 0.45,
        )
        color[0, :, number] = warm * rng.uniform(0.35, 0.75)
        for side in range(4):
            for opening in plan.on(number, side):
                if opening.kind == "window":
                    x, y, yaw, _ = room.side(side)
                    at, off = (opening.start + opening.end) / 2, 0.15
                    position[1, :, number] = (
                        x + at * np.cos(yaw) - off * np.sin(yaw),
                        y + at * np.sin(yaw) + off * np.cos(yaw),
                        (opening.bottom + opening.top) / 2,
                    )
                    color[1, :, number] = np.array([0.92, 0.97, 1.0]) * rng.uniform(0.4, 0.9)
    return Lights(position, color)


def build_flat(rng: np.random.Generator) -> Flat:
    """A flat of three to six rooms with something of every class in it."""
    while True:
        plan = make_plan(rng)
        grid = FloorGrid(plan)
        shell = build_shell(rng, plan, grid)
        # An open door may be in another one's way.
        if not grid.all_reached():
            continue
        flat = _joined(rng, plan, grid, [*shell, *furnish(rng, plan, grid)])
        if len(np.unique(CLASS_OF_KIND[flat.kind_of_thing])) == len(CLASS_NAMES):
            return flat


def _joined(rng: np.random.Generator, plan: Plan, grid: FloorGrid, items: list[Item]) -> Flat:
    mesh = merge([item.mesh for item in items])
    number = np.repeat(np.arange(len(items)), [len(item.mesh.triangles) for item in items])
    pairs, thing = np.unique(np.stack([number, mesh.label]), axis=1, return_inverse=True)
    rooms = np.array([item.room for item in items], np.uint8)
    return Flat(
        plan,
        mesh,
        thing.reshape(-1).astype(np.int32),
        pairs[1].astype(np.uint8),
        rooms[pairs[0]],
        _lights(rng, plan),
        grid,
    )
