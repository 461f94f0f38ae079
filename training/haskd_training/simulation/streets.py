"""Street geometry: paths with arc length, the cross-section of a street, its surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from haskd_training.simulation.materials import (
    ASPHALT,
    CONCRETE,
    GRASS,
    MARKING,
    PAVING,
    ROAD,
    ROAD_MARKING,
    SIDEWALK,
    VEGETATION,
)
from haskd_training.simulation.mesh import WHITE, Mesh, Vector, from_arrays

LANE_M, BICYCLE_LANE_M, PARKING_M = 3.3, 1.5, 2.2
KERB_M = 0.12
SIDE_STREET_M = 100.0
"""How far a side street goes on either side of the main one."""

# Paint lies this far above the asphalt: nothing a LiDAR could measure, enough for a ray to meet it
# first. Sidewalk, grass and side streets have heights of their own, so that no two surfaces that
# overlap at a corner are in one plane.
SIDE_STREET_Z = -0.004
_PAINT_Z, _VERGE_Z, _YARD_Z, _COUNTRY_Z = 0.004, 0.10, 0.08, -0.05


_YELLOW = (0.95, 0.72, 0.18)


class Path:
    """A curve in the ground plane, by arc length."""

    def __init__(self, points: np.ndarray) -> None:
        """points: [N, 2] m, close enough to each other for straight lines between them."""
        step = np.diff(points, axis=0)
        self.points = points
        self.s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(step, axis=1))])
        angle = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
        self.heading = np.concatenate([angle[:1], (angle[1:] + angle[:-1]) / 2, angle[-1:]])

    @property
    def length(self) -> float:
        return float(self.s[-1])

    def at(self, s: np.ndarray | float, offset: np.ndarray | float = 0.0) -> np.ndarray:
        """[..., 3] x, y (m) and heading (rad) at arc length `s`, `offset` m to the left."""
        x, y, heading = (np.interp(s, self.s, values) for values in (*self.points.T, self.heading))
        return np.stack([x - offset * np.sin(heading), y + offset * np.cos(heading), heading], -1)

    def parallel(self, offset: float, reverse: bool = False) -> Path:
        """The path `offset` m to the left of this one, on request run backwards."""
        points = self.at(self.s, offset)[:, :2]
        return Path(points[::-1] if reverse else points)

    def nearest(self, point: np.ndarray) -> float:
        """Arc length of the vertex nearest to `point` [2]."""
        return float(self.s[np.argmin(np.linalg.norm(self.points - point, axis=1))])


@dataclass(frozen=True)
class Street:
    """A street: a centre line and the widths (m) of what lies on either side of it.

    lanes: per direction. crossings: arc lengths at which other streets run across,
    `crossing_half_width` m from their middle to their kerb. surface_z: m, sets the heights of
    streets that overlap apart.
    """

    path: Path
    lanes: int
    bicycle_lane: bool
    verge: float
    sidewalk: float
    crossings: tuple[float, ...] = ()
    crossing_half_width: float = 0.0
    surface_z: float = 0.0
    grass_verge: bool = True

    @property
    def parking_edge(self) -> float:
        """Distance from the centre line to where parked cars begin."""
        return self.lanes * LANE_M + (BICYCLE_LANE_M if self.bicycle_lane else 0.3)

    @property
    def kerb(self) -> float:
        return self.parking_edge + PARKING_M

    @property
    def lot_edge(self) -> float:
        """Distance from the centre line to the outer edge of the sidewalk."""
        return self.kerb + self.verge + self.sidewalk

    def between_crossings(self, margin: float = 0.0) -> list[tuple[float, float]]:
        """Stretches of arc length without a crossing, `margin` m clear of it."""
        half = self.crossing_half_width + margin
        edges = [0.0]
        for crossing in self.crossings:
            edges += [crossing - half, crossing + half]
        edges.append(self.path.length)
        return [(start, end) for start, end in zip(edges[::2], edges[1::2]) if end - start > 1.0]


def strip(
    path: Path,
    along: tuple[float, float],
    across: tuple[float, float],
    z: float | tuple[float, float],
    material: int,
    label: int,
    tint: Vector = WHITE,
) -> Mesh:
    """A band that follows a path between two offsets; z: its height, or that of either edge."""
    count = max(2, int(np.ceil((along[1] - along[0]) / 2.0)) + 1)
    s = np.linspace(*along, count)
    heights = z if isinstance(z, tuple) else (z, z)
    edges = []
    for offset, height in zip(across, heights):
        at = path.at(s, offset)
        edges.append(np.column_stack([at[:, :2], np.full(count, height)]))
    i = np.arange(count - 1)
    triangles = np.concatenate(
        [np.stack([i, i + 1, i + 1 + count], 1), np.stack([i, i + 1 + count, i + count], 1)]
    )
    return from_arrays(np.concatenate(edges), triangles, material, label, tint)


def surfaces(street: Street, yard: float) -> list[Mesh]:
    """Roadway, kerbs, verges, sidewalks, and `yard` m of grass behind them."""
    path = street.path
    full_length = (0.0, path.length)
    meshes = [
        strip(path, full_length, (-street.kerb, street.kerb), street.surface_z, ASPHALT, ROAD)
    ]
    for along in street.between_crossings():
        for side in (-1.0, 1.0):
            kerb, inner = side * street.kerb, side * (street.kerb + 0.15)
            walk, outer = side * (street.kerb + street.verge), side * street.lot_edge
            verge = (GRASS, VEGETATION) if street.grass_verge else (PAVING, SIDEWALK)
            meshes += [
                strip(path, along, (kerb, kerb), (street.surface_z, KERB_M), CONCRETE, SIDEWALK),
                strip(path, along, (kerb, inner), KERB_M, CONCRETE, SIDEWALK),
                strip(path, along, (inner, walk), _VERGE_Z + street.surface_z, *verge),
                strip(path, along, (walk, outer), KERB_M + street.surface_z, PAVING, SIDEWALK),
                strip(path, along, (outer, outer + side * yard), _YARD_Z + street.surface_z,
                      GRASS, VEGETATION),
            ]  # fmt: skip
    return meshes


def _line(
    path: Path,
    along: tuple[float, float],
    offset: float,
    width: float,
    z: float,
    tint: Vector = WHITE,
) -> Mesh:
    across = (offset - width / 2, offset + width / 2)
    return strip(path, along, across, z, MARKING, ROAD_MARKING, tint)


def _dashes(
    path: Path, along: tuple[float, float], offset: float, z: float, dash: float, gap: float
) -> list[Mesh]:
    starts = np.arange(along[0], along[1] - dash, dash + gap)
    return [_line(path, (start, start + dash), offset, 0.15, z) for start in starts]


def stop_line_at(street: Street) -> float:
    """Distance of a stop line from the middle of its crossing, m."""
    return street.crossing_half_width + 6.5


def markings(street: Street, yellow_centre: bool) -> list[Mesh]:
    """Lane lines, bicycle lanes, parking bays, stop lines and crosswalks."""
    path, z = street.path, street.surface_z + _PAINT_Z
    meshes = []
    stop = stop_line_at(street)
    for along in street.between_crossings(margin=6.5):
        if yellow_centre:
            for offset in (-0.13, 0.13):
                meshes.append(_line(path, along, offset, 0.12, z, tint=_YELLOW))
        else:
            meshes += _dashes(path, along, 0.0, z, 3.0, 4.5)
        for side in (-1.0, 1.0):
            for lane in range(1, street.lanes):
                meshes += _dashes(path, along, side * lane * LANE_M, z, 3.0, 6.0)
            if street.bicycle_lane:
                meshes.append(_line(path, along, side * street.lanes * LANE_M, 0.15, z))
                symbols = np.arange(along[0] + 8.0, along[1] - 8.0, 45.0)
                middle = side * (street.lanes * LANE_M + BICYCLE_LANE_M / 2)
                meshes += [_line(path, (s, s + 1.8), middle, 0.5, z) for s in symbols]
            bays = np.arange(along[0] + 4.0, along[1] - 4.0, 6.0)
            edge, kerb = side * street.parking_edge, side * (street.kerb - 0.1)
            meshes += [
                strip(path, (s, s + 0.12), (edge, kerb), z, MARKING, ROAD_MARKING) for s in bays
            ]
    for crossing in street.crossings:
        for side in (-1.0, 1.0):
            # Traffic keeps right: it comes towards the crossing right of the centre line before it
            # and left of it beyond.
            line = crossing + side * stop
            lanes = (side * 0.2, side * street.parking_edge)
            meshes.append(strip(path, (line - 0.2, line + 0.2), lanes, z, MARKING, ROAD_MARKING))
            walk = crossing + side * (street.crossing_half_width + 2.7)
            bars = np.arange(-street.kerb + 0.6, street.kerb - 0.9, 1.0)
            meshes += [
                strip(path, (walk - 1.5, walk + 1.5), (bar, bar + 0.5), z, MARKING, ROAD_MARKING)
                for bar in bars
            ]
    return meshes


def ground(paths: list[Path], margin: float) -> Mesh:
    """Grass under and around everything, `margin` m beyond the streets."""
    points = np.concatenate([path.points for path in paths])
    (x0, y0), (x1, y1) = points.min(axis=0) - margin, points.max(axis=0) + margin
    corners = [(x, y, _COUNTRY_Z) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    return from_arrays(corners, [[0, 1, 2], [0, 2, 3]], GRASS, VEGETATION)
