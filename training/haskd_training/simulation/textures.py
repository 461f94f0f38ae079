"""Textures with a near-infrared channel: how they are drawn, and all of a scene's in one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

TEXTURE_SIZE = 128


def noise(rng: np.random.Generator, cell: int) -> np.ndarray:
    """[S, S] tileable noise of zero mean and unit deviation, with features of `cell` texels."""
    cells = TEXTURE_SIZE // cell
    coarse = np.tile(rng.normal(size=(cells, cells)), (3, 3)).astype(np.float32)
    fine = cv2.resize(coarse, (3 * TEXTURE_SIZE,) * 2, interpolation=cv2.INTER_CUBIC)
    fine = fine[TEXTURE_SIZE : 2 * TEXTURE_SIZE, TEXTURE_SIZE : 2 * TEXTURE_SIZE]
    normalised: np.ndarray = (fine - fine.mean()) / fine.std()
    return normalised


def plain(
    rng: np.random.Generator,
    color: Sequence[float],
    reflectivity: float,
    fine: float,
    blotches: float,
) -> np.ndarray:
    """[S, S, 4] texture of one colour (RGB, 0..1) and near-infrared reflectivity.

    fine, blotches: strength of its fine noise and of its blotches, relative to the colour.
    """
    factor = 1.0 + fine * noise(rng, 1) + blotches * noise(rng, 16)
    texture: np.ndarray = np.clip(factor, 0.15, 2.0)[..., None] * np.array([*color, reflectivity])
    return texture


def joints(texture: np.ndarray, rows: int, columns: int, shade: float, bond: bool) -> None:
    """Darken (or lighten) the joints of a grid of slabs or bricks; `bond` staggers the rows."""
    step_y, step_x = TEXTURE_SIZE // rows, TEXTURE_SIZE // columns
    for row in range(rows):
        texture[row * step_y] *= shade
        start = step_x // 2 if bond and row % 2 else 0
        texture[row * step_y : (row + 1) * step_y, start::step_x] *= shade


@dataclass(frozen=True)
class TextureAtlas:
    """Every material's texture at every mip level in one array, RGB and near-infrared.

    texels: [K] uint32, four bytes each: R, G, B (0..255) and reflectivity * 100.
    first: [M, L] int32, where a level begins. tile: [M] float32, edge of a tile in m.
    """

    texels: np.ndarray
    first: np.ndarray
    tile: np.ndarray

    def sample(
        self, material: np.ndarray, u: np.ndarray, v: np.ndarray, footprint: np.ndarray
    ) -> np.ndarray:
        """[N, 4] uint8 texels at (u, v) in m.

        material: [N] uint8. footprint: [N] float32, m, the width of what one pixel sees; it picks
        the mip level, so that distant textures don't flicker.
        """
        tile = self.tile.take(material)
        levels = self.first.shape[1]
        texels_across = footprint * (np.float32(TEXTURE_SIZE) / tile)
        level = np.clip(np.frexp(texels_across)[1], 0, levels - 1).astype(np.int32)
        size = np.right_shift(np.int32(TEXTURE_SIZE), level)
        scale = size.astype(np.float32) / tile
        column = np.floor(u * scale).astype(np.int32) & (size - 1)
        row = np.floor(v * scale).astype(np.int32) & (size - 1)
        index = self.first[material, level] + row * size + column
        sampled: np.ndarray = self.texels.take(index).view(np.uint8).reshape(-1, 4)
        return sampled


def surface_coordinates(normal: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where on a texture N points [N, 3] lie, by the normals [N, 3] there: u and v, [N], in m.

    Textures lie on a surface by its direction: on what is level by x and y, on what is upright by
    the way along it and by height.
    """
    level = np.abs(normal[:, 2]) > np.float32(0.7)
    along = normal[:, 0] * point[:, 1] - normal[:, 1] * point[:, 0]
    return np.where(level, point[:, 0], along), np.where(level, point[:, 1], point[:, 2])


def pack(textures: Sequence[np.ndarray], tiles: Sequence[float]) -> TextureAtlas:
    """The atlas of textures [S, S, 4] in their order; tiles: edge of each one's tile in m."""
    levels = TEXTURE_SIZE.bit_length()
    scale = np.array([255.0, 255.0, 255.0, 100.0])
    parts, first, position = [], [], 0
    for texture in textures:
        starts = []
        for level in range(levels):
            size = TEXTURE_SIZE >> level
            small = texture.reshape(size, 1 << level, size, 1 << level, 4).mean(axis=(1, 3))
            parts.append(np.clip(small * scale, 0, 255).astype(np.uint8).reshape(-1))
            starts.append(position)
            position += size * size
        first.append(starts)
    return TextureAtlas(
        np.concatenate(parts).view(np.uint32),
        np.array(first, np.int32),
        np.array(tiles, np.float32),
    )
