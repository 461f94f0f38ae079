"""What surfaces look like to a camera and to a LiDAR: textures with a near-infrared channel."""

from __future__ import annotations

import numpy as np

from haskd_training.simulation.textures import TEXTURE_SIZE, TextureAtlas, joints, pack, plain

CLASS_NAMES = (
    "road", "road_marking", "sidewalk", "building", "vegetation", "car", "large_vehicle",
    "two_wheeler", "person", "traffic_object", "other_static",
)  # fmt: skip
"""The simulation's classes; a class id is the index in this tuple, a raw label is that plus one."""

(
    ROAD, ROAD_MARKING, SIDEWALK, BUILDING, VEGETATION, CAR, LARGE_VEHICLE,
    TWO_WHEELER, PERSON, TRAFFIC_OBJECT, OTHER_STATIC,
) = range(len(CLASS_NAMES))  # fmt: skip

MATERIALS = (
    "asphalt", "marking", "paving", "concrete", "brick", "brick_windows", "plaster_windows",
    "glass_front", "shop_front", "plaster", "roof", "grass", "leaves", "bark", "paint", "glass",
    "rubber", "metal", "plastic", "cloth", "skin", "wood", "reflector",
)  # fmt: skip

(
    ASPHALT, MARKING, PAVING, CONCRETE, BRICK, BRICK_WINDOWS, PLASTER_WINDOWS,
    GLASS_FRONT, SHOP_FRONT, PLASTER, ROOF, GRASS, LEAVES, BARK, PAINT, GLASS,
    RUBBER, METAL, PLASTIC, CLOTH, SKIN, WOOD, REFLECTOR,
) = range(len(MATERIALS))  # fmt: skip

FLOOR_M = 3.2
"""Height of a storey and width of a window bay: one tile of the facade textures."""

# Per material: edge of its tile in m, colour (RGB), near-infrared reflectivity, and the strength of
# its fine noise and of its blotches (both relative to the colour).
_PLAIN = {
    "asphalt": (4.0, (0.36, 0.36, 0.37), 0.13, 0.15, 0.06),
    "marking": (4.0, (0.88, 0.87, 0.83), 0.55, 0.08, 0.16),
    "paving": (2.4, (0.53, 0.51, 0.48), 0.27, 0.07, 0.07),
    "concrete": (4.0, (0.58, 0.58, 0.56), 0.32, 0.06, 0.08),
    "brick": (1.6, (0.60, 0.35, 0.27), 0.33, 0.08, 0.06),
    "plaster": (4.0, (0.82, 0.79, 0.72), 0.45, 0.03, 0.06),
    "roof": (2.0, (0.42, 0.30, 0.27), 0.25, 0.10, 0.08),
    "grass": (4.0, (0.27, 0.38, 0.15), 0.46, 0.28, 0.16),
    "leaves": (1.6, (0.20, 0.34, 0.12), 0.46, 0.35, 0.22),
    "bark": (1.6, (0.33, 0.26, 0.20), 0.34, 0.25, 0.15),
    "paint": (4.0, (0.90, 0.90, 0.90), 0.48, 0.01, 0.03),
    "glass": (4.0, (0.16, 0.19, 0.22), 0.02, 0.02, 0.10),
    "rubber": (1.6, (0.09, 0.09, 0.09), 0.07, 0.05, 0.05),
    "metal": (4.0, (0.50, 0.52, 0.54), 0.40, 0.04, 0.05),
    "plastic": (4.0, (0.85, 0.85, 0.85), 0.42, 0.02, 0.04),
    "cloth": (1.6, (0.85, 0.85, 0.85), 0.40, 0.08, 0.12),
    "skin": (1.6, (0.78, 0.58, 0.47), 0.42, 0.02, 0.03),
    "wood": (1.6, (0.47, 0.33, 0.20), 0.38, 0.14, 0.10),
    "reflector": (4.0, (0.95, 0.95, 0.95), 1.60, 0.01, 0.02),
}

_GLASS_COLOR, _GLASS_REFLECTIVITY = np.array([0.20, 0.25, 0.31]), 0.02


def _plain(rng: np.random.Generator, name: str) -> np.ndarray:
    _, color, reflectivity, fine, blotches = _PLAIN[name]
    return plain(rng, color, reflectivity, fine, blotches)


def _windows(
    wall: np.ndarray, left: float, right: float, bottom: float, top: float, frame: float
) -> np.ndarray:
    """`wall` with one framed window; the edges are fractions of the tile, bottom to top."""
    texture: np.ndarray = wall.copy()

    def fill(x0: float, x1: float, y0: float, y1: float, value: np.ndarray) -> None:
        a, b, c, d = (round(edge * TEXTURE_SIZE) for edge in (x0, x1, y0, y1))
        texture[c:d, a:b] = value

    fill(left - frame, right + frame, bottom - frame, top + frame, np.array([0.8, 0.8, 0.78, 0.4]))
    glass = np.array([*_GLASS_COLOR, _GLASS_REFLECTIVITY])
    # The upper half of a pane mirrors more sky.
    fill(left, right, bottom, top, glass)
    fill(left, right, (bottom + top) / 2, top, glass * [1.5, 1.5, 1.5, 1.0])
    middle = (left + right) / 2
    fill(middle - frame / 3, middle + frame / 3, bottom, top, np.array([0.75, 0.75, 0.73, 0.4]))
    return texture


def _textures(rng: np.random.Generator) -> list[np.ndarray]:
    made = {name: _plain(rng, name) for name in _PLAIN}
    joints(made["paving"], 4, 4, 0.72, bond=False)
    joints(made["brick"], 16, 8, 1.3, bond=True)
    joints(made["roof"], 8, 8, 0.7, bond=True)
    joints(made["wood"], 8, 1, 0.55, bond=False)
    made["brick_windows"] = _windows(
        np.tile(made["brick"][::2, ::2], (2, 2, 1)), 0.28, 0.72, 0.28, 0.78, 0.03
    )
    made["plaster_windows"] = _windows(made["plaster"], 0.25, 0.75, 0.3, 0.8, 0.025)
    made["glass_front"] = _windows(made["concrete"], 0.05, 0.95, 0.12, 0.97, 0.02)
    made["shop_front"] = _windows(made["concrete"] * 0.8, 0.08, 0.92, 0.12, 0.72, 0.03)
    return [made[name] for name in MATERIALS]


def make_atlas(rng: np.random.Generator) -> TextureAtlas:
    """Textures of all materials, drawn with `rng`."""
    tile = [_PLAIN[name][0] if name in _PLAIN else FLOOR_M for name in MATERIALS]
    return pack(_textures(rng), tile)
