"""Who moves: the ego vehicle and the traffic around it, and where each is at any time.

Vehicles keep their distance by the Intelligent Driver Model (Treiber, Hennecke and Helbing,
"Congested traffic states in empirical observations and microscopic simulations", 2000) and stop at
red lights. So the ego vehicle stands still at times, and nobody drives through anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from haskd_training.simulation import road_users
from haskd_training.simulation.mesh import Mesh
from haskd_training.simulation.streets import (
    KERB_M,
    LANE_M,
    SIDE_STREET_M,
    Path,
    Street,
    stop_line_at,
)
from haskd_training.simulation.town import START_M, Town

EGO_SPEED = 10.0
"""The speed that the ego vehicle would like to drive, m/s."""

_STEP_S = 0.05
_FIRST_WAIT_S = 2.0
_RED_S = 13.0
_ACCELERATION, _BRAKING, _HEADWAY_S, _STANDING_GAP_M = 1.6, 2.0, 1.3, 2.0
_EGO_LENGTH_M = 4.8
_NO_SHAPE = -1


@dataclass(frozen=True)
class Trajectory:
    """Where something is, from `times[0]` to `times[-1]`.

    times: [K] float64, s, increasing. poses: [K, 3] float64: x, y in m and yaw in rad (unwrapped)
    in the map frame. z: height of its ground in m.
    """

    times: np.ndarray
    poses: np.ndarray
    z: float = 0.0

    def at(self, times: np.ndarray | float) -> np.ndarray:
        """[..., 3] x, y, yaw at `times`, linear between the samples."""
        return np.stack([np.interp(times, self.times, column) for column in self.poses.T], -1)

    def exists_at(self, time: float) -> bool:
        return bool(self.times[0] <= time <= self.times[-1])


@dataclass(frozen=True)
class Actor:
    """Something that moves: a mesh by its index in `Traffic.shapes`, and its trajectory."""

    shape: int
    trajectory: Trajectory


@dataclass(frozen=True)
class Traffic:
    """The ego vehicle's own trajectory (of `base_link`), and everybody else."""

    ego: Trajectory
    shapes: tuple[Mesh, ...]
    actors: tuple[Actor, ...]


@dataclass
class _Lane:
    """Vehicles one behind the other; the first in the arrays drives ahead.

    `stops`: (arc length of the stop line, index of the crossing). `main` tells whose green it is.
    """

    path: Path
    shapes: list[int]
    lengths: np.ndarray
    s: np.ndarray
    desired: np.ndarray
    stops: list[tuple[float, int]]
    main: bool

    def __post_init__(self) -> None:
        self.speed = self.desired.copy()
        self.history: list[np.ndarray] = []

    def keep(self, kept: np.ndarray) -> None:
        """Take vehicles off the lane; kept: [vehicles] bool."""
        self.shapes = [shape for shape, stays in zip(self.shapes, kept) if stays]
        self.lengths, self.s = self.lengths[kept], self.s[kept]
        self.desired, self.speed = self.desired[kept], self.speed[kept]

    def insert(self, index: int, s: float, length: float) -> None:
        """Put a standing vehicle without a shape on the lane, as number `index` from the front."""
        self.shapes.insert(index, _NO_SHAPE)
        self.lengths = np.insert(self.lengths, index, length)
        self.s = np.insert(self.s, index, s)
        self.desired = np.insert(self.desired, index, 0.0)
        self.speed = np.insert(self.speed, index, 0.0)

    def advance(self, red: list[bool]) -> None:
        """One step of the Intelligent Driver Model, with red lights as standing leaders."""
        self.history.append(self.s.copy())
        ahead = np.concatenate([[np.inf], self.s[:-1] - self.lengths[:-1] / 2])
        leader_speed = np.concatenate([[0.0], self.speed[:-1]])
        acceleration = self._follow(ahead, leader_speed)
        for line, crossing in self.stops:
            if red[crossing]:
                gap = line - self.s - self.lengths / 2
                # Who is past the line, or too near to stop, drives on.
                stops = (gap > 0) & (self.speed**2 < 2 * 5.0 * np.maximum(gap, 0.0) + 0.5)
                at_line = self._follow(np.where(stops, line + 1.0, np.inf), 0.0)
                acceleration = np.minimum(acceleration, at_line)
        self.speed = np.maximum(self.speed + _STEP_S * acceleration, 0.0)
        self.s = self.s + _STEP_S * self.speed

    def _follow(self, ahead: np.ndarray, leader_speed: np.ndarray | float) -> np.ndarray:
        gap = np.maximum(ahead - self.s - self.lengths / 2, 0.1)
        closing = self.speed * (self.speed - leader_speed) / (2 * np.sqrt(_ACCELERATION * _BRAKING))
        desired_gap = _STANDING_GAP_M + np.maximum(0.0, self.speed * _HEADWAY_S + closing)
        free = 1.0 - (self.speed / np.maximum(self.desired, 0.1)) ** 4
        acceleration = np.maximum(_ACCELERATION * (free - (desired_gap / gap) ** 2), -8.0)
        return np.where(self.desired > 0, acceleration, -8.0)

    def trajectory(self, vehicle: int) -> Trajectory:
        """Where vehicle `vehicle` was while it was on the lane; of a vehicle that starts at the
        lane's end it has no sample, or one."""
        s = np.array([step[vehicle] for step in self.history])
        count = int(np.searchsorted(s, self.path.length))
        return Trajectory(np.arange(count) * _STEP_S, self.path.at(s[:count]))


