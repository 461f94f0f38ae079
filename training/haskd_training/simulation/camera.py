"""Cameras: lens, textures, sunlight, shadows, sky and noise, by casting one ray per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from haskd_training.simulation.config import CameraName, SimulationConfig
from haskd_training.simulation.scene import Scene, turn_left
from haskd_training.simulation.traffic import Trajectory

NO_CLASS = 255
"""What a class image holds where the camera sees the sky."""

_HORIZONTAL_FIELD_DEG = 90.0
_DISTORTION = (-0.06, 0.012, 0.0006, -0.0004, 0.0)
_AMBIENT = np.array([0.50, 0.55, 0.64], np.float32)
_SUNLIGHT = np.array([0.98, 0.90, 0.76], np.float32)
_HAZE = np.array([198, 208, 220], np.float32)
_ZENITH = np.array([92, 140, 205], np.float32)
_HAZE_M = 350.0

# Position in base_link (x, y, z m) and direction (yaw, degrees to the left) of each camera.
_MOUNTS: dict[CameraName, tuple[float, float, float, float]] = {
    "front": (0.9, 0.0, 1.55, 0.0),
    "front_left": (0.8, 0.35, 1.55, 35.0),
    "front_right": (0.8, -0.35, 1.55, -35.0),
    "left": (0.3, 0.5, 1.55, 90.0),
    "right": (0.3, -0.5, 1.55, -90.0),
    "back": (-0.9, 0.0, 1.55, 180.0),
}

# Columns: the optical axes (x right, y down, z forward) in a frame x forward, y left, z up.
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class SimulatedCamera:
    """A calibrated camera on the vehicle.

    K: [3, 3] float64, px; pixel centres at whole numbers. distortion: [5] float64, plumb_bob (k1
    k2 p1 p2 k3). T_base_camera: [4, 4] float64, its optical frame in base_link. directions:
    [H * W, 3] float32, unit rays in base_link's axes, row by row. sky: [H * W, 3] float32, the
    sky's colour (0..255) along them.
    """

    name: CameraName
    width: int
    height: int
    K: np.ndarray
    distortion: np.ndarray
    T_base_camera: np.ndarray
    directions: np.ndarray
    sky: np.ndarray


@dataclass(frozen=True)
class RenderedImage:
    """image: [H, W, 3] uint8 RGB. class_image: [H, W] uint8 class id, `NO_CLASS` for the sky."""

    image: np.ndarray
    class_image: np.ndarray


def make_camera(name: CameraName, width: int, height: int) -> SimulatedCamera:
    """A camera with a 90 degree horizontal field and a little distortion."""
    focal = width / 2 / np.tan(np.deg2rad(_HORIZONTAL_FIELD_DEG / 2))
    K = np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
    distortion = np.array(_DISTORTION)
    x, y, z, yaw_deg = _MOUNTS[name]
    yaw = np.deg2rad(yaw_deg)
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1.0]])
    T_base_camera = np.eye(4)
    T_base_camera[:3, :3] = turn @ _OPTICAL
    T_base_camera[:3, 3] = x, y, z

    u, v = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.column_stack([(u.ravel() - K[0, 2]) / focal, (v.ravel() - K[1, 2]) / focal])
    plane = _undistort(pixels, distortion)
    rays = np.column_stack([plane, np.ones(len(plane))])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    directions = (rays @ T_base_camera[:3, :3].T).astype(np.float32)
    sky = _HAZE + np.sqrt(np.maximum(directions[:, 2:], 0)) * (_ZENITH - _HAZE)
    return SimulatedCamera(name, width, height, K, distortion, T_base_camera, directions, sky)


def _undistort(distorted: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """Ideal image points [N, 2] (z = 1) of distorted ones, by fixed-point iteration.

    The plumb_bob model (see CameraInfo) bends an ideal point (x, y), r^2 = x^2 + y^2, to
    (x, y) (1 + k1 r^2 + k2 r^4 + k3 r^6)
    + (2 p1 x y + p2 (r^2 + 2 x^2), p1 (r^2 + 2 y^2) + 2 p2 x y).
    """
    k1, k2, p1, p2, k3 = distortion
    ideal = distorted
    for _ in range(40):
        x, y = ideal.T
        r2 = x * x + y * y
        radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
        tangential = np.column_stack(
            [2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y]
        )
        ideal = (distorted - tangential) / radial[:, None]
    return ideal


def sun_direction(rng: np.random.Generator) -> np.ndarray:
    """[3] float32 unit vector to the sun: any azimuth, 25 to 60 degrees high."""
    azimuth, height = rng.uniform(-np.pi, np.pi), np.deg2rad(rng.uniform(25.0, 60.0))
    return np.array(
        [np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)],
        np.float32,
    )


def render(
    scene: Scene,
    ego: Trajectory,
    camera: SimulatedCamera,
    *,
    time: float,
    sun: np.ndarray,
    image_noise: float,
    rng: np.random.Generator,
) -> RenderedImage:
    """What `camera` sees at `time` s, all of it at once (a global shutter).

    image_noise: standard deviation in grey levels.
    """
    x, y, yaw = ego.at(time)
    directions = turn_left(camera.directions, yaw)
    origin = turn_left(camera.T_base_camera[None, :3, 3], yaw)[0] + np.array(
        [x, y, 0.0], np.float32
    )
    hits = scene.cast(np.broadcast_to(origin, directions.shape), directions, time)

    rows = np.flatnonzero(hits.triangle >= 0)
    distance, triangle = hits.distance.take(rows), hits.triangle.take(rows)
    normal, way = hits.normal.take(rows, axis=0), directions.take(rows, axis=0)
    # One pixel's width on the surface, stretched (though less than fully) by slant.
    slant = np.maximum(-np.einsum("ij,ij->i", normal, way), np.float32(0.05))
    footprint = distance / np.sqrt(slant) * np.float32(1.0 / camera.K[0, 0])
    texel = scene.texels(hits, rows, footprint)
    tint = scene.tint.take(triangle, axis=0)

    lambert = np.maximum(normal[:, 0] * sun[0] + normal[:, 1] * sun[1] + normal[:, 2] * sun[2], 0)
    lit = np.flatnonzero(lambert > 0)
    points = origin + distance[lit, None] * way.take(lit, axis=0)
    points += np.float32(0.02) * normal.take(lit, axis=0)
    lambert[lit[scene.in_shadow(points, sun, time)]] = 0
    # Upright surfaces see half of the sky, what faces down none.
    sky_share = np.float32(0.7) + np.float32(0.3) * normal[:, 2]
    haze = 1 - np.exp(distance * np.float32(-1.0 / _HAZE_M))
    image = camera.sky.copy()
    for channel in range(3):
        light = sky_share * _AMBIENT[channel] + lambert * _SUNLIGHT[channel]
        color = texel[:, channel] * tint[:, channel] * light
        image[rows, channel] = color + haze * (_HAZE[channel] - color)
    if image_noise:
        image += np.float32(image_noise) * rng.standard_normal(image.shape, np.float32)
    class_image = np.full(len(image), NO_CLASS, np.uint8)
    class_image[rows] = scene.label.take(triangle)
    shape = (camera.height, camera.width)
    return RenderedImage(
        np.clip(image, 0, 255).astype(np.uint8).reshape(*shape, 3), class_image.reshape(shape)
    )


def make_cameras(config: SimulationConfig) -> tuple[SimulatedCamera, ...]:
    """The configured cameras."""
    return tuple(
        make_camera(name, config.image_width, config.image_height) for name in config.cameras
    )
