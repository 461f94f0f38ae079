"""Within which limits a network believes what a cloud says of a point.

A network is linear far from what it was trained on, so that one return of 1e30 would drown
everything within reach of its convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INTENSITY_MARGIN = 0.25
"""Share of what was seen that an intensity or a channel may exceed it by: augmentation makes a
tenth of it, and units are found with a thousandth of the values beyond them."""

FULL_RETURN = 1.0
"""What any sensor may send, however dark the training was."""

HEIGHT_MARGIN = 1.0
"""Share of the span of the heights seen that a height may lie outside of it by: other streets have
taller houses."""


@dataclass(frozen=True)
class InputLimits:
    """Lowest and highest of the inputs that a cloud determines freely; beyond them they are cut
    off.

    Attributes:
        height: z in m in the sensor frame.
        intensity: 0..1, where 1 is a full return.
        channels: of each of the further inputs, in their order.
    """

    height: tuple[float, float]
    intensity: tuple[float, float]
    channels: tuple[tuple[float, float], ...] = ()

    @classmethod
    def around(
        cls,
        height: tuple[float, float],
        intensity: tuple[float, float],
        channels: Sequence[tuple[float, float]] = (),
    ) -> InputLimits:
        """The limits for what was seen in training.

        Args:
            height, intensity, channels: lowest and highest, single outliers left out.
        """
        (lowest, highest), (darkest, brightest) = height, intensity
        margin = HEIGHT_MARGIN * (highest - lowest)
        scaled = 1 + INTENSITY_MARGIN
        return cls(
            (lowest - margin, highest + margin),
            (min(0.0, scaled * darkest), scaled * max(FULL_RETURN, brightest)),
            tuple(
                (min(0.0, scaled * low), scaled * max(FULL_RETURN, high)) for low, high in channels
            ),
        )
