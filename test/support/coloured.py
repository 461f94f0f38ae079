"""Clouds with colours, and a model that reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yard

from haskd_ros import model_file
from haskd_ros.model_header import ChannelInput, Extent, ModelMetadata
from haskd_ros.models import build

POINT = [*yard.POINT, ("rgb", "<f4")]
RED, GREEN = (200, 40, 30), (30, 180, 60)


def packed(colours: np.ndarray) -> np.ndarray:
    """[N, 3] 0..255 as PCL packs them: the bits 0x00RRGGBB of a float32."""
    red, green, blue = colours.astype(np.uint32).T
    return (red << 16 | green << 8 | blue).view(np.float32)


def painted_rows(number: int) -> np.ndarray:
    """A yard's cloud in which the paint alone says what a point is: red wall, green box, drawn anew
    for each point."""
    rows = yard.points(POINT)
    is_red = np.random.default_rng(number).random(len(rows)) < 0.5
    rows["rgb"] = packed(np.where(is_red[:, None], RED, GREEN))
    rows["label"] = np.where(is_red, 2, 3)
    return rows


def rgb_model(path: Path, metadata: ModelMetadata, *, required: bool = False) -> Path:
    """A model file that reads colours, with random weights; where there are none they are taken to
    be half bright."""
    seen = Extent(0.0, 1.0)
    channel = ChannelInput("rgb", 255.0, (0.5, 0.5, 0.5), (seen, seen, seen), required)
    arguments = {**metadata.arguments, "extra_inputs": 3}
    torch.manual_seed(21)
    network = build(metadata.architecture, classes=len(metadata.taxonomy), **arguments)
    with torch.no_grad():
        network.point_encoder[0].layer.weight[:, -3:] *= 20  # colours count
        network.classifier.weight.mul_(20)
        network.classifier.bias.zero_()
    header = replace(metadata, arguments=arguments, channels=(channel,))
    model_file.save(path, network, header)
    return path
