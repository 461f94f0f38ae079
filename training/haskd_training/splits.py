"""Splitting a cache into training, calibration, validation and test sweeps."""

from __future__ import annotations

import math

from haskd_ros.errors import InputError
from haskd_training.cache import Cache


def split_by_time(cache: Cache, fractions: dict[str, float]) -> dict[str, list[int]]:
    """Cut every recording into one contiguous block of sweeps per split.

    Neighbouring sweeps show nearly the same scene, so a random split would test on what was
    trained on. The blocks follow each other in time in the order of `fractions`.

    Args:
        fractions: share of the sweeps by split name; they add up to 1.

    Returns:
        Sweep indices of the cache by split name, in time order within a recording.

    Raises:
        InputError: fractions that are negative or don't add up to 1.
    """
    if any(share < 0 for share in fractions.values()) or not math.isclose(
        sum(fractions.values()), 1.0, abs_tol=1e-6
    ):
        raise InputError(f"fractions of a split must be positive and add up to 1: {fractions}")
    by_recording: dict[str, list[int]] = {}
    for i, row in enumerate(cache.sweeps):
        by_recording.setdefault(row.recording, []).append(i)

    splits: dict[str, list[int]] = {name: [] for name in fractions}
    for members in by_recording.values():
        members.sort(key=lambda i: cache.sweeps[i].stamp_ns)
        share, start = 0.0, 0
        for name, fraction in fractions.items():
            share += fraction
            end = round(share * len(members))
            splits[name] += members[start:end]
            start = end
    return splits
