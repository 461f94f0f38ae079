"""Ray casting into the town and into everybody who moves through it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open3d as o3d

from haskd_training.simulation.casting import cast_rays, make_caster
from haskd_training.simulation.mesh import merge
from haskd_training.simulation.textures import TextureAtlas, surface_coordinates
from haskd_training.simulation.town import Town
from haskd_training.simulation.traffic import Actor, Traffic

_ACTOR_RANGE_M = 130.0
_SHADOW_RANGE_M = 45.0
_TIMETABLE_STEP_S = 0.5


@dataclass(frozen=True)
class Hits:
    """First hits of N rays.

    distance: [N] float32, m, inf where nothing. triangle: [N] int32, row of the scene's triangle
    tables, -1 where nothing. normal: [N, 3] float32, map frame, turned towards the ray's origin.
    texture_point: [N, 3] float32, the point in the frame that the texture sticks to, and
    texture_normal: [N, 3] float32 in that frame.
    """

    distance: np.ndarray
    triangle: np.ndarray
    normal: np.ndarray
    texture_point: np.ndarray
    texture_normal: np.ndarray


def _timetable(traffic: Traffic) -> np.ndarray:
    """[steps, actors, 2] m: roughly where everybody is, every `_TIMETABLE_STEP_S`."""
    times = np.arange(0.0, traffic.ego.times[-1] + 2 * _TIMETABLE_STEP_S, _TIMETABLE_STEP_S)
    return np.stack([actor.trajectory.at(times)[:, :2] for actor in traffic.actors], axis=1)


def _dot(columns: tuple[np.ndarray, ...], vector: np.ndarray) -> np.ndarray:
    """Scalar products of N vectors, given as columns, with one vector: faster than BLAS for 3."""
    x, y, z = (np.float32(value) for value in vector)
    products: np.ndarray = columns[0] * x + columns[1] * y + columns[2] * z
    return products


def _columns(vectors: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(vectors[:, axis]) for axis in range(3))


def turn_left(vectors: np.ndarray, angle: np.ndarray | float) -> np.ndarray:
    """Vectors [N, 3] turned about z by one angle or by [N] of them, rad; [N, 3] float32."""
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    x, y, z = vectors.T
    return np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=1, dtype=np.float32)


class Scene:
    """The town and its traffic, ready for rays.

    What stands is one mesh, in one acceleration structure. What moves is cast in its own frame:
    the rays that may hit it are transformed there, each with the pose of its own time, so that
    nothing is ever rebuilt and motion within a sweep is exact.

    label: [T] uint8, material: [T] uint8, tint: [T, 3] float32, shift: [T] float32 are the tables
    that `Hits.triangle` points into.
    """

    def __init__(self, town: Town, traffic: Traffic, atlas: TextureAtlas) -> None:
        everything = merge([town.mesh, *traffic.shapes])
        self.label, self.material = everything.label, everything.material
        self.tint, self.shift = everything.tint, everything.shift
        self.atlas = atlas
        self._normals = np.concatenate([mesh.normals() for mesh in (town.mesh, *traffic.shapes)])
        self._town = make_caster(town.mesh)
        self._shapes = [make_caster(shape) for shape in traffic.shapes]
        counts = [len(town.mesh.triangles)] + [len(shape.triangles) for shape in traffic.shapes]
        self._first = np.cumsum(counts)
        self._centres = [
            (shape.vertices.min(axis=0) + shape.vertices.max(axis=0)) / 2
            for shape in traffic.shapes
        ]
        self._radii = [
            float(np.linalg.norm(shape.vertices - centre, axis=1).max())
            for shape, centre in zip(traffic.shapes, self._centres)
        ]
        self._actors = traffic.actors
        self._timetable = _timetable(traffic)

    def _sphere(self, actor: Actor, time: float) -> tuple[np.ndarray, float]:
        """Centre [3] and radius of a sphere about the actor at `time`."""
        x, y, yaw = actor.trajectory.at(time)
        cx, cy, cz = self._centres[actor.shape]
        centre = np.array([x + cx * np.cos(yaw) - cy * np.sin(yaw),
                           y + cx * np.sin(yaw) + cy * np.cos(yaw),
                           actor.trajectory.z + cz])  # fmt: skip
        return centre, self._radii[actor.shape]

    def _near(self, point: np.ndarray, time: float, reach: float) -> list[Actor]:
        row = self._timetable[round(time / _TIMETABLE_STEP_S)]
        apart = np.hypot(row[:, 0] - point[0], row[:, 1] - point[1])
        return [
            self._actors[index]
            for index in np.flatnonzero(apart < reach)
            if self._actors[index].trajectory.exists_at(time)
        ]

    def _to_actor(
        self, actor: Actor, times: np.ndarray | float, points: np.ndarray, vectors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points and vectors [N, 3] of the map in the actor's frame, each at its own time."""
        pose = actor.trajectory.at(times)
        position = pose.copy()
        position[..., 2] = actor.trajectory.z
        return turn_left(points - position, -pose[..., 2]), turn_left(vectors, -pose[..., 2])

    def cast(
        self,
        origins: np.ndarray,
        directions: np.ndarray,
        times: np.ndarray | float,
        moved: float = 0.0,
    ) -> Hits:
        """First hits of rays.

        origins, directions: [N, 3] float32, map frame, m, unit directions; the origins lie close
        together. times: s, one for all or [N]. moved: m, how far anything or the origin moves over
        half of `times`.
        """
        distance, triangle = cast_rays(self._town, origins, directions)
        triangle = np.where(np.isfinite(distance), triangle, -1).astype(np.int32)
        hit = triangle >= 0
        texture_point = origins + np.where(hit, distance, 0)[:, None] * directions
        texture_normal = self._normals.take(triangle, axis=0)
        normal = texture_normal.copy()

        origin, time = origins[len(origins) // 2], float(np.mean(times))
        columns = _columns(directions)
        # All rays lie in a cone about their mean; what is outside of it needs no closer look.
        axis = np.array([column.mean() for column in columns])
        axis /= max(float(np.linalg.norm(axis)), 1e-6)
        opening = np.arccos(np.clip(_dot(columns, axis).min(), -1.0, 1.0))
        for actor in self._near(origin, time, _ACTOR_RANGE_M):
            centre, radius = self._sphere(actor, time)
            towards = centre - origin
            away, reach = float(np.linalg.norm(towards)), radius + moved
            half_angle = np.arcsin(reach / away) if away > reach else np.pi
            if np.arccos(np.clip(axis @ towards / away, -1.0, 1.0)) > opening + half_angle:
                continue
            rows = np.flatnonzero(_dot(columns, towards / away) >= np.cos(half_angle))
            rows = rows[distance[rows] > away - reach]
            if not len(rows):
                continue
            at = times[rows] if isinstance(times, np.ndarray) else times
            start, way = self._to_actor(actor, at, origins[rows], directions[rows])
            near, primitive = cast_rays(self._shapes[actor.shape], start, way)
            closer = near < distance[rows]
            rows, start, way, near = rows[closer], start[closer], way[closer], near[closer]
            distance[rows] = near
            triangle[rows] = self._first[actor.shape] + primitive[closer]
            texture_point[rows] = start + near[:, None] * way
            local = self._normals[triangle[rows]]
            texture_normal[rows] = local
            yaw = actor.trajectory.at(at[closer] if isinstance(at, np.ndarray) else at)[..., 2]
            normal[rows] = turn_left(local, yaw)

        facing = np.einsum("ij,ij->i", normal, directions)
        normal *= np.where(facing > 0, np.float32(-1), np.float32(1))[:, None]
        return Hits(distance, triangle, normal, texture_point, texture_normal)

    def texels(self, hits: Hits, rows: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        """[len(rows), 4] uint8: colour (RGB) and near-infrared reflectivity * 100 at some hits.

        footprint: [len(rows)] float32, m.
        """
        triangle = hits.triangle.take(rows)
        u, v = surface_coordinates(
            hits.texture_normal.take(rows, axis=0), hits.texture_point.take(rows, axis=0)
        )
        u += self.shift.take(triangle)
        return self.atlas.sample(self.material.take(triangle), u, v, footprint)

    def in_shadow(self, points: np.ndarray, sun: np.ndarray, time: float) -> np.ndarray:
        """[N] bool: whether something hides the sun from `points` [N, 3] float32 at `time`.

        sun: [3] float32, unit vector to the sun. Near the points' middle, what moves casts its
        shadow too.
        """
        rays = np.concatenate([points, np.broadcast_to(sun, points.shape)], 1, dtype=np.float32)
        shadow: np.ndarray = self._town.test_occlusions(o3d.core.Tensor.from_numpy(rays)).numpy()
        # Seen along the sun's rays, a shadow lies right behind what casts it.
        across = np.cross(sun, [0.0, 0.0, 1.0])
        axes = np.stack([across / np.linalg.norm(across), np.cross(sun, across)]).astype(np.float32)
        axes[1] /= np.linalg.norm(axes[1])
        columns = _columns(points)
        seen = [_dot(columns, axis) for axis in axes]
        for actor in self._near(points[len(points) // 2], time, _SHADOW_RANGE_M):
            centre, radius = self._sphere(actor, time)
            near = [np.abs(s - axis @ centre) < radius for s, axis in zip(seen, axes)]
            rows = np.flatnonzero(near[0] & near[1] & ~shadow)
            if len(rows):
                start, way = self._to_actor(actor, time, points[rows], rays[rows, 3:])
                shadow[rows] = np.isfinite(cast_rays(self._shapes[actor.shape], start, way)[0])
        return shadow
