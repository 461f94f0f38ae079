"""Splits and caches as networks read them that take several sweeps."""

from __future__ import annotations

import logging
from dataclasses import replace

from haskd_ros.channels import CHANNELS, SWEEP_AGE
from haskd_ros.clouds.point_times import SECOND_NS
from haskd_ros.clouds.sweeps import MAX_GAP_S
from haskd_ros.errors import InputError
from haskd_ros.model_header import ChannelInput, Extent, ModelMetadata
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import Split

log = logging.getLogger(__name__)


def stacked(split: Split, together: int) -> Split:
    """A split whose sweeps come with those before them, for a network that takes several at once,
    and with their age as a channel; for a network that takes one, as it is.

    Raises:
        InputError: no sweep to train on has another one before it.
    """
    if together == 1 or split.caches[0].together == together:
        return split
    trained_on = [(split.caches[ref.cache], ref.sweep) for ref in split.train]
    earlier = [cache.earlier_indices(i, together) for cache, i in trained_on]
    if not any(earlier):
        raise InputError(
            f"sweeps={together}: no sweep to train on has one before it within {MAX_GAP_S:g} s, "
            "both with a pose in a frame that stands still (TF from a world frame in the recording)"
        )
    if alone := earlier.count([]):
        log.warning(
            "sweeps=%d: %d of %d sweeps to train on have no other one before them within %g s, "
            "with a pose, and are seen by themselves",
            together, alone, len(earlier), MAX_GAP_S,
        )  # fmt: skip
    ages = [
        (cache.sweeps[i].stamp_ns - cache.sweeps[found[-1]].stamp_ns) / SECOND_NS
        for (cache, i), found in zip(trained_on, earlier, strict=True)
        if found
    ]
    full = CHANNELS[SWEEP_AGE].full
    seen = Extent(0.0, max(ages) / full)
    # Its mean never stands in.
    age = ChannelInput(SWEEP_AGE, full, (0.0,), (seen,), required=True)
    channels = tuple(each for each in split.caches[0].channels if each.name != SWEEP_AGE)
    caches = [
        replace(cache, together=together, channels=(*channels, age)) for cache in split.caches
    ]
    return replace(split, caches=caches)


def as_model_reads(cache: Cache, metadata: ModelMetadata) -> Cache:
    """A cache's sweeps as a model reads them that may have been trained on others."""
    return replace(
        cache,
        stand_in=metadata.intensity.mean,
        channels=metadata.channels,
        together=metadata.sweeps,
    )
