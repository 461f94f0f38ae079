"""A procedural town: a main street with bends and crossings, and all that stands along it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from haskd_training.simulation import road_users, street_objects
from haskd_training.simulation.lots import fill_lots
from haskd_training.simulation.mesh import Mesh, merge
from haskd_training.simulation.streets import (
    KERB_M,
    SIDE_STREET_M,
    SIDE_STREET_Z,
    Path,
    Street,
    ground,
    markings,
    stop_line_at,
    surfaces,
)

START_M = 80.0
"""Arc length of the main street at which the drive begins."""

# How often which thing stands on a sidewalk.
_SIDEWALK_THINGS = {
    "sign": 0.15, "bin": 0.13, "cabinet": 0.11, "bench": 0.09, "shelter": 0.03, "bollards": 0.09,
    "cones": 0.05, "bicycles": 0.13, "motorcycle": 0.08, "person": 0.14,
}  # fmt: skip


@dataclass(frozen=True)
class Town:
    """Everything that never moves, and the streets that traffic needs to know.

    `side_streets[k]` crosses the main street at `main.crossings[k]`, its own middle.
    """

    main: Street
    side_streets: tuple[Street, ...]
    mesh: Mesh


def _main_path(rng: np.random.Generator, length: float) -> tuple[Path, list[float]]:
    """The main street's centre line and the arc lengths of its crossings.

    Straights, nearly all with a crossing, alternate with bends. The heading stays within 45 degrees
    of east: so neither the street nor a side street ever meets another part of itself.
    """
    step, heading, position = 0.5, rng.uniform(-0.4, 0.4), np.zeros(2)
    points, travelled = [position], 0.0
    crossings: list[float] = []

    def advance(distance: float, turn: float) -> None:
        nonlocal heading, position, travelled
        count = max(1, round(distance / step))
        for _ in range(count):
            heading += turn / count
            position = position + distance / count * np.array([np.cos(heading), np.sin(heading)])
            points.append(position)
        travelled += distance

    while travelled < length:
        straight = START_M + 75.0 if not crossings else rng.uniform(80.0, 110.0)
        if not crossings:
            crossings.append(START_M + 38.0)
        elif rng.random() < 0.8:
            crossings.append(travelled + straight / 2)
        advance(straight, 0.0)
        target = rng.uniform(0.3, 0.78) * (-np.sign(heading) if heading else 1.0)
        advance(rng.uniform(45.0, 70.0) * abs(target - heading), target - heading)
    return Path(np.array(points)), [s for s in crossings if s < travelled - 30.0]


def _streets(rng: np.random.Generator, length: float) -> tuple[Street, tuple[Street, ...]]:
    path, crossings = _main_path(rng, length)
    verge, sidewalk = rng.uniform(1.2, 2.2), rng.uniform(1.8, 3.2)
    main = Street(
        path, int(rng.integers(1, 3)), bool(rng.random() < 0.6), verge, sidewalk,
        grass_verge=bool(rng.random() < 0.65),
    )  # fmt: skip
    side_streets = []
    for crossing in crossings:
        x, y, heading = path.at(crossing)
        along = np.arange(-SIDE_STREET_M, SIDE_STREET_M + 0.1, 0.5)[:, None]
        line = np.array([x, y]) + along * np.array([-np.sin(heading), np.cos(heading)])
        side_streets.append(
            Street(
                Path(line), 1, False, 1.4, rng.uniform(1.6, 2.4), (SIDE_STREET_M,),
                main.kerb, surface_z=SIDE_STREET_Z, grass_verge=bool(rng.random() < 0.5),
            )
        )  # fmt: skip
    half = side_streets[0].kerb
    return replace(main, crossings=tuple(crossings), crossing_half_width=half), tuple(side_streets)


def _place(
    mesh: Mesh, street: Street, s: float, offset: float, z: float, turn: float = 0.0
) -> Mesh:
    x, y, heading = street.path.at(s, offset)
    return mesh.placed(x, y, z, heading + turn)


def _parked(rng: np.random.Generator, street: Street) -> list[Mesh]:
    """Vehicles at the kerb, in the direction of traffic, with gaps."""
    meshes = []
    density = rng.uniform(0.35, 0.8)
    for start, end in street.between_crossings(margin=14.0):
        for side in (-1.0, 1.0):
            s = start + rng.uniform(0.0, 6.0)
            while s < end:
                kind = rng.random()
                if kind < 0.06:
                    mesh, length = road_users.truck(rng), 11.0
                elif kind < 0.08:
                    mesh, length = road_users.bus(rng), 14.0
                else:
                    mesh, length = road_users.car(rng), 6.0
                if rng.random() < density and s + length < end:
                    offset = side * (street.parking_edge + 1.2 + rng.uniform(-0.1, 0.1))
                    turn = (np.pi if side > 0 else 0.0) + rng.normal(0.0, 0.015)
                    meshes.append(_place(mesh, street, s + length / 2, offset, 0.0, turn))
                s += length
    return meshes


def _things(
    rng: np.random.Generator, street: Street, kind: str
) -> list[tuple[Mesh, float, float, float]]:
    """One object or group on the sidewalk: mesh, step along the street, distance from the centre
    line (m) and yaw (0: as if the traffic beside it came along +x and the road lay at +y)."""
    verge, back = street.kerb + street.verge / 2 + 0.1, street.lot_edge - 0.5
    if kind == "sign":
        return [(street_objects.sign(rng), 0.0, verge, 0.0)]
    if kind == "bin":
        return [(street_objects.bin_(rng), 0.0, verge, 0.0)]
    if kind == "cabinet":
        return [(street_objects.cabinet(rng), 0.0, back, 0.0)]
    if kind == "bench":
        return [(street_objects.bench(), 0.0, back, np.pi)]
    if kind == "shelter":
        return [(street_objects.bus_shelter(), 0.0, back - 0.4, np.pi)]
    if kind == "bollards":
        return [(street_objects.bollard(), 1.5 * k, street.kerb + 0.35, 0.0) for k in range(4)]
    if kind == "cones":
        edge = street.kerb + 0.2
        return [(street_objects.cone(), 2.0 * k, edge, 0.0) for k in range(rng.integers(3, 7))]
    if kind == "bicycles":
        return [
            (road_users.bicycle(rng, ridden=False), 0.8 * k, verge, np.pi / 2 + rng.normal(0, 0.1))
            for k in range(rng.integers(1, 4))
        ]
    if kind == "motorcycle":
        return [(road_users.motorcycle(rng, ridden=False), 0.0, verge, rng.uniform(0, 6))]
    return [
        (road_users.person(rng), 0.6 * k, street.lot_edge - rng.uniform(0.4, street.sidewalk),
         rng.uniform(0, 6))
        for k in range(rng.integers(1, 4))
    ]  # fmt: skip


def _furnish(
    rng: np.random.Generator, street: Street, along: tuple[float, float], side: float, trees: float
) -> list[Mesh]:
    """One stretch of verge and sidewalk; side: 1 left, -1 right; trees: m from one to the next."""
    start, end = along
    verge, with_traffic = street.kerb + street.verge / 2 + 0.1, 0.0 if side < 0 else np.pi
    meshes = []

    def put(mesh: Mesh, s: float, distance: float, turn: float) -> None:
        meshes.append(_place(mesh, street, s, side * distance, KERB_M, with_traffic + turn))

    for s in np.arange(start + 6.0, end - 4.0, trees):
        if rng.random() < 0.8:
            put(street_objects.tree(rng, rng.uniform(0.7, 1.0)), s, verge, rng.uniform(0, 6))
    for s in np.arange(start + 2.0, end, 28.0):
        put(street_objects.lamp_post(rng), s + rng.uniform(0, 2), verge, np.pi)
    for s in np.arange(start + 4.0, end, rng.uniform(6.0, 9.0)):
        kind = str(rng.choice(list(_SIDEWALK_THINGS), p=list(_SIDEWALK_THINGS.values())))
        at = s + rng.uniform(0.0, 4.0)
        for mesh, step, distance, turn in _things(rng, street, kind):
            put(mesh, at + step, distance, turn)
    return meshes


def _furniture(rng: np.random.Generator, street: Street) -> list[Mesh]:
    """Trees, lamps, signs, bins, bicycles and waiting people on verge and sidewalk."""
    trees = rng.uniform(9.0, 18.0)
    return [
        mesh
        for along in street.between_crossings(margin=5.0)
        for side in (-1.0, 1.0)
        for mesh in _furnish(rng, street, along, side, trees)
    ]


def _signals(street: Street) -> list[Mesh]:
    """A traffic light on the right of either approach of every crossing."""
    stop = stop_line_at(street)
    return [
        _place(street_objects.traffic_light(), street, crossing + side * stop,
               side * (street.kerb + 0.5), KERB_M, 0.0 if side < 0 else np.pi)
        for crossing in street.crossings for side in (-1.0, 1.0)
    ]  # fmt: skip


def build_town(rng: np.random.Generator, drive_m: float) -> Town:
    """A town whose main street is long enough for a drive of `drive_m` m from `START_M` on."""
    main, side_streets = _streets(rng, START_M + drive_m + 110.0)
    yellow_centre = bool(rng.random() < 0.5)
    streets = (main, *side_streets)
    meshes = [ground([street.path for street in streets], margin=250.0)]
    for street in streets:
        meshes += surfaces(street, yard=25.0)
        meshes += markings(street, yellow_centre)
        meshes += _signals(street)
        meshes += _parked(rng, street)
        meshes += _furniture(rng, street)
    meshes += fill_lots(rng, streets)
    return Town(main, side_streets, merge(meshes))
