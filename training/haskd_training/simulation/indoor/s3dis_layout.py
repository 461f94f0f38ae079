"""Flats in the layout of S3DIS: areas, in them rooms, in them the things of each class.

Area_N/ROOM_M/ROOM_M.txt                   x y z r g b of all points of a room, a line each
Area_N/ROOM_M/Annotations/CLASS_K.txt      the same of one thing

Flats to train on are spread over the areas 1, 2, 3, 4 and 6; those to test on are in 5, which the
usual split holds out. Those of one area stand 30 m apart.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from haskd_training.simulation.indoor.flat import Flat
from haskd_training.simulation.indoor.fusion import FusedCloud
from haskd_training.simulation.indoor.kinds import CLASS_NAMES, CLASS_OF_KIND
from haskd_training.simulation.indoor.plan import RoomKind

TRAIN_AREAS, TEST_AREA = (1, 2, 3, 4, 6), 5

_APART_M = 30.0
_ROOMS: dict[RoomKind, str] = {
    "living": "lounge", "study": "office", "kitchen": "pantry", "bedroom": "lounge",
    "bathroom": "WC", "hallway": "hallway",
}  # fmt: skip


class AreaWriter:
    """Writes flats into areas; counts what is there, for the names."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._flats: Counter[int] = Counter()
        self._rooms: Counter[tuple[int, str]] = Counter()

    def add(self, area: int, flat: Flat, cloud: FusedCloud) -> None:
        """The rooms of a flat; points that lie in a wall between two belong to the wall's."""
        shift = np.array([_APART_M * self._flats[area], 0.0, 0.0], np.float32)
        self._flats[area] += 1
        room_of_point = flat.room_of_thing[cloud.thing]
        for number, room in enumerate(flat.plan.rooms):
            mine = room_of_point == number
            if not mine.any():
                continue
            kind = _ROOMS[room.kind]
            self._rooms[area, kind] += 1
            name = f"{kind}_{self._rooms[area, kind]}"
            folder = self._root / f"Area_{area}" / name
            things = cloud.thing[mine]
            order = np.argsort(things, kind="stable")
            xyz, color = cloud.xyz[mine][order] + shift, cloud.color[mine][order]
            self._write_room(folder, flat, things[order], _lines(xyz, color))

    def _write_room(self, folder: Path, flat: Flat, things: np.ndarray, lines: list[str]) -> None:
        """things: [N] int32, sorted, of the lines."""
        (folder / "Annotations").mkdir(parents=True)
        (folder / f"{folder.name}.txt").write_text("".join(lines))
        counts: Counter[str] = Counter()
        found, starts = np.unique(things, return_index=True)
        for thing, start, end in zip(found, starts, [*starts[1:], len(things)]):
            name = CLASS_NAMES[CLASS_OF_KIND[flat.kind_of_thing[thing]]]
            counts[name] += 1
            path = folder / "Annotations" / f"{name}_{counts[name]}.txt"
            path.write_text("".join(lines[start:end]))


def _lines(xyz: np.ndarray, color: np.ndarray) -> list[str]:
    """x y z in m to a millimetre, and r g b, of each point."""
    columns = (*(column.tolist() for column in xyz.T), *(column.tolist() for column in color.T))
    return [f"{x:.3f} {y:.3f} {z:.3f} {r} {g} {b}\n" for x, y, z, r, g, b in zip(*columns)]
