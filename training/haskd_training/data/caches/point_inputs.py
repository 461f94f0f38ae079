"""Recorded points as a network reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from haskd_ros.channels import as_inputs
from haskd_ros.model_header import ChannelInput


def point_inputs(
    points: np.ndarray,
    intensity_scale: float | None,
    missing_intensity: float,
    channels: Sequence[tuple[ChannelInput, np.ndarray | None]] = (),
) -> np.ndarray:
    """Points with their intensity 0..1 and their channels as inputs; a mean stands in for what
    there is none of.

    Args:
        points: [N, 4] float32 as recorded, which are changed.
        intensity_scale: intensity of a full return; None: it was not measured.
        missing_intensity: 0..1, what stands in for it.
        channels: and their values [N, D] in the channel's own unit; None: there are none.

    Returns:
        [N, 4 + E] float32, all finite where the coordinates are.
    """
    if intensity_scale is None:
        points[:, 3] = missing_intensity
    else:
        points[:, 3] /= intensity_scale
        points[~np.isfinite(points[:, 3]), 3] = missing_intensity
    if not channels:
        return points
    columns = [points]
    for channel, values in channels:
        mean = np.array(channel.mean, np.float32)
        if values is None:
            columns.append(np.tile(mean, (len(points), 1)))
        else:
            inputs = as_inputs(values, channel.scale)
            columns.append(np.where(np.isfinite(inputs), inputs, mean))
    return np.concatenate(columns, axis=1)