def _fleet(rng: np.random.Generator) -> tuple[list[Mesh], dict[str, range]]:
    """The shapes of all who move, and which of them are of which kind."""
    makers: dict[str, list[Callable[..., Mesh]]] = {
        "vehicle": [road_users.car] * 12 + [road_users.truck] * 2 + [road_users.bus],
        "two_wheeler": [road_users.bicycle] * 4 + [road_users.motorcycle] * 2,
        "person": [road_users.person] * 10,
    }
    shapes: list[Mesh] = []
    kinds: dict[str, range] = {}
    for kind, functions in makers.items():
        first = len(shapes)
        for function in functions:
            arguments = {"ridden": True} if kind == "two_wheeler" else {}
            shapes.append(function(rng, **arguments))
        kinds[kind] = range(first, len(shapes))
    return shapes, kinds


def _lane(
    rng: np.random.Generator,
    street: Street,
    *,
    offset: float,
    spacing: tuple[float, float],
    speed: tuple[float, float],
    shapes: list[Mesh],
    kind: range,
    main: bool,
    crossings: list[int],
) -> _Lane:
    """A lane `offset` m to the left of the street's centre line, filled with vehicles.

    Negative offsets run with the centre line, positive ones against it: traffic keeps right.
    """
    path = street.path.parallel(offset, reverse=offset > 0)
    gaps = rng.uniform(*spacing, size=int(path.length / spacing[0]) + 1)
    s = (path.length - np.cumsum(gaps))[np.cumsum(gaps) < path.length]
    chosen = [int(rng.choice(kind)) for _ in s]
    lengths = np.array([np.ptp(shapes[shape].vertices[:, 0]) for shape in chosen])
    stops = []
    for at, crossing in zip(street.crossings, crossings):
        line = at + np.sign(offset) * (stop_line_at(street) + 0.7)
        stops.append((path.nearest(street.path.at(line, offset)[:2]), crossing))
    return _Lane(path, chosen, lengths, s, rng.uniform(*speed, len(s)), stops, main)


def _insert_ego(lane: _Lane) -> int:
    """Put the ego vehicle at `START_M`, with room before and behind it; returns its index."""
    start = START_M
    lane.keep(np.abs(lane.s - start) > 16.0)
    index = int(np.sum(lane.s > start))
    lane.insert(index, start, _EGO_LENGTH_M)
    return index


def _run(
    lanes: list[_Lane], ego_lane: _Lane, ego: int, *, crossings: int, duration: float
) -> dict[int, float]:
    """Advance all lanes; returns when the main street's red lights came on, by crossing.

    Every light but the first turns red as the ego vehicle comes near.
    """
    red_since: dict[int, float] = {}
    stop_of = {crossing: line for line, crossing in ego_lane.stops}
    for step in range(int(duration / _STEP_S) + 2):
        time = step * _STEP_S
        ego_lane.desired[ego] = EGO_SPEED if time >= _FIRST_WAIT_S else 0.0
        for crossing in range(1, crossings):
            near = 0.0 < stop_of[crossing] - ego_lane.s[ego] < 40.0
            if near and crossing not in red_since:
                red_since[crossing] = time
        phase = [time - red_since.get(crossing, np.inf) for crossing in range(crossings)]
        main_red = [0.0 <= p < _RED_S for p in phase]
        side_red = [not 2.5 <= p < _RED_S - 4.0 for p in phase]
        for lane in lanes:
            lane.advance(main_red if lane.main else side_red)
    return red_since


