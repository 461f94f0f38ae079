"""The camera's way through all rooms of a flat: where it is, and where it looks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial.transform import Rotation

from haskd_training.simulation.indoor.config import FlatConfig
from haskd_training.simulation.indoor.flat import Flat
from haskd_training.simulation.indoor.floor_grid import CELL_M

LINK_TO_OPTICAL = np.array(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
"""The camera's optical frame (x right, y down, z ahead) in `camera_link` (x ahead, z up)."""

_SPEED_M_S, _TURN_RAD_S = 0.6, 1.3
_STEP_S = 0.05
_HAND_M, _ROBOT_M = 1.5, 1.1
_DRIFT_S = 1.5


@dataclass(frozen=True)
class Walk:
    """The camera over time.

    times: [K] float64, s. x, y, z: [K], m in the map; yaw, pitch (positive: down), roll: [K], rad.
    """

    times: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray

    def _at(self, time: float, name: str) -> float:
        return float(np.interp(time, self.times, getattr(self, name)))

    def base(self, time: float) -> np.ndarray:
        """[4, 4] T_map_base: on the floor below the camera, upright, x where it looks."""
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("z", self._at(time, "yaw")).as_matrix()
        pose[:2, 3] = self._at(time, "x"), self._at(time, "y")
        return pose

    def link(self, time: float) -> np.ndarray:
        """[4, 4] T_base_link: the camera's own pose against that."""
        pose = np.eye(4)
        angles = [self._at(time, "pitch"), self._at(time, "roll")]
        pose[:3, :3] = Rotation.from_euler("YX", angles).as_matrix()
        pose[2, 3] = self._at(time, "z")
        return pose

    def optical(self, time: float) -> np.ndarray:
        """[4, 4] T_map_optical."""
        pose: np.ndarray = self.base(time) @ self.link(time) @ LINK_TO_OPTICAL
        return pose

    def drifted(self, rng: np.random.Generator, config: FlatConfig) -> Walk:
        """The walk as a localisation has it that errs; a robot's errs in the plane alone."""
        knots = np.arange(self.times[0], self.times[-1] + 2 * _DRIFT_S, _DRIFT_S)
        metres, angle = config.pose_noise_m, np.deg2rad(config.pose_noise_deg)
        sizes = {"x": metres, "y": metres, "yaw": angle}
        if config.carrier == "hand":
            sizes |= {"z": metres, "pitch": angle, "roll": angle}
        off = rng.normal(size=(len(sizes), len(knots)))
        return replace(
            self,
            **{
                name: getattr(self, name) + size * np.interp(self.times, knots, row)
                for (name, size), row in zip(sizes.items(), off)
            },
        )


def _stations(flat: Flat) -> np.ndarray:
    """[K, 2] int cells (row, column) where somebody stops to look around: one to three a room."""
    walkable, clearance = flat.grid.walkable(), flat.grid.clearance()
    chosen = []
    for number, room in enumerate(flat.plan.rooms):
        cells = np.argwhere(walkable & (flat.grid.room == number))
        near = clearance[cells[:, 0], cells[:, 1]]
        wide = near > min(0.45, float(near.max()) - 0.01)
        cells, near = cells[wide], near[wide]
        first = cells[np.argmax(near)]
        mine = [first]
        for _ in range(int(room.area > 12) + int(room.area > 22)):
            apart = np.min([np.hypot(*(cells - one).T) for one in mine], axis=0) * CELL_M
            best = np.argmax(apart + np.minimum(near, 0.6))
            if apart[best] > 1.2:
                mine.append(cells[best])
        chosen += mine
    return np.array(chosen)


def _route(flat: Flat, stations: np.ndarray) -> list[np.ndarray]:
    """Paths [K, 2] in m from each station to the next, nearest first."""
    walkable, clearance = flat.grid.walkable(), flat.grid.clearance()
    number = np.full(walkable.shape, -1)
    cells = np.argwhere(walkable)
    number[walkable] = np.arange(len(cells))
    starts, ends, costs = [], [], []
    for row, column in ((0, 1), (1, 0), (1, 1), (1, -1)):
        to = cells + np.array([row, column])
        there = walkable[to[:, 0], to[:, 1]]
        # The middle between things is the better way.
        cost = np.hypot(row, column) * (1.0 + 0.15 / clearance[cells[there, 0], cells[there, 1]])
        starts.append(np.flatnonzero(there))
        ends.append(number[to[there, 0], to[there, 1]])
        costs.append(cost)
    graph = csr_matrix(
        (np.concatenate(costs), (np.concatenate(starts), np.concatenate(ends))),
        shape=(len(cells), len(cells)),
    )
    nodes = number[stations[:, 0], stations[:, 1]]
    away, before = dijkstra(graph, directed=False, indices=nodes, return_predecessors=True)
    away = away[:, nodes]
    here, left, paths = 0, set(range(1, len(nodes))), []
    while left:
        there = min(left, key=lambda one: away[here, one])
        node, path = nodes[there], [nodes[there]]
        while node != nodes[here]:
            node = before[here, node]
            path.append(node)
        metres = flat.grid.origin + (cells[path[::-1]][:, ::-1] + 0.5) * CELL_M
        paths.append(_smooth(metres))
        left.remove(there)
        here = there
    return paths


