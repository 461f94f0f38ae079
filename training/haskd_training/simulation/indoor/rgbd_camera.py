"""An RGB-D camera: colour, depth and classes of every pixel, by casting one ray for each."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from haskd_training.simulation.casting import cast_rays, make_caster
from haskd_training.simulation.indoor.config import FlatConfig
from haskd_training.simulation.indoor.flat import Flat
from haskd_training.simulation.indoor.kinds import CLASS_OF_KIND, NO_CLASS
from haskd_training.simulation.indoor.surfaces import GLOW
from haskd_training.simulation.textures import TextureAtlas, surface_coordinates

NO_THING = -1
"""What an image of things holds where the camera sees nothing."""

_AMBIENT = np.array([0.46, 0.47, 0.49], np.float32)
_MEAN_GREY = 118.0
# Depths of neighbours that differ by more than this share of the depth are an edge.
_EDGE = 0.04
# Below this reflectivity the camera gets too little of its own light back, mostly.
_DARK = 0.12
_BAND = 16384
"""Pixels that are shaded at once: their arrays stay in a core's cache."""


@dataclass(frozen=True)
class RgbdFrame:
    """What the camera sees at one moment; all images [H, W].

    color: [H, W, 3] uint8 RGB. depth: uint16, mm along the optical axis, 0 where not measured.
    classes: uint8 class ids, `NO_CLASS` where there is nothing. thing: int32, number of the thing
    in the flat, `NO_THING` where there is nothing. exact: float32, the true depth in m.
    """

    color: np.ndarray
    depth: np.ndarray
    classes: np.ndarray
    thing: np.ndarray
    exact: np.ndarray


