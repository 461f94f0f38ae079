"""Cost of models on a robot, compared: their tensors, files and latency."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from haskd_ros import model_file
from haskd_ros.channels import ChannelName
from haskd_ros.model_header import ModelMetadata, channel_columns
from haskd_ros.segmenter import Segmenter

WARM_UP = 2
"""Runs that are not counted."""


@dataclass(frozen=True)
class StudentCost:
    """Cost of one model.

    Attributes:
        file_bytes: of the model file; headers differ, since they hold how the model was trained.
        tensor_bytes: of the weights alone.
        latency_ms: lower quartile, median and upper quartile for one cloud, points in to labels
            out.
    """

    file_bytes: int
    tensor_bytes: int
    latency_ms: tuple[float, float, float]


def same_network(first: Path, second: Path) -> bool:
    """Whether two model files hold the same architecture with tensors of the same shapes, and so
    ask for the same operations.

    Raises:
        ModelFileError: not a model.
    """
    one, other = (
        (
            metadata.architecture,
            metadata.arguments,
            metadata.max_range,
            {name: (value.dtype, value.shape) for name, value in network.state_dict().items()},
        )
        for network, metadata in map(model_file.load, (first, second))
    )
    return one == other


def compare_costs(
    models: Mapping[str, Path], clouds: Sequence[np.ndarray], device: torch.device, turns: int = 30
) -> dict[str, StudentCost]:
    """Measure models in turn, so that what else the machine does falls on all of them alike.

    Args:
        models: model files by name.
        clouds: [N, 4 + E] each, intensity 0..1 and the models' channels as their inputs; turn i
            labels cloud i, and over again.

    Raises:
        ModelFileError: not a model.
    """
    segmenters = {name: Segmenter.load(path, str(device)) for name, path in models.items()}
    spent: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(WARM_UP + turns):
        cloud = clouds[turn % len(clouds)]
        for name, segmenter in segmenters.items():
            points, channels = _as_recorded(cloud, segmenter.metadata)
            started = time.perf_counter()
            segmenter(points, channels=channels)
            spent[name].append(1e3 * (time.perf_counter() - started))
    costs = {}
    for name, path in models.items():
        lower, median, upper = np.percentile(spent[name][WARM_UP:], (25, 50, 75))
        weights = model_file.load(path)[0].state_dict().values()
        costs[name] = StudentCost(
            path.stat().st_size,
            sum(value.nbytes for value in weights),
            (float(lower), float(median), float(upper)),
        )
    return costs


def _as_recorded(
    cloud: np.ndarray, metadata: ModelMetadata
) -> tuple[np.ndarray, dict[ChannelName, np.ndarray]]:
    """A cloud as a sensor gives it, and its channels, from what a network reads."""
    channels = {
        each.name: cloud[:, columns] * np.float32(each.scale)
        for each, columns in channel_columns(metadata.channels)
    }
    unit = np.array([1, 1, 1, metadata.intensity.scale], np.float32)
    return cloud[:, :4] * unit, channels
