"""The floor plan: rooms, which of them have a door between them, and where windows are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

RoomKind = Literal["living", "study", "kitchen", "bedroom", "bathroom", "hallway"]
OpeningKind = Literal["door", "passage", "closed door", "window"]

WALL_M = 0.14
"""Thickness of the walls."""

_MIN_SIDE_M = 2.4
_DOOR_TOP_M = 2.03
_CORNER_M = 0.25
"""What is left of a wall beside an opening."""

# From the smallest room to the largest.
_KINDS: dict[int, tuple[tuple[RoomKind, ...], ...]] = {
    3: (("kitchen", "study", "living"), ("bathroom", "study", "living")),
    4: (("bathroom", "kitchen", "study", "living"), ("hallway", "kitchen", "study", "living")),
    5: (
        ("bathroom", "hallway", "kitchen", "study", "living"),
        ("bathroom", "kitchen", "study", "bedroom", "living"),
    ),
    6: (("bathroom", "hallway", "kitchen", "study", "bedroom", "living"),),
}
# Who has doors to many: the lower, the more.
_HUB: dict[RoomKind, float] = {
    "hallway": 0.0, "living": 1.0, "kitchen": 2.0, "study": 3.0, "bedroom": 3.5, "bathroom": 5.0
}  # fmt: skip


@dataclass(frozen=True)
class Room:
    """A rectangular room: its inner faces in the map frame, and its height, m."""

    kind: RoomKind
    x0: float
    y0: float
    x1: float
    y1: float
    height: float

    def side(self, number: int) -> tuple[float, float, float, float]:
        """Of wall 0 to 3 (-y, +x, +y, -x): where its frame begins (x, y), its yaw and its length.

        In a wall's frame x leads along the wall, y into the room and z up.
        """
        x, y = ((self.x0, self.y0), (self.x1, self.y0), (self.x1, self.y1), (self.x0, self.y1))[
            number
        ]
        length = self.x1 - self.x0 if number % 2 == 0 else self.y1 - self.y0
        return x, y, number * np.pi / 2, length

    def along(self, number: int, point: float) -> float:
        """Where on wall `number` a map coordinate (x of walls 0 and 2, y of 1 and 3) lies."""
        start = (self.x0, self.y0, self.x1, self.y1)[number]
        return point - start if number < 2 else start - point

    @property
    def area(self) -> float:
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass(frozen=True)
class Opening:
    """A hole in a wall of a room, from `start` to `end` along it and from `bottom` to `top`, m.

    `mirror` is true for the other room's view of a door, which is built once.
    """

    kind: OpeningKind
    room: int
    side: int
    start: float
    end: float
    bottom: float
    top: float
    mirror: bool = False


@dataclass(frozen=True)
class Plan:
    """Rooms, and the openings of each of their walls."""

    rooms: tuple[Room, ...]
    openings: tuple[Opening, ...]

    def on(self, room: int, side: int) -> list[Opening]:
        """The openings in one wall, in their order along it."""
        found = [o for o in self.openings if (o.room, o.side) == (room, side)]
        return sorted(found, key=lambda opening: opening.start)


Rectangle = tuple[float, float, float, float]


def _split(rng: np.random.Generator, outline: Rectangle, count: int) -> list[Rectangle]:
    """`outline` cut into `count` rectangles, the largest one first each time."""
    parts = [outline]
    while len(parts) < count:
        parts.sort(key=lambda r: (r[2] - r[0]) * (r[3] - r[1]))
        x0, y0, x1, y1 = parts.pop()
        across = x1 - x0 >= y1 - y0
        low, high = (x0, x1) if across else (y0, y1)
        share = rng.uniform(0.32, 0.68)
        cut = float(np.clip(low + share * (high - low), low + _MIN_SIDE_M, high - _MIN_SIDE_M))
        if across:
            parts += [(x0, y0, cut, y1), (cut, y0, x1, y1)]
        else:
            parts += [(x0, y0, x1, cut), (x0, cut, x1, y1)]
    return parts


def _shared(a: Room, b: Room) -> tuple[int, int, float, float] | None:
    """Walls of `a` and `b` that are two faces of one, and the part they share in map
    coordinates."""
    for side_a, side_b, gap, low, high in (
        (1, 3, b.x0 - a.x1, max(a.y0, b.y0), min(a.y1, b.y1)),
        (3, 1, a.x0 - b.x1, max(a.y0, b.y0), min(a.y1, b.y1)),
        (2, 0, b.y0 - a.y1, max(a.x0, b.x0), min(a.x1, b.x1)),
        (0, 2, a.y0 - b.y1, max(a.x0, b.x0), min(a.x1, b.x1)),
    ):
        if abs(gap - WALL_M) < 1e-6 and high - low > 0:
            return side_a, side_b, low, high
    return None


def _doors(rng: np.random.Generator, rooms: tuple[Room, ...]) -> list[Opening]:
    """Doors that connect all rooms, each as both of its rooms see it."""
    edges = []
    for a in range(len(rooms)):
        for b in range(a + 1, len(rooms)):
            shared = _shared(rooms[a], rooms[b])
            if shared is not None and shared[3] - shared[2] > 0.95 + 2 * _CORNER_M:
                hub = _HUB[rooms[a].kind] + _HUB[rooms[b].kind] + rng.uniform(0, 1)
                edges.append((hub, a, b, shared))
    group = list(range(len(rooms)))
    openings = []
    for _, a, b, (side_a, side_b, low, high) in sorted(edges):
        if group[a] == group[b]:
            continue
        group = [group[a] if g == group[b] else g for g in group]
        wide = rooms[a].kind != "bathroom" and rooms[b].kind != "bathroom"
        passage = wide and high - low > 2.2 and rng.random() < 0.25
        width = rng.uniform(1.1, 1.5) if passage else rng.uniform(0.82, 0.95)
        start = rng.uniform(low + _CORNER_M, high - _CORNER_M - width)
        kind: OpeningKind = "passage" if passage else "door"
        for room, side, mirror in ((a, side_a, False), (b, side_b, True)):
            left, right = sorted(rooms[room].along(side, at) for at in (start, start + width))
            openings.append(Opening(kind, room, side, left, right, 0.0, _DOOR_TOP_M, mirror))
    return openings


def _free(taken: list[Opening], room: int, side: int, start: float, end: float) -> bool:
    return all(
        end + 0.3 < o.start or start - 0.3 > o.end
        for o in taken
        if (o.room, o.side) == (room, side)
    )


def _outer_openings(
    rng: np.random.Generator, rooms: tuple[Room, ...], outline: Rectangle, taken: list[Opening]
) -> list[Opening]:
    """Windows in outer walls, the closed door of the flat, and closed doors of closets."""
    openings: list[Opening] = []
    entrance = min(range(len(rooms)), key=lambda room: _HUB[rooms[room].kind])
    for index, room in enumerate(rooms):
        edges = (room.y0 - outline[1], outline[2] - room.x1, outline[3] - room.y1,
                 room.x0 - outline[0])  # fmt: skip
        outer = [side for side in range(4) if edges[side] < WALL_M]
        has_window = False
        for side in rng.permutation(outer):
            length = room.side(side)[3]
            if index == entrance and not any(o.kind == "closed door" for o in openings):
                width = 0.9
                start = rng.uniform(_CORNER_M, length - _CORNER_M - width)
                if _free(taken, index, side, start, start + width):
                    openings.append(
                        Opening("closed door", index, side, start, start + width, 0, _DOOR_TOP_M)
                    )
                    continue
            if room.kind == "hallway" or (has_window and rng.random() < 0.4):
                continue
            small = room.kind == "bathroom"
            width = rng.uniform(0.6, 0.9) if small else rng.uniform(0.9, min(2.2, length - 0.6))
            tall = not small and rng.random() < 0.2
            bottom = 0.1 if tall else rng.uniform(1.1, 1.3) if small else rng.uniform(0.8, 0.95)
            start = rng.uniform(_CORNER_M, length - _CORNER_M - width)
            top = min(rng.uniform(2.05, 2.25), room.height - 0.15)
            openings.append(Opening("window", index, side, start, start + width, bottom, top))
            has_window = True
    for index, room in enumerate(rooms):
        if room.kind in ("hallway", "bedroom", "study") and rng.random() < 0.5:
            side = int(rng.integers(4))
            width = rng.uniform(0.75, 0.9)
            start = rng.uniform(_CORNER_M, room.side(side)[3] - _CORNER_M - width)
            if _free([*taken, *openings], index, side, start, start + width):
                openings.append(
                    Opening("closed door", index, side, start, start + width, 0, _DOOR_TOP_M)
                )
    return openings


def make_plan(rng: np.random.Generator) -> Plan:
    """A flat of three to six rooms."""
    while True:
        count = int(rng.integers(3, 7))
        area, aspect = count * rng.uniform(11.0, 15.0), rng.uniform(1.0, 1.6)
        outline = (0.0, 0.0, float(np.sqrt(area * aspect)), float(np.sqrt(area / aspect)))
        height = rng.uniform(2.45, 2.9)
        parts = sorted(_split(rng, outline, count), key=lambda r: (r[2] - r[0]) * (r[3] - r[1]))
        if min(min(r[2] - r[0], r[3] - r[1]) for r in parts) < _MIN_SIDE_M - 1e-6:
            continue
        kinds = _KINDS[count][rng.integers(len(_KINDS[count]))]
        half = WALL_M / 2
        rooms = tuple(
            Room(
                kind, x0 + half, y0 + half, x1 - half, y1 - half,
                height - (0.2 if kind in ("bathroom", "hallway") and rng.random() < 0.5 else 0.0),
            )
            for kind, (x0, y0, x1, y1) in zip(kinds, parts)
        )  # fmt: skip
        doors = _doors(rng, rooms)
        # A spanning tree has one door less than there are rooms; each is seen from two.
        if len(doors) == 2 * (count - 1):
            return Plan(rooms, (*doors, *_outer_openings(rng, rooms, outline, doors)))
