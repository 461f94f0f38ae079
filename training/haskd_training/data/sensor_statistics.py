"""Statistics of a sensor's clouds, by which a node recognises a sensor it wasn't trained for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from haskd_ros.model_header import Extent, InputRange, ModelMetadata
from haskd_ros.models.input_limits import InputLimits
from haskd_training.data.caches.cache import Cache
from haskd_training.data.sweep_ref import within_range
from haskd_training.recordings.cloud_sample import SAMPLED_CLOUDS, sensor_findings
from haskd_training.recordings.findings import Finding

SAMPLED_SWEEPS = 50
"""Sweeps that percentiles are computed over, evenly spread over the cache."""

_POINTS_PER_SWEEP = 20_000

_SWEEPS_IN_ALL = 400
"""Sweeps of all caches together that a network's input range is found from: 64 MB of points."""

OUTLIERS = 1e-3
"""Share of the points at either end that doesn't count as seen."""


def sampled_sweeps(cache: Cache, count: int = SAMPLED_SWEEPS) -> list[int]:
    """At most `count` sweeps, evenly spread."""
    spread = np.linspace(0, len(cache) - 1, min(count, len(cache))).astype(int)
    return [int(i) for i in np.unique(spread)]


def unlike_training(cache: Cache, metadata: ModelMetadata) -> list[Finding]:
    """Whether most sweeps differ from those that a model was trained on."""
    sampled = sampled_sweeps(cache, SAMPLED_CLOUDS)
    recorded = (cache.recorded_points(i) for i in sampled)
    return sensor_findings(recorded, metadata, cache.name)


def sensor_statistics(cache: Cache) -> dict[str, Any]:
    """The sensor's statistics, as they go into the cache's index and the model file.

    Returns:
        points_per_sweep: p5, median, p95 over all sweeps.
        range_m, intensity (0..1, also mean; 0 where it was never measured), height_m (z in the
            sensor frame): p5, median, p95 over the points of `sampled_sweeps`.
        elevation_deg: min and max, as 1st and 99th percentile.
        class_counts, class_scans: labelled points, and sweeps with at least one, by class id.
    """
    samples, measured = [], []
    for i in sampled_sweeps(cache):
        points, scale = cache.recorded_points(i)
        samples.append(points[:: -(-len(points) // _POINTS_PER_SWEEP)])
        if scale is not None:
            values = samples[-1][:, 3] / scale
            measured.append(values[np.isfinite(values)])
    points = np.concatenate(samples).astype(np.float64)
    intensity = np.concatenate(measured or [np.zeros(0)]).astype(np.float64)
    if not len(intensity):
        intensity = np.zeros(1)
    flat = np.hypot(points[:, 0], points[:, 1])
    elevation = np.degrees(np.arctan2(points[:, 2], flat))
    low, high = np.percentile(elevation, [1, 99])
    counts = np.array([row.class_counts for row in cache.sweeps])
    return {
        "points_per_sweep": _percentiles(np.array([row.points for row in cache.sweeps])),
        "range_m": _percentiles(np.hypot(flat, points[:, 2])),
        "elevation_deg": {"min": float(low), "max": float(high)},
        "intensity": {**_percentiles(intensity), "mean": _mean(intensity)},
        "height_m": _percentiles(points[:, 2]),
        "class_counts": counts.sum(axis=0).tolist(),
        "class_scans": (counts > 0).sum(axis=0).tolist(),
    }


def input_range(caches: Sequence[Cache], max_range: float) -> InputRange:
    """What a network sees of sweeps of these caches: heights in m, intensities in units of a full
    return, `OUTLIERS` of them left out at either end.

    Args:
        max_range: m; points beyond don't count.
    """
    samples = []
    spread = np.linspace(0, len(caches) - 1, min(len(caches), _SWEEPS_IN_ALL)).astype(int)
    of_each = min(SAMPLED_SWEEPS, _SWEEPS_IN_ALL // max(len(spread), 1))
    for cache in (caches[number] for number in spread):
        for i in sampled_sweeps(cache, of_each):
            points = cache.sweep(i).points
            points = points[:: -(-len(points) // _POINTS_PER_SWEEP)]
            samples.append(points[within_range(points, max_range)][:, 2:4])
    seen = np.concatenate([*samples, np.zeros((0, 2), np.float32)])
    if not len(seen):  # every point is beyond the range, and none will ever come in
        seen = np.zeros((1, 2), np.float32)
    low, high = np.quantile(seen, [OUTLIERS, 1 - OUTLIERS], axis=0).tolist()
    # An intensity that was not measured is one of these.
    stand_ins = [cache.missing_intensity for cache in caches]
    return InputRange(
        Extent(low[0], high[0]), Extent(min(low[1], *stand_ins), max(high[1], *stand_ins))
    )


def _mean(intensity: np.ndarray) -> float:
    """Of intensities 0..1, cut off as a network's input is: one of 1e30 would be the mean."""
    seen = np.quantile(intensity, [OUTLIERS, 1 - OUTLIERS])
    limits = InputLimits.around(height=(0, 0), intensity=(seen[0], seen[1]))
    return float(np.clip(intensity, *limits.intensity).mean())


def _percentiles(values: np.ndarray) -> dict[str, float]:
    p5, median, p95 = np.percentile(values, [5, 50, 95])
    return {"p5": float(p5), "median": float(median), "p95": float(p95)}
