"""Channels: what may be known of a point beside its place and intensity, and how it becomes a
network's input. In which fields of a cloud they are is in `clouds.channels`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

RecordedChannel = Literal["rgb", "normal", "reflectivity", "echo"]
"""One that clouds have."""

SWEEP_AGE: Final = "sweep_age"

ChannelName = Literal[RecordedChannel, "sweep_age"]
"""The last one is made where sweeps are stacked, see `clouds.sweeps`: s before the newest cloud."""


@dataclass(frozen=True)
class Channel:
    """A kind of per-point value.

    Attributes:
        width: values D of a point.
        full: the raw value that stands for 1 of a network's input.
        dtype: numpy's name of the type that holds its raw values.
    """

    width: int
    full: float
    dtype: Literal["u1", "f4"]

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Raw values in the channel's own type; of whole numbers, what is none becomes the nearest
        one there is, or 0."""
        if self.dtype == "u1":
            values = np.clip(np.nan_to_num(values), 0, 255)
        return values.astype(self.dtype)


CHANNELS: dict[ChannelName, Channel] = {
    "rgb": Channel(3, 255.0, "u1"),
    "normal": Channel(3, 1.0, "f4"),
    "reflectivity": Channel(1, 255.0, "f4"),
    "echo": Channel(1, 1.0, "u1"),
    SWEEP_AGE: Channel(1, 1.0, "f4"),
}


def as_inputs(values: np.ndarray, scale: float) -> np.ndarray:
    """Raw values [N, D] of a channel -> a network's inputs [N, D] float32, not finite where they
    are not.

    Args:
        scale: the raw value that stands for 1.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        inputs: np.ndarray = values.astype(np.float32) / np.float32(scale)
    return inputs
