"""Channels: what may be known of a point beside its place and intensity, and how it becomes a
network's input. In which fields of a cloud they are is in `clouds.channels`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

ChannelName = Literal["rgb", "normal", "reflectivity", "echo"]


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