def _smooth(path: np.ndarray) -> np.ndarray:
    """A path of cells without its corners; its ends stay."""
    if len(path) < 3:
        return path
    smooth: np.ndarray = gaussian_filter1d(path, 2.5, axis=0, mode="nearest")
    smooth[[0, -1]] = path[[0, -1]]
    return smooth


def _headings(path: np.ndarray, yaw: float) -> np.ndarray:
    """[K] rad along a path, without jumps from `yaw` on."""
    ahead = np.minimum(np.arange(len(path)) + 8, len(path) - 1)
    back = np.maximum(ahead - 16, 0)
    step = path[ahead] - path[back]
    turned: np.ndarray = np.unwrap(np.r_[yaw, np.arctan2(step[:, 1], step[:, 0])])
    return turned[1:]


def make_walk(rng: np.random.Generator, flat: Flat, config: FlatConfig) -> Walk:
    """A walk through all rooms of as many seconds as the frames take: at each stop once around, and
    on the way from side to side."""
    stations = _stations(flat)
    route = _route(flat, stations)
    first = flat.grid.origin + (stations[0][::-1] + 0.5) * CELL_M
    yaw = float(rng.uniform(-np.pi, np.pi))
    # Seconds, x, y, yaw, one after another.
    track: list[np.ndarray] = []
    time = 0.0

    def add(duration: float, places: np.ndarray, yaws: np.ndarray) -> None:
        nonlocal time
        times = time + duration * (np.arange(len(yaws)) + 1) / len(yaws)
        track.append(np.column_stack([times, np.broadcast_to(places, (len(yaws), 2)), yaws]))
        time += duration

    here = first
    for path in [*route, None]:
        turn = 2 * np.pi * rng.choice([-1.0, 1.0])
        if path is not None and len(path) > 1:
            onward = _headings(path, yaw)
            turn += onward[0] - yaw
        add(abs(turn) / _TURN_RAD_S, here[None], yaw + turn * np.linspace(0, 1, 64))
        yaw += turn
        if path is not None and len(path) > 1:
            onward = _headings(path, yaw)
            steps = np.hypot(*np.diff(path, axis=0).T)
            swing = 0.6 * np.sin(np.cumsum(np.r_[0.0, steps]) * 2.5) * rng.choice([-1, 1])
            add(float(steps.sum()) / _SPEED_M_S, path, onward + swing)
            yaw, here = float(onward[-1] + swing[-1]), path[-1]
    rows = np.concatenate(track)
    duration = config.frames / config.rate_hz
    times = np.arange(-_STEP_S, duration + 2 * _STEP_S, _STEP_S)
    # A longer recording is a slower walk.
    x, y, yaws = (
        np.interp(times / duration * rows[-1, 0], rows[:, 0], column) for column in rows[:, 1:].T
    )
    slower = duration / rows[-1, 0]
    width = max(0.25 * slower / _STEP_S, 1e-3)
    yaws = gaussian_filter1d(yaws, width, mode="nearest")
    return Walk(times, x, y, *_held(rng, config, times / slower, yaws))


def _held(
    rng: np.random.Generator, config: FlatConfig, times: np.ndarray, yaw: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Height, yaw, pitch and roll of the camera as it is carried."""
    if config.carrier == "robot":
        still = np.zeros_like(times)
        return still + _ROBOT_M, yaw, still, still
    phases = rng.uniform(0, 2 * np.pi, 4)
    slow, quick = 2 * np.pi / 11.0, 2 * np.pi / 4.3
    height = _HAND_M + 0.1 * np.sin(slow * times + phases[0]) + 0.01 * np.sin(9 * times)
    # From 40 degrees down to 24 up.
    pitch = np.deg2rad(8.0 + 32.0 * np.sin(quick * times + phases[1]))
    roll = np.deg2rad(3.0) * np.sin(slow * 1.7 * times + phases[2])
    return height, yaw + 0.02 * np.sin(3 * times + phases[3]), pitch, roll