def intrinsics(config: FlatConfig) -> np.ndarray:
    """[3, 3] K of both images, px; pixel centres at whole numbers."""
    width, height = config.image_width, config.image_height
    focal = width / 2 / np.tan(np.deg2rad(config.field_of_view_deg / 2))
    return np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0, 0, 1.0]])


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N] scalar products of vectors [3, N]."""
    products: np.ndarray = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return products


class RgbdCamera:
    """A camera in a flat; depth is registered to colour, neither is distorted."""

    def __init__(self, flat: Flat, atlas: TextureAtlas, config: FlatConfig) -> None:
        self.K = intrinsics(config)
        self._flat, self._atlas, self._config = flat, atlas, config
        self._caster = make_caster(flat.mesh)
        # Columns first: numpy is quick along the last axis.
        self._normals = np.ascontiguousarray(flat.mesh.normals().T)
        self._tint = np.ascontiguousarray(flat.mesh.tint.T)
        self._room = flat.room_of_thing[flat.thing]
        self._class = CLASS_OF_KIND[flat.mesh.label]
        u, v = np.meshgrid(np.arange(config.image_width), np.arange(config.image_height))
        # A ray's z is 1: its length to a hit is the depth there.
        plane = ((u - self.K[0, 2]) / self.K[0, 0], (v - self.K[1, 2]) / self.K[1, 1])
        self._rays = np.stack([*plane, np.ones(u.shape)]).reshape(3, -1).astype(np.float32)

    def render(self, T_map_optical: np.ndarray, rng: np.random.Generator) -> RgbdFrame:
        """What is seen from a pose, [4, 4]."""
        shape = (self._config.image_height, self._config.image_width)
        directions = T_map_optical[:3, :3].astype(np.float32) @ self._rays
        origin = T_map_optical[:3, 3].astype(np.float32)
        origins = np.broadcast_to(origin, directions.T.shape)
        exact, triangle = cast_rays(self._caster, origins, directions.T)
        nothing = ~np.isfinite(exact)
        triangle[nothing] = 0
        color = np.empty((3, len(exact)), np.float32)
        reflected = np.empty(len(exact), np.float32)
        for first in range(0, len(exact), _BAND):
            band = slice(first, first + _BAND)
            color[:, band], reflected[band] = self._shade(
                origin, directions[:, band], exact[band], triangle[band]
            )
        classes, thing = self._class.take(triangle), self._flat.thing.take(triangle)
        classes[nothing], thing[nothing], color[:, nothing] = NO_CLASS, NO_THING, 0
        exact = exact.reshape(shape)
        return RgbdFrame(
            self._exposed(color.reshape(3, *shape), rng),
            self._measured(exact, reflected.reshape(shape), rng),
            classes.reshape(shape),
            thing.reshape(shape),
            exact,
        )

    def _shade(
        self, origin: np.ndarray, way: np.ndarray, depth: np.ndarray, triangle: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Colour [3, N] before exposure, and how much near-infrared light comes back, [N]."""
        lights, tint = self._flat.lights, self._tint.take(triangle, axis=1)
        normal = self._normals.take(triangle, axis=1)
        slope = _dot(normal, way)
        normal *= np.where(slope > 0, np.float32(-1), np.float32(1))
        slant = np.maximum(np.abs(slope) / np.sqrt(_dot(way, way)), np.float32(0.05))
        point = origin[:, None] + np.where(np.isfinite(depth), depth, 1) * way
        u, v = surface_coordinates(normal.T, point.T)
        footprint = depth / np.sqrt(slant) * np.float32(1.0 / self.K[0, 0])
        material = self._flat.mesh.material.take(triangle)
        texel = self._atlas.sample(material, u, v, footprint)
        room = self._room.take(triangle)
        # What is upright gets less of the light from all sides than what faces up.
        around = np.float32(0.85) + np.float32(0.15) * normal[2]
        light = around * _AMBIENT[:, None]
        for source in range(2):
            towards = lights.position[source].take(room, axis=1)
            towards -= point
            square = _dot(towards, towards)
            facing = np.maximum(_dot(towards, normal), np.float32(0))
            facing /= np.sqrt(square) * (np.float32(0.5) + np.float32(0.12) * square)
            light += facing * lights.color[source].take(room, axis=1)
        np.maximum(light, GLOW.take(material), out=light)
        light *= tint
        for channel in range(3):
            light[channel] *= texel[:, channel]
        shade = np.minimum(np.float32(0.3) + np.float32(0.7) * tint[1], np.float32(1))
        return light, texel[:, 3] * np.float32(0.01) * shade

    def _exposed(self, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[H, W, 3] uint8 of [3, H, W]: exposed automatically, a little off, with noise."""
        mean = max(float(color[:, ::4, ::4].mean()), 1.0)
        gain = np.clip((_MEAN_GREY / mean) ** 0.8, 0.5, 2.0) * np.exp(rng.normal(0, 0.05))
        image = color * np.float32(gain)
        if self._config.image_noise:
            image += np.float32(self._config.image_noise) * rng.standard_normal(
                image.shape, np.float32
            )
        np.clip(image, 0, 255, out=image)
        return np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 0))

    def _measured(
        self, exact: np.ndarray, reflected: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """[H, W] uint16 mm: noise that grows with the square of depth, holes at edges, on what is
        seen at a flat angle, and on panes and screens."""
        config = self._config
        height, width = exact.shape
        known = np.where(np.isfinite(exact), exact, 0).astype(np.float32)
        # Matched in windows: neighbours err alike.
        coarse = rng.standard_normal(((height + 1) // 2, (width + 1) // 2), np.float32)
        noise = np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)[:height, :width]
        depth = known + np.float32(config.depth_noise_m) * noise * known**2
        window = np.ones((3, 3), np.uint8)
        edge = cv2.dilate(known, window) - cv2.erode(known, window) > np.float32(_EDGE) * known
        lost = edge & (rng.random(exact.shape, np.float32) < config.depth_drop_rate)
        dark = np.float32(0.9) * np.clip(1 - reflected / np.float32(_DARK), 0, 1)
        blotches = cv2.resize(
            rng.random((height // 16 + 2, width // 16 + 2), np.float32), (width, height)
        )
        lost |= blotches < dark
        lost |= (known < config.min_range_m) | (known > config.max_range_m)
        millimetres: np.ndarray = np.round(depth * 1000)
        return np.where(lost, 0, np.clip(millimetres, 0, 65535)).astype(np.uint16)
