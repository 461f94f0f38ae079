"""Inference of trained networks on recorded sweeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from haskd_ros import model_file
from haskd_ros.node.labelling import label_points
from haskd_ros.node.parameters.values import DEFAULTS, Parameters
from haskd_ros.segmentation import Refine, Segmentation
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.cache import Cache
from haskd_training.data.sweep_ref import SweepRef, within_range

SweepPredictor = Callable[[SweepRef, Tensor, np.ndarray], dict[str, Tensor]]
"""(sweep, its points within range [n, 4], which they are [N] bool) -> outputs of n rows by name."""


def predict(
    network: nn.Module, points: np.ndarray, max_range: float, device: torch.device
) -> np.ndarray:
    """Class ids [N] uint8 of points [N, 4] (intensity 0..1), 255 beyond `max_range`."""
    return predict_with(lambda near, _: {"logits": network(near)}, points, max_range, device)


@torch.inference_mode()
def predict_with(
    predictor: Callable[[Tensor, np.ndarray], dict[str, Tensor]],
    points: np.ndarray,
    max_range: float,
    device: torch.device,
) -> np.ndarray:
    """As `predict`, with a `SweepPredictor` bound to its sweep: (the n points within range, which
    they are [N] bool) -> `logits` [n, C]."""
    near = within_range(points, max_range)
    labels = np.full(len(points), UNLABELLED, np.uint8)
    logits = predictor(torch.from_numpy(points[near]).to(device), near)["logits"]
    labels[near] = logits.argmax(1).to(torch.uint8).cpu().numpy()
    return labels


def label_as_robot(
    segmenter: Segmenter,
    cache: Cache,
    sweep: int,
    parameters: Parameters = DEFAULTS,
    *,
    refine: Refine | None = None,
) -> Segmentation:
    """The points of a cache's sweep [N] as the node would label them.

    Args:
        parameters: of the node; a box in another frame than the sweep's own is not possible, since
            a cache holds no transforms.
        refine: as of `Segmenter`.

    Raises:
        InputError: as of `label_points`.
    """
    points, scale = cache.recorded_points(sweep)
    channels = cache.recorded_channels(sweep, [each.name for each in segmenter.metadata.channels])
    return label_points(points, scale, segmenter, parameters, channels=channels, refine=refine)


def model_predictor(model: Path, device: torch.device) -> SweepPredictor:
    """Predictor of a model file: `logits` [n, C].

    Raises:
        ModelFileError: not a model.
    """
    return network_predictor(model_file.load(model)[0].to(device))


def network_predictor(network: nn.Module) -> SweepPredictor:
    """Predictor of a network that takes only the cloud: `logits` [n, C]."""
    return lambda _, points, __: {"logits": network(points).float()}
