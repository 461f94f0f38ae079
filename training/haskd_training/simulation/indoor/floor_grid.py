"""The flat seen from above in cells: where something stands, where somebody can walk."""

from __future__ import annotations

import cv2
import numpy as np

from haskd_training.simulation.indoor.plan import WALL_M, Opening, Plan
from haskd_training.simulation.mesh import Mesh

CELL_M = 0.05

BODY_M = 0.25
"""Half the width that whoever walks needs, m."""

_OVERHEAD_M = 1.9
_LEFT = 0.85
_FRONT_M = 0.45
"""How far before a door somebody has to be able to stand."""


class FloorGrid:
    """Cells [H, W] of `CELL_M`; row and column of the map's (y, x) from `origin` on.

    room: [H, W] int8, the number of the room, -1 in walls. open: [H, W] bool, rooms and what is
    passable between them. taken: [H, W] bool, where something stands. kept: [H, W] bool, where
    nothing may be put: before doors. low_only: [H, W] bool, where nothing tall may stand: before
    windows.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        margin = 4 * CELL_M
        self.origin = np.array([min(r.x0 for r in plan.rooms), min(r.y0 for r in plan.rooms)])
        self.origin -= margin
        far = np.array([max(r.x1 for r in plan.rooms), max(r.y1 for r in plan.rooms)]) + margin
        width, height = np.ceil((far - self.origin) / CELL_M).astype(int)
        self.room = np.full((height, width), -1, np.int8)
        y, x = np.indices(self.room.shape)
        centre_x, centre_y = (
            self.origin[0] + (x + 0.5) * CELL_M,
            self.origin[1] + (y + 0.5) * CELL_M,
        )
        for number, room in enumerate(plan.rooms):
            inside = (centre_x > room.x0) & (centre_x < room.x1)
            self.room[inside & (centre_y > room.y0) & (centre_y < room.y1)] = number
        self.open = self.room >= 0
        self.taken = np.zeros_like(self.open)
        self.kept = np.zeros_like(self.open)
        self.low_only = np.zeros_like(self.open)
        self._fronts: list[np.ndarray] = []
        for opening in plan.openings:
            self._keep_free(opening)

    def _keep_free(self, opening: Opening) -> None:
        if opening.kind == "window":
            strip = self._before(opening, opening.start - 0.1, opening.end + 0.1, 0.0, 0.5)
            self.low_only |= self.cells(strip)
            self.kept |= self.cells(
                self._before(opening, opening.start - 0.3, opening.end + 0.3, 0.0, 0.12)
            )
            return
        width = opening.end - opening.start
        swung = opening.kind == "door" and not opening.mirror
        left = opening.start - (0.3 if swung else 0.05)
        reach = width + 0.05 if swung else 0.8
        self.kept |= self.cells(self._before(opening, left, opening.end + 0.05, 0.0, reach))
        if opening.kind != "closed door":
            through = self._before(opening, opening.start, opening.end, -WALL_M, 0.0)
            self.open |= self.cells(through)
            middle = (opening.start + opening.end) / 2
            self._fronts.append(self._in_map(opening, np.array([[middle, _FRONT_M]]))[0])

    def _in_map(self, opening: Opening, points: np.ndarray) -> np.ndarray:
        """Points [N, 2] in the frame of an opening's wall, in the map."""
        x, y, yaw, _ = self._plan.rooms[opening.room].side(opening.side)
        cos, sin = np.cos(yaw), np.sin(yaw)
        moved: np.ndarray = points @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
        return moved

    def _before(
        self, opening: Opening, left: float, right: float, low: float, high: float
    ) -> np.ndarray:
        corners = np.array([[left, low], [right, low], [right, high], [left, high]])
        return self._in_map(opening, corners)

    def cells(self, polygon: np.ndarray) -> np.ndarray:
        """[H, W] bool: the cells that a convex polygon [K, 2] in m touches."""
        mask = np.zeros(self.room.shape, np.uint8)
        pixels = (polygon - self.origin) / CELL_M - 0.5
        cv2.fillConvexPoly(mask, np.round(pixels * 16).astype(np.int32), 1, shift=4)
        return mask.astype(bool)

    def footprint(self, mesh: Mesh) -> np.ndarray:
        """[H, W] bool: where a mesh in the map frame is in the way of somebody."""
        low = mesh.vertices[mesh.vertices[:, 2] < _OVERHEAD_M, :2]
        return self.cells(cv2.convexHull(low).reshape(-1, 2).astype(float))

    def fits(self, mesh: Mesh, room: int) -> bool:
        """Whether a mesh may stand there: within the room, on nothing else, in nobody's way."""
        cells = self.footprint(mesh)
        bad = self.taken | self.kept | (self.room != room)
        if float(mesh.vertices[:, 2].max()) > 1.15:
            bad = bad | self.low_only
        if (cells & bad).any():
            return False
        before = np.count_nonzero(self.walkable())
        self.taken |= cells
        passable = self.all_reached()
        # Nor may it cut off a corner that one could walk to.
        after = np.count_nonzero(self.walkable())
        self.taken &= ~cells
        return passable and bool(after > _LEFT * before)

    def take(self, mesh: Mesh) -> None:
        """Something stands there from now on."""
        self.taken |= self.footprint(mesh)

    def clearance(self) -> np.ndarray:
        """[H, W] float32: m to the nearest wall or thing, 0 within them."""
        free = (self.open & ~self.taken).astype(np.uint8)
        distance: np.ndarray = cv2.distanceTransform(free, cv2.DIST_L2, 5) * CELL_M
        return distance

    def cell_of(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of points [N, 2] in m."""
        columns, rows = np.floor((points - self.origin) / CELL_M).astype(int).T
        return rows, columns

    def walkable(self) -> np.ndarray:
        """[H, W] bool: where somebody can be who comes through the doors."""
        room_to_walk = (self.clearance() > BODY_M).astype(np.uint8)
        _, parts = cv2.connectedComponents(room_to_walk, connectivity=4)
        rows, columns = self.cell_of(np.array(self._fronts))
        mask: np.ndarray = (parts == parts[rows[0], columns[0]]) & (parts > 0)
        return mask

    def all_reached(self) -> bool:
        """Whether somebody can walk to both sides of every door."""
        rows, columns = self.cell_of(np.array(self._fronts))
        return bool(self.walkable()[rows, columns].all())
