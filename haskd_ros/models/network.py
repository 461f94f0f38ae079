"""What inference, training and a teacher need of every segmentation network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from haskd_ros.models.input_limits import InputLimits

ToRows = Callable[[int, Tensor], Tensor]
"""(level, values [N, D] of the points) -> [R, D], their sums over the level's R rows."""

Fuse = Callable[[int, Tensor, ToRows], Tensor]
"""(level, x [R, C], to_rows) -> [R, C]: takes part in a network at each of its levels. A row is a
voxel of that level, or a pixel of a 2D network."""


class SegmentationNetwork(nn.Module):
    """Points in, class scores out. All tensors but those of this class are among the weights.

    Attributes:
        classifier: the last layer, from `features` to class scores.
        channels: widths of the encoder's levels, finest first.
        extra_inputs: values that it reads of a point beside place and intensity.
    """

    classifier: nn.Linear
    channels: tuple[int, ...]
    extra_inputs: int
    _lowest: Tensor | None
    _highest: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        # Not among the weights: a model file's header has them.
        self.register_buffer("_lowest", None, persistent=False)
        self.register_buffer("_highest", None, persistent=False)

    def limit_inputs(self, limits: InputLimits) -> None:
        """From now on cut off heights, intensities and channels beyond these limits; without any
        they are taken as they are."""
        device = self.classifier.weight.device
        ends = [limits.height, limits.intensity, *limits.channels]
        self._lowest, self._highest = torch.tensor(ends, device=device).unbind(1)

    def own_values(self, points: Tensor) -> Tensor:
        """What points as in `forward` say of themselves: [N, 2 + E] height, intensity and channels,
        within the limits."""
        own = points[:, 2:]
        return own if self._lowest is None else own.clamp(self._lowest, self._highest)

    @property
    def feature_width(self) -> int:
        """Channels of `features`."""
        return self.classifier.in_features

    @property
    def fusion_widths(self) -> tuple[int, ...]:
        """Channels of the features that `fuse` gets, finest level first; none where a network calls
        no `fuse`, which then can't be a teacher's."""
        return self.channels

    def fold(self) -> None:
        """Fold a batch norm that belongs to no `Normed` into the layer that reads it; every
        `Normed` is folded already."""

    def features(
        self, points: Tensor, batch: Tensor | None = None, fuse: Fuse | None = None
    ) -> Tensor:
        """What the classifier reads: [N, feature_width] of points as in `forward`.

        Args:
            fuse: changes the features of each encoder level, for a network with image features.
        """
        raise NotImplementedError

    def forward(self, points: Tensor, batch: Tensor | None = None) -> Tensor:
        """Class scores of every point.

        Args:
            points: [N, 4 + E] float32, finite: x y z in m in the sensor frame, intensity 0..1, and
                the network's `extra_inputs` E values of channels.
            batch: [N] int64 ascending cloud numbers from 0, or None for one cloud.

        Returns:
            [N, C] logits, point order kept.
        """
        scores: Tensor = self.classifier(self.features(points, batch))
        return scores
