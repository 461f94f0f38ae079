"""A teacher whose image encoder is trained with it, instead of reading stored features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from haskd_training.data.caches.cache import Cache
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.fusion import FusionTeacher
from haskd_training.images.features import NO_DROPOUT, ImageDropout, ImageFeatures, mean_over_views
from haskd_training.images.pixel_features import PixelFeatures
from haskd_training.learning.batches import Extras
from haskd_training.learning.inference import SweepPredictor, of_sweep


class LearningTeacher(nn.Module):
    """Images and points in, class scores out.

    Args:
        teacher: fuses features.
        pixel_features: makes them.
        stored: where images see a sweep's points.
        caches: with the images.
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
            sweep: [N] int64, index of each point's sweep in `stored.sweeps`.
            row: [N] int64, the point's row in its sweep.
        """
        features = points.new_zeros(len(points), self.teacher.image_width)
        # A sweep may be in two clouds of a batch: by itself, and mixed into another one.
        cloud = torch.zeros_like(sweep) if batch is None else batch
        for which, number in torch.unique(torch.stack([cloud, sweep])[:, seen], dim=1).T.tolist():
            ref = self._stored.sweeps[number]
            in_batch = torch.nonzero((sweep == number) & (cloud == which))[:, 0]
            points_of_sweep = self._caches[ref.cache].sweeps[ref.sweep].points
            row_of_point = in_batch.new_full((points_of_sweep,), -1)
            row_of_point.index_copy_(0, row[in_batch], in_batch)
            features = features + mean_over_views(
                self.pixel_features,
                partial(self._encode, ref.cache),
                self._stored.views(ref),
                row_of_point,
                len(points),
            )
        scores: Tensor = self.teacher(points, batch, features, seen)
        return scores

    def _encode(self, cache: int, image: int) -> tuple[Tensor, list[Tensor]]:
        device = self.pixel_features.reduce.weight.device
        rgb = torch.from_numpy(self._caches[cache].image(image)).permute(2, 0, 1).to(device)
        return rgb, self.pixel_features.encode(rgb)


def with_pixels(stored: ImageFeatures, dropout: ImageDropout = NO_DROPOUT) -> Extras:
    """What a `LearningTeacher` gets beside each point, under the names of its arguments.

    Args:
        dropout: as in `teacher.with_images`.
    """
    numbers = {ref: number for number, ref in enumerate(stored.sweeps)}

    def extras(ref: SweepRef, generator: np.random.Generator) -> dict[str, np.ndarray]:
        seen = stored.seen_after_dropout(ref, stored.seen(ref), dropout, generator)
        return {
            "sweep": np.full(len(seen), numbers[ref]),
            "row": np.arange(len(seen)),
            "seen": seen,
        }

    return extras


def learning_predictor(network: LearningTeacher, stored: ImageFeatures) -> SweepPredictor:
    """`logits` [n, C] of a sweep's points while the encoder learns."""
    pixels_of = with_pixels(stored)

    @torch.inference_mode()
    def predictor(ref: SweepRef, points: Tensor, near: np.ndarray) -> dict[str, Tensor]:
        of_points = pixels_of(ref, np.random.default_rng(0))
        of_near = {name: torch.from_numpy(values[near]) for name, values in of_points.items()}
        more = len(points) - int(near.sum())  # no image is looked at for those
        extras = {
            name: torch.cat([values, values.new_zeros(more)]).to(points.device)
            for name, values in of_near.items()
        }
        return {"logits": of_sweep(network(points, None, **extras), near)}

    return predictor
