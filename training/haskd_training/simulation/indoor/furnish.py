"""What stands and hangs in each room, and where."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from haskd_training.simulation.indoor import (
    fittings,
    seats,
    small_things,
    storage,
    tables,
    wall_things,
)
from haskd_training.simulation.indoor.floor_grid import FloorGrid
from haskd_training.simulation.indoor.plan import Plan
from haskd_training.simulation.indoor.shell import Item, column, in_wall
from haskd_training.simulation.mesh import Mesh

_TRIES = 40


def _size(mesh: Mesh) -> np.ndarray:
    size: np.ndarray = np.ptp(mesh.vertices, axis=0)
    return size


class Furnisher:
    """Puts things into one room where there is space for them.

    items: what was put there.
    """

    def __init__(self, rng: np.random.Generator, plan: Plan, grid: FloorGrid, room: int) -> None:
        self.rng, self.grid, self.number = rng, grid, room
        self.room = plan.rooms[room]
        self.items: list[Item] = []
        # Parts of each wall that are hidden or hung with something.
        self._used = [
            [(o.start - 0.1, o.end + 0.1) for o in plan.on(room, side)] for side in range(4)
        ]

    def _hidden(self, side: int, left: float, right: float) -> bool:
        return any(left < end and right > start for start, end in self._used[side])

    def _put(self, mesh: Mesh) -> bool:
        if not self.grid.fits(mesh, self.number):
            return False
        self.grid.take(mesh)
        self.items.append(Item(mesh, self.number))
        return True

    def against_wall(self, mesh: Mesh) -> Callable[[Mesh], Mesh] | None:
        """Put a thing whose back is its lowest y along some wall; returns what moves things of its
        own frame to where it is, None where it does not fit."""
        tall = _size(mesh)[2] > 1.0
        back, half = float(mesh.vertices[:, 1].min()), float(np.abs(mesh.vertices[:, 0]).max())
        for _ in range(_TRIES):
            side = int(self.rng.integers(4))
            length = self.room.side(side)[3]
            if length < 2 * half + 0.06:
                continue
            x = self.rng.uniform(half + 0.03, length - half - 0.03)
            if self.rng.random() < 0.4:  # into a corner
                x = self.rng.choice([half + 0.03, length - half - 0.03])
            if tall and self._hidden(side, x - half, x + half):
                continue
            y = 0.03 - back if self.rng.random() < 0.8 else 0.16 - back

            def move(thing: Mesh, side: int = side, x: float = float(x), y: float = y) -> Mesh:
                return in_wall(thing.placed(y=y), self.room, side, x)

            if self._put(move(mesh)):
                if tall:
                    self._used[side].append((x - half, x + half))
                return move
        return None

    def free(self, mesh: Mesh, turn: float | None = None) -> Callable[[Mesh], Mesh] | None:
        """Put a thing somewhere in the room; as `against_wall`."""
        for _ in range(_TRIES):
            x = self.rng.uniform(self.room.x0 + 0.3, self.room.x1 - 0.3)
            y = self.rng.uniform(self.room.y0 + 0.3, self.room.y1 - 0.3)
            yaw = self.rng.integers(4) * np.pi / 2 + self.rng.normal(0, 0.06)
            yaw = yaw if turn is None else turn

            def move(
                thing: Mesh, x: float = float(x), y: float = float(y), yaw: float = float(yaw)
            ) -> Mesh:
                return thing.placed(x, y, 0.0, yaw)

            if self._put(move(mesh)):
                return move
        return None

    def beside(self, mesh: Mesh) -> bool:
        """Put a thing where it is, if there is space."""
        return self._put(mesh)

    def add(self, mesh: Mesh) -> None:
        """Put a thing where nobody stumbles over it: on a table, below the ceiling, a rug."""
        self.items.append(Item(mesh, self.number))

    def hang(self, mesh: Mesh, height: float) -> bool:
        """Hang a thing on a wall, its middle at `height`."""
        half = _size(mesh)[0] / 2
        for _ in range(_TRIES):
            side = int(self.rng.integers(4))
            length = self.room.side(side)[3]
            if length < 2 * half + 0.2:
                continue
            x = float(self.rng.uniform(half + 0.1, length - half - 0.1))
            if self._hidden(side, x - half, x + half):
                continue
            self._used[side].append((x - half, x + half))
            self.add(in_wall(mesh, self.room, side, x, height))
            return True
        return False


def _things_on(put: Furnisher, top: Mesh, move: Callable[[Mesh], Mesh], height: float) -> None:
    """Some small things on a table top about the origin of its frame."""
    half = 0.32 * _size(top)[:2]
    for x in np.linspace(-half[0], half[0], 3):
        if put.rng.random() < 0.5:
            thing = small_things.table_thing(put.rng)
            put.add(move(thing.placed(float(x), put.rng.uniform(-0.5, 0.5) * half[1], height)))


def _dining(put: Furnisher, chairs: int) -> None:
    """A table with chairs around it."""
    rng = put.rng
    table = tables.dining_table(rng)
    move = put.free(table)
    if move is None:
        return
    width, depth, height = _size(table)
    _things_on(put, table, move, height)
    make = (seats.dining_chair, seats.shell_chair, seats.stool)[rng.choice(3, p=[0.5, 0.35, 0.15])]
    looks = rng.integers(1 << 31)
    places = [(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)]
    if width > 1.3:
        places = [(-0.25, 1.0), (0.25, -1.0), (0.25, 1.0), (-0.25, -1.0), (1.0, 0.0), (-1.0, 0.0)]
    for x, y in places[:chairs]:
        # All alike.
        chair = make(np.random.default_rng(looks))
        if y:
            at, yaw = (x * width, y * (depth / 2 + 0.3)), np.pi if y > 0 else 0.0
        else:
            at, yaw = (x * (width / 2 + 0.3), 0.0), x * np.pi / 2
        yaw += rng.normal(0, 0.15)
        put.beside(move(chair.placed(*at, 0.0, yaw)))


def _desk(put: Furnisher) -> None:
    rng = put.rng
    desk, depth, height = tables.desk(rng)
    move = put.against_wall(desk)
    if move is None:
        return
    x = rng.uniform(-0.2, 0.2)
    put.add(move(small_things.screen(rng).placed(x, -depth / 2 + 0.28, height)))
    lamp = small_things.table_thing(rng)
    put.add(move(lamp.placed(rng.choice([-0.5, 0.5]), -depth / 2 + 0.2, height)))
    chair = seats.office_chair(rng) if rng.random() < 0.8 else seats.dining_chair(rng)
    put.beside(move(chair.placed(x, depth / 2 + 0.42, 0.0, np.pi + rng.normal(0, 0.4))))


def _living(put: Furnisher) -> None:
    rng = put.rng
    sofa = seats.sofa(rng)
    move = put.against_wall(sofa)
    if move is not None:
        front = _size(sofa)[1] / 2
        if rng.random() < 0.7:
            put.add(move(small_things.rug(rng).placed(0.0, front + 0.6)))
        table = tables.coffee_table(rng)
        at = rng.uniform(0.65, 0.8) + front
        if put.beside(move(table.placed(0.0, at))):
            height = _size(table)[2]
            _things_on(put, table, lambda thing: move(thing.placed(0.0, at)), height)
    for _ in range(rng.integers(1, 3)):
        put.against_wall(storage.bookcase(rng))
    if rng.random() < 0.7:
        put.against_wall(seats.armchair(rng))
    if rng.random() < 0.85:
        put.against_wall(storage.cabinet(rng))
    _dining(put, int(rng.integers(3, 7)))
    put.free(column(rng, put.room), turn=0.0)
    if rng.random() < 0.7:
        put.hang(wall_things.television(rng), rng.uniform(1.2, 1.5))
    put.against_wall(small_things.floor_lamp(rng))
    put.against_wall(small_things.plant(rng))


def _study(put: Furnisher) -> None:
    rng = put.rng
    _desk(put)
    put.hang(wall_things.board(rng), 1.5)
    put.against_wall(storage.bookcase(rng))
    if put.room.area > 11:
        _desk(put)
    for _ in range(rng.integers(0, 3)):
        put.against_wall(storage.bookcase(rng))
    if rng.random() < 0.35:
        put.against_wall(seats.sofa(rng))
    if rng.random() < 0.4:
        put.free(column(rng, put.room), turn=0.0)
    put.against_wall(storage.cabinet(rng))


def _kitchen(put: Furnisher) -> None:
    rng = put.rng
    for width in (rng.uniform(2.0, 3.2), 1.8, 1.3):
        if put.against_wall(fittings.kitchen_row(rng, width)) is not None:
            break
    put.against_wall(fittings.refrigerator(rng))
    _dining(put, int(rng.integers(2, 5)))
    if rng.random() < 0.35:
        put.hang(wall_things.board(rng), 1.5)


def _bedroom(put: Furnisher) -> None:
    rng = put.rng
    move = put.against_wall(fittings.bed(rng))
    if move is not None and rng.random() < 0.5:
        put.add(move(small_things.rug(rng).placed(0.0, 2.4)))
    put.against_wall(storage.cabinet(rng, wardrobe=True))
    put.against_wall(storage.cabinet(rng))
    put.against_wall(seats.dining_chair(rng))
    if rng.random() < 0.5:
        _desk(put)
    if rng.random() < 0.5:
        put.against_wall(storage.bookcase(rng))


def _bathroom(put: Furnisher) -> None:
    rng = put.rng
    put.against_wall(fittings.bathtub(rng, rng.uniform(1.5, 1.75)))
    put.against_wall(fittings.toilet(rng))
    put.against_wall(fittings.wash_basin(rng))
    put.against_wall(storage.cabinet(rng))


def _hallway(put: Furnisher) -> None:
    rng = put.rng
    put.against_wall(storage.cabinet(rng, wardrobe=rng.random() < 0.5))
    if rng.random() < 0.6:
        put.add(small_things.rug(rng).placed(
            (put.room.x0 + put.room.x1) / 2, (put.room.y0 + put.room.y1) / 2
        ))  # fmt: skip
    put.against_wall(seats.stool(rng))


_ROOMS = {
    "living": _living, "study": _study, "kitchen": _kitchen, "bedroom": _bedroom,
    "bathroom": _bathroom, "hallway": _hallway,
}  # fmt: skip


def _radiators(put: Furnisher, plan: Plan) -> None:
    for side in range(4):
        for opening in plan.on(put.number, side):
            if opening.kind == "window" and opening.bottom > 0.75 and put.rng.random() < 0.6:
                width = 0.7 * (opening.end - opening.start)
                mesh = small_things.radiator(put.rng, width)
                placed = in_wall(mesh, put.room, side, (opening.start + opening.end) / 2)
                put.add(placed)
                put.grid.take(placed)


def furnish(rng: np.random.Generator, plan: Plan, grid: FloorGrid) -> list[Item]:
    """Furniture of all rooms; the grid has it all in the end, and all rooms can be reached."""
    items = []
    for number, room in enumerate(plan.rooms):
        put = Furnisher(rng, plan, grid, number)
        _radiators(put, plan)
        _ROOMS[room.kind](put)
        for _ in range(rng.integers(1, 4)):
            put.against_wall(small_things.floor_thing(rng))
        for _ in range(rng.integers(0, 4)):
            put.hang(wall_things.picture(rng), rng.uniform(1.35, 1.6))
        x, y = (room.x0 + room.x1) / 2, (room.y0 + room.y1) / 2
        put.add(small_things.ceiling_lamp(rng, room.height).placed(x, y))
        items += put.items
    return items
