"""Two sweeps as one to train on: what stands beside what differs from any street of the recordings.

sectors   one half of the turn from each: Xiao et al., "PolarMix", NeurIPS 2022
things    the other's movable things, turned about the sensor, beside one's own: the same
bands     elevations by turns: Kong et al., "LaserMix for Semi-Supervised LiDAR Semantic
          Segmentation", CVPR 2023
union     half of the points of each: Nekrasov et al., "Mix3D", 3DV 2021, at the cost of one sweep
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from haskd_ros.model_header import ChannelInput, channel_columns
from haskd_training.data.corruptions import elevation_deg

Way = Literal["sectors", "things", "bands", "union"]

MOST_BANDS = 6


class MixingConfig(BaseModel):
    """How often, and how, two training sweeps are seen as one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(0.0, ge=0, le=1, description="share of the sweeps mixed with another one")
    ways: tuple[Way, ...] = Field(
        ("sectors", "things", "bands", "union"),
        min_length=1,
        description="one of them is drawn for each mixed sweep: sectors, bands: parts of the turn, "
        "of the elevations; things: the other's movable things; union: half the points of each",
    )


@dataclass(frozen=True)
class Mixture:
    """Which points of two sweeps make one: [N] and [M] bool; and by how much the second is turned
    about the vertical before, in radians."""

    of_first: np.ndarray
    of_second: np.ndarray
    turn: float = 0.0


def mixture(
    first: np.ndarray,
    second: np.ndarray,
    movable: np.ndarray,
    ways: tuple[Way, ...],
    generator: np.random.Generator,
) -> Mixture:
    """Mix two sweeps in one of some ways.

    Args:
        first, second: [N, >= 3], [M, >= 3] x y z in m in the sensor frame.
        movable: [M] bool, points of the second one on things that move.
    """
    way = ways[generator.integers(len(ways))]
    return _WAYS[way](first, second, movable, generator)


def turned(points: np.ndarray, angle: float, channels: Sequence[ChannelInput] = ()) -> np.ndarray:
    """A copy of points [N, 4 + E], turned about the vertical by an angle in radians, their normals
    too.

    Args:
        channels: which the columns behind the fourth are.
    """
    if not angle:
        return points
    result: np.ndarray = points.copy()
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    columns = channel_columns(channels)
    for x in (0, *(own.start for channel, own in columns if channel.name == "normal")):
        result[:, x] = cosine * points[:, x] - sine * points[:, x + 1]
        result[:, x + 1] = sine * points[:, x] + cosine * points[:, x + 1]
    return result


def in_sector(points: np.ndarray, start: float, width: float) -> np.ndarray:
    """[N] bool: points [N, >= 2] in the sector that begins at an azimuth and goes to the left, both
    angles in radians."""
    past = (np.arctan2(points[:, 1], points[:, 0]) - start) % (2 * np.pi)
    inside: np.ndarray = past < width
    return inside


def _sectors(
    first: np.ndarray, second: np.ndarray, _: np.ndarray, generator: np.random.Generator
) -> Mixture:
    start = generator.uniform(-np.pi, np.pi)
    return Mixture(~in_sector(first, start, np.pi), in_sector(second, start, np.pi))


def _bands(
    first: np.ndarray, second: np.ndarray, _: np.ndarray, generator: np.random.Generator
) -> Mixture:
    elevations = [elevation_deg(points) for points in (first, second)]
    together = np.concatenate(elevations)
    # A band holds as many points as any other: most of them lie close below the horizon.
    count = int(generator.integers(2, MOST_BANDS + 1))
    edges = np.quantile(together, np.arange(1, count) / count) if len(together) else np.zeros(0)
    own = generator.integers(2)
    of_first, of_second = (np.searchsorted(edges, each) % 2 for each in elevations)
    return Mixture(of_first == own, of_second != own)


def _union(
    first: np.ndarray, second: np.ndarray, _: np.ndarray, generator: np.random.Generator
) -> Mixture:
    return Mixture(generator.random(len(first)) < 0.5, generator.random(len(second)) < 0.5)


def _things(
    first: np.ndarray, _: np.ndarray, movable: np.ndarray, generator: np.random.Generator
) -> Mixture:
    return Mixture(np.ones(len(first), bool), movable, generator.uniform(-np.pi, np.pi))


_WAYS: dict[Way, Callable[[np.ndarray, np.ndarray, np.ndarray, np.random.Generator], Mixture]] = {
    "sectors": _sectors,
    "things": _things,
    "bands": _bands,
    "union": _union,
}
