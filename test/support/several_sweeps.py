"""A model that takes several sweeps, with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from haskd_ros import model_file
from haskd_ros.model_header import ChannelInput, Extent, ModelMetadata
from haskd_ros.models import build

AGE = ChannelInput("sweep_age", 1.0, (0.0,), (Extent(0.0, 0.3),), required=True)


def several_sweep_model(path: Path, metadata: ModelMetadata, sweeps: int = 2) -> Path:
    """A model file for which it counts how old a point is, and what else is in its voxel."""
    arguments = {**metadata.arguments, "extra_inputs": 1}
    torch.manual_seed(21)
    network = build(metadata.architecture, classes=len(metadata.taxonomy), **arguments)
    with torch.no_grad():
        network.point_encoder[0].layer.weight[:, -1:] *= 20
        network.classifier.weight.mul_(20)
        network.classifier.bias.zero_()
    header = replace(metadata, arguments=arguments, channels=(AGE,), sweeps=sweeps)
    model_file.save(path, network, header)
    return path
