"""A teacher whose image encoder learns with it, instead of looking features up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from haskd_training.data.cache import Cache
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.fusion import FusionTeacher
from haskd_training.images.encoder import PixelFeatures
from haskd_training.images.features import ALL_SHOWN, Dropout, ImageFeatures, mean_over_views
from haskd_training.learning.batches import Extras
from haskd_training.learning.inference import Look


class LearningTeacher(nn.Module):
    """Images and points in, class scores out.

    Args:
        teacher: fuses features.
        pixel_features: makes them.
        stored: tells where images show a sweep's points.
        caches: hold the images.
    """

    def __init__(
        self,
        teacher: FusionTeacher,
        pixel_features: PixelFeatures,
        stored: ImageFeatures,
        caches: Sequence[Cache],
    ) -> None:
        super().__init__()
        self.teacher, self.pixel_features = teacher, pixel_features
        self._stored, self._caches = stored, caches

    def forward(
        self, points: Tensor, batch: Tensor | None, sweep: Tensor, row: Tensor, seen: Tensor
    ) -> Tensor:
        """Class scores [N, C].

        Args:
            points, batch, seen: as of `FusionTeacher.features`.
            sweep: [N] int64, place of each point's sweep in `stored.sweeps`.
            row: [N] int64, the point's row in its sweep.
        """
        features = points.new_zeros(len(points), self.teacher.image_width)
        for number in torch.unique(sweep[seen]).tolist():
            place = self._stored.sweeps[number]
            mine = torch.nonzero(sweep == number)[:, 0]
            whole = self._caches[place.cache].sweeps[place.sweep].points
            places = mine.new_full((whole,), -1).index_copy(0, row[mine], mine)
            features = features + mean_over_views(
                self.pixel_features,
                partial(self._encode, place.cache),
                self._stored.views(place),
                places,
                len(points),
            )
        return self.teacher(points, batch, features, seen)

    def _encode(self, cache: int, image: int) -> tuple[Tensor, list[Tensor]]:
        device = self.pixel_features.reduce.weight.device
        rgb = torch.from_numpy(self._caches[cache].image(image)).permute(2, 0, 1).to(device)
        return rgb, [x[0] for x in self.pixel_features.encoder(rgb[None])]


def with_pixels(stored: ImageFeatures, dropout: Dropout = ALL_SHOWN) -> Extras:
    """What a `LearningTeacher` is told of each point, under the names of its arguments.

    Args:
        dropout: as in `teacher.with_images`.
    """
    numbers = {place: number for number, place in enumerate(stored.sweeps)}

    def extras(place: SweepRef, generator: np.random.Generator) -> dict[str, np.ndarray]:
        seen = stored.still_seen(place, stored.seen(place), dropout, generator)
        return {
            "sweep": np.full(len(seen), numbers[place]),
            "row": np.arange(len(seen)),
            "seen": seen,
        }

    return extras


def learning_look(network: LearningTeacher, stored: ImageFeatures) -> Look:
    """`logits` [n, C] of a sweep's points while the encoder learns."""
    told = with_pixels(stored)

    @torch.inference_mode()
    def look(place: SweepRef, points: Tensor, near: np.ndarray) -> dict[str, Tensor]:
        extras = {
            name: torch.from_numpy(values[near]).to(points.device)
            for name, values in told(place, np.random.default_rng(0)).items()
        }
        return {"logits": network(points, None, **extras)}

    return look
