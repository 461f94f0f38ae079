"""What surfaces in a flat look like, and how much of a depth camera's light they send back."""

from __future__ import annotations

import numpy as np

from haskd_training.simulation.textures import TEXTURE_SIZE, TextureAtlas, joints, pack, plain

# Per material: edge of its tile in m, colour (RGB), near-infrared reflectivity, and the strength of
# its fine noise and of its blotches (both relative to the colour).
_PLAIN: dict[str, tuple[float, tuple[float, float, float], float, float, float]] = {
    "paint": (2.0, (0.90, 0.90, 0.90), 0.60, 0.008, 0.015),
    "wallpaper": (1.0, (0.86, 0.86, 0.86), 0.60, 0.03, 0.02),
    "planks": (1.6, (0.62, 0.46, 0.31), 0.45, 0.05, 0.06),
    "tiles": (1.2, (0.80, 0.80, 0.78), 0.40, 0.02, 0.04),
    "carpet": (1.0, (0.70, 0.70, 0.70), 0.45, 0.16, 0.05),
    "wood": (0.8, (0.60, 0.43, 0.27), 0.45, 0.04, 0.08),
    "cloth": (1.0, (0.85, 0.85, 0.85), 0.50, 0.10, 0.06),
    "leather": (1.0, (0.85, 0.85, 0.85), 0.25, 0.03, 0.08),
    "metal": (4.0, (0.62, 0.63, 0.65), 0.30, 0.02, 0.03),
    "plastic": (4.0, (0.88, 0.88, 0.88), 0.50, 0.01, 0.02),
    "enamel": (4.0, (0.94, 0.94, 0.94), 0.35, 0.005, 0.01),
    "paper": (1.0, (0.92, 0.92, 0.90), 0.65, 0.02, 0.02),
    "rug": (0.8, (0.80, 0.80, 0.80), 0.45, 0.14, 0.05),
    "leaves": (1.0, (0.22, 0.40, 0.14), 0.50, 0.25, 0.15),
    "view": (4.0, (0.75, 0.85, 0.98), 0.03, 0.01, 0.02),
    "screen": (4.0, (0.06, 0.06, 0.07), 0.05, 0.01, 0.03),
    "bulb": (4.0, (1.00, 0.97, 0.88), 0.40, 0.0, 0.0),
}

MATERIALS = tuple(_PLAIN)

(
    PAINT, WALLPAPER, PLANKS, TILES, CARPET, WOOD, CLOTH, LEATHER, METAL, PLASTIC, ENAMEL, PAPER,
    RUG_PILE, LEAVES, VIEW, SCREEN, BULB,
) = range(len(MATERIALS))  # fmt: skip

GLOW = np.zeros(len(MATERIALS), np.float32)
"""[materials] float32: least share of light, for what shines by itself."""
GLOW[[VIEW, BULB]] = 1.0, 1.2


def _view(texture: np.ndarray, rng: np.random.Generator) -> None:
    """Trees and roofs below the sky; the first row is the floor's height."""
    columns = np.arange(TEXTURE_SIZE)
    skyline = np.full(TEXTURE_SIZE, 1.35)
    for wave in (1, 2, 5, 9):
        skyline += rng.normal(0, 0.25 / wave) * np.sin(
            2 * np.pi * wave * columns / TEXTURE_SIZE + rng.uniform(0, 6)
        )
    height = 4.0 * np.arange(TEXTURE_SIZE) / TEXTURE_SIZE
    below = height[:, None] < skyline
    texture[below, :3] *= np.array([0.42, 0.55, 0.34])


def _textures(rng: np.random.Generator) -> list[np.ndarray]:
    made = {
        name: plain(rng, color, reflectivity, fine, blotches)
        for name, (_, color, reflectivity, fine, blotches) in _PLAIN.items()
    }
    made["wallpaper"][:, ::16, :3] *= 0.82
    made["wallpaper"][:, 1::16, :3] *= 0.9
    # A shade of its own for each board.
    boards = np.repeat(rng.uniform(0.82, 1.12, 8), TEXTURE_SIZE // 8)
    made["planks"][..., :3] *= boards[:, None, None]
    joints(made["planks"], 8, 2, 0.6, bond=True)
    grain = 1.0 + 0.10 * np.sin(np.arange(TEXTURE_SIZE) * 2 * np.pi * 6 / TEXTURE_SIZE)
    made["wood"][..., :3] *= grain[:, None, None]
    joints(made["tiles"], 4, 4, 0.7, bond=False)
    made["cloth"][::4, :, :3] *= 0.93
    made["cloth"][:, ::4, :3] *= 0.93
    squares = np.add.outer(np.arange(TEXTURE_SIZE) // 16, np.arange(TEXTURE_SIZE) // 16) % 2
    made["rug"][..., :3] *= np.where(squares, 1.15, 0.62)[..., None]
    _view(made["view"], rng)
    return [made[name] for name in MATERIALS]


def make_atlas(rng: np.random.Generator) -> TextureAtlas:
    """Textures of all materials, drawn with `rng`."""
    return pack(_textures(rng), [about[0] for about in _PLAIN.values()])


def shade(rng: np.random.Generator, *choices: tuple[float, float, float]) -> np.ndarray:
    """[3] one of some colours, a little lighter or darker."""
    return np.array(choices[rng.integers(len(choices))]) * rng.uniform(0.85, 1.1)


def wood_shade(rng: np.random.Generator) -> np.ndarray:
    """[3] factor on the wood's colour, from birch to wenge, or painted white or grey."""
    return shade(
        rng, (1.35, 1.45, 1.6), (1.0, 1.0, 1.0), (0.75, 0.65, 0.6), (0.45, 0.38, 0.36),
        (1.5, 2.0, 3.0), (1.0, 1.3, 1.9),
    )  # fmt: skip


def cloth_shade(rng: np.random.Generator) -> np.ndarray:
    """[3] colour of upholstery and other textiles."""
    return shade(
        rng, (0.35, 0.37, 0.40), (0.72, 0.66, 0.56), (0.25, 0.32, 0.45), (0.50, 0.20, 0.18),
        (0.33, 0.42, 0.28), (0.75, 0.55, 0.20), (0.20, 0.45, 0.46), (0.90, 0.88, 0.84),
    )  # fmt: skip


def bright_shade(rng: np.random.Generator) -> np.ndarray:
    """[3] any colour: of books, boxes, posters."""
    color: np.ndarray = rng.uniform(0.12, 0.95, 3)
    color *= rng.uniform(0.4, 0.98) / color.max()
    return color
