"""What a network reads of the channels of recorded points: their scale, mean and range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from haskd_ros.channels import CHANNELS, ChannelName
from haskd_ros.clouds.channels import wanted_fields
from haskd_ros.errors import InputError
from haskd_ros.model_header import ChannelInput, Extent
from haskd_training.data.caches.cache import Cache
from haskd_training.data.sensor_statistics import OUTLIERS

_SWEEPS = 20
"""That are looked at, evenly spread over those that have the channel."""

_POINTS_PER_SWEEP = 20_000


def channel_inputs(
    caches: Sequence[Cache], names: Sequence[ChannelName], *, required: bool = False
) -> tuple[ChannelInput, ...]:
    """Channels as a network's inputs, by the caches that it learns from.

    Args:
        required: as of `ChannelInput`.

    Raises:
        InputError: no sweep has one of them, or a shard is damaged.
    """
    return tuple(_input(caches, name, required) for name in names)


def _input(caches: Sequence[Cache], name: ChannelName, required: bool) -> ChannelInput:
    channel = CHANNELS[name]
    having = [(cache, i) for cache in caches for i, row in enumerate(cache.sweeps) if row.has(name)]
    if not having:
        raise InputError(
            f"channels: no sweep to train on has {name}; a recording's clouds need the fields "
            f"{wanted_fields(name)} when it is prepared"
        )
    sampled = [having[i] for i in np.unique(np.linspace(0, len(having) - 1, _SWEEPS).astype(int))]
    parts = []
    for cache, i in sampled:
        values = cache.recorded_channels(i, [name])[name]
        assert values is not None
        parts.append(values[:: -(-len(values) // _POINTS_PER_SWEEP) or 1].astype(np.float64))
    inputs = np.concatenate(parts) / channel.full
    inputs = inputs[np.isfinite(inputs).all(1)]
    if not len(inputs):  # there, and not one number in it
        inputs = np.zeros((1, channel.width))
    low, high = np.quantile(inputs, [OUTLIERS, 1 - OUTLIERS], axis=0)
    mean = np.clip(inputs, low, high).mean(0)
    return ChannelInput(
        name,
        channel.full,
        tuple(mean.tolist()),
        tuple(Extent(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True)),
        required,
    )