def _strollers(
    rng: np.random.Generator, street: Street, times: np.ndarray, kind: range
) -> list[Actor]:
    """People who walk up and down the sidewalks, between one crossing and the next."""
    actors = []
    for start, end in street.between_crossings(margin=1.0):
        for side in (-1.0, 1.0):
            for _ in range(rng.poisson((end - start) / 22.0)):
                inner = street.kerb + street.verge + 0.3
                offset = side * rng.uniform(inner, street.lot_edge - 0.8)
                length, speed = end - start, rng.uniform(0.9, 1.7)
                way = rng.uniform(0, 2 * length) + speed * times
                forth = way % (2 * length) < length
                s = start + np.where(forth, way % length, length - way % length)
                poses = street.path.at(s, offset)
                poses[:, 2] += np.where(forth, 0.0, np.pi)
                actors.append(Actor(int(rng.choice(kind)), Trajectory(times, poses, KERB_M)))
    return actors


def _crossing_people(
    rng: np.random.Generator, street: Street, crossing: float, red: float, kind: range
) -> list[Actor]:
    """People who walk over both crosswalks of the main street while its light is red."""
    actors = []
    for arm in (-1.0, 1.0):
        for _ in range(rng.integers(2, 5)):
            s = crossing + arm * (street.crossing_half_width + rng.uniform(1.5, 3.9))
            side, width = rng.choice([-1.0, 1.0]), street.kerb + 1.0
            speed = rng.uniform(1.3, 1.8)
            start = red + 2.0 + rng.uniform(0.0, 1.5)
            times = np.array([0.0, start, start + 2 * width / speed, start + 300.0])
            offsets = side * np.array([-width, -width, width, width])
            poses = street.path.at(np.full(4, s), offsets)
            poses[:, 2] += side * np.pi / 2
            actors.append(Actor(int(rng.choice(kind)), Trajectory(times, poses, 0.02)))
    return actors


def simulate_traffic(rng: np.random.Generator, town: Town, duration: float) -> Traffic:
    """Traffic of `duration` s through `town`."""
    shapes, kinds = _fleet(rng)
    main, count = town.main, len(town.main.crossings)
    lanes = []
    for number in range(main.lanes):
        for side in (-1.0, 1.0):
            offset = side * (number + 0.5) * LANE_M
            spacing = (22.0, 75.0) if side > 0 else (40.0, 110.0)
            lanes.append(
                _lane(
                    rng,
                    main,
                    offset=offset,
                    spacing=spacing,
                    speed=(8.0, 11.0),
                    shapes=shapes,
                    kind=kinds["vehicle"],
                    main=True,
                    crossings=list(range(count)),
                )
            )
    ego_lane = lanes[2 * (main.lanes - 1)]
    for side in (-1.0, 1.0):
        offset = side * (main.parking_edge - (0.75 if main.bicycle_lane else 0.25))
        lanes.append(
            _lane(
                rng,
                main,
                offset=offset,
                spacing=(15.0, 60.0),
                speed=(4.0, 6.5),
                shapes=shapes,
                kind=kinds["two_wheeler"],
                main=True,
                crossings=list(range(count)),
            )
        )
    for crossing, street in enumerate(town.side_streets):
        for side in (-1.0, 1.0):
            lane = _lane(
                rng,
                street,
                offset=side * 0.5 * LANE_M,
                spacing=(12.0, 40.0),
                speed=(6.0, 8.0),
                shapes=shapes,
                kind=kinds["vehicle"],
                main=False,
                crossings=[crossing],
            )
            # Those beyond the crossing at the start have left.
            lane.keep(lane.s < SIDE_STREET_M - stop_line_at(street) - 4.0)
            lanes.append(lane)

    ego = _insert_ego(ego_lane)
    red_since = _run(lanes, ego_lane, ego, crossings=count, duration=duration)

    actors = []
    for lane in lanes:
        for vehicle, shape in enumerate(lane.shapes):
            trajectory = lane.trajectory(vehicle)
            if shape != _NO_SHAPE and len(trajectory.times) > 1:
                actors.append(Actor(shape, trajectory))
    times = np.arange(0.0, duration + 0.5, 0.2)
    for street in (main, *town.side_streets):
        actors += _strollers(rng, street, times, kinds["person"])
    for crossing, red in sorted(red_since.items()):
        actors += _crossing_people(rng, main, main.crossings[crossing], red, kinds["person"])
    return Traffic(ego_lane.trajectory(ego), tuple(shapes), tuple(actors))
