"""Inference of trained networks on recorded sweeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from haskd_ros import model_file
from haskd_ros.node.labelling import label_points, without_own_body
from haskd_ros.node.parameters.values import DEFAULTS, Parameters
from haskd_ros.segmentation import Refine, Segmentation
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.caches.cache import Cache, Sweep
from haskd_training.data.sweep_ref import SweepRef, within_range

SweepPredictor = Callable[[SweepRef, Tensor, np.ndarray], dict[str, Tensor]]
"""(sweep, its n points within range and then those of the sweeps before, if the network takes any
[n + m, 4 + E], which of its points the n are [N] bool) -> outputs of n rows by name."""


def network_input(sweep: Sweep, max_range: float) -> tuple[np.ndarray, np.ndarray]:
    """What a network reads of a sweep.

    Args:
        max_range: m; points beyond are left out.

    Returns:
        points [n + m, 4 + E], the n of the sweep itself first; which of its points they are [N].
    """
    near = within_range(sweep.stacked, max_range)
    return sweep.stacked[near], near[: len(sweep.points)]


def of_sweep(values: Tensor, near: np.ndarray) -> Tensor:
    """[n, ...] of values [n + m, ...] of such points."""
    return values[: int(np.count_nonzero(near))]


def predict(network: nn.Module, sweep: Sweep, max_range: float, device: torch.device) -> np.ndarray:
    """Class ids [N] uint8 of a sweep's points, 255 beyond `max_range`."""
    return predict_with(
        lambda points, near: {"logits": of_sweep(network(points), near)}, sweep, max_range, device
    )


@torch.inference_mode()
def predict_with(
    predictor: Callable[[Tensor, np.ndarray], dict[str, Tensor]],
    sweep: Sweep,
    max_range: float,
    device: torch.device,
) -> np.ndarray:
    """As `predict`, with a `SweepPredictor` bound to its sweep: (the points that a network reads,
    which of the sweep's own are among them [N] bool) -> `logits` [n, C]."""
    points, near = network_input(sweep, max_range)
    labels = np.full(len(near), UNLABELLED, np.uint8)
    logits = predictor(torch.from_numpy(points).to(device), near)["logits"]
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
    names = [each.name for each in segmenter.metadata.channels]
    points, scale = cache.recorded_points(sweep)
    moment = None
    if (together := segmenter.metadata.sweeps) > 1:
        moment = cache.moment(sweep, together, names)
    if moment is not None:
        earlier = [without_own_body(each, parameters) for each in moment.earlier]
        moment = replace(moment, earlier=earlier)
    channels = cache.recorded_channels(sweep, names)
    return label_points(
        points, scale, segmenter, parameters, channels=channels, refine=refine, moment=moment
    )


def model_predictor(model: Path, device: torch.device) -> SweepPredictor:
    """Predictor of a model file: `logits` [n, C].

    Raises:
        ModelFileError: not a model.
    """
    return network_predictor(model_file.load(model)[0].to(device))


def network_predictor(network: nn.Module) -> SweepPredictor:
    """Predictor of a network that takes only clouds: `logits` [n, C]."""
    return lambda _, points, near: {"logits": of_sweep(network(points), near).float()}
