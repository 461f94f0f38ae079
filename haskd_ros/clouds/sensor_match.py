"""Whether a sensor is like the one a model was trained on. Another one is the commonest misuse of a
model, and one that its labels alone don't show."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from haskd_ros.clouds.pointcloud import valid_returns
from haskd_ros.model_header import ModelMetadata, SensorStatistics

SAMPLE_SIZE = 20_000
"""Points of a cloud that are compared, evenly spread."""

MIN_POINTS = 100
"""Fewer points than this are too few to judge the sensor by."""


@dataclass(frozen=True)
class Mismatch:
    """A quantity in which clouds differ from those of the training.

    Attributes:
        quantity: its name.
        message: it, with the live value and the training's.
    """

    quantity: str
    message: str


def mismatches(
    points: np.ndarray, intensity_scale: float | None, metadata: ModelMetadata
) -> list[Mismatch]:
    """The quantities in which a live cloud differs from those that a model was trained on.

    The bounds are wide: another street must not raise an alarm, another sensor must.

    Args:
        points: [N, >= 3] float32 x y z in m in the sensor frame, intensity in the cloud's own unit;
            what is no return does not count.
        intensity_scale: intensity of a full return; None: the cloud has no intensity.
        metadata: of the model; a quantity that its statistics lack is not judged.
    """
    points = points[valid_returns(points)]
    count = len(points)
    points = points[:: max(1, math.ceil(count / SAMPLE_SIZE))].astype(np.float64)
    flat = np.hypot(points[:, 0], points[:, 1])
    distance = np.hypot(flat, points[:, 2])
    checks = [_points_per_sweep(count, metadata.sensor)]
    if len(points) >= MIN_POINTS:
        elevation = np.degrees(np.arctan2(points[:, 2], flat))
        checks += [_range(distance, metadata.sensor), _elevation(elevation, metadata.sensor)]
        if intensity_scale is not None:
            checks.append(_intensity(points[:, 3], intensity_scale, metadata.sensor))
    return [mismatch for mismatch in checks if mismatch is not None]


def _points_per_sweep(count: int, sensor: SensorStatistics) -> Mismatch | None:
    trained = sensor.points_per_sweep
    if trained is None or trained.p5 / 3 <= count <= trained.p95 * 3:
        return None
    return Mismatch(
        "points per sweep",
        f"points per sweep {count:,}, trained on {trained.p5:,.0f} to {trained.p95:,.0f}",
    )


def _range(distance: np.ndarray, sensor: SensorStatistics) -> Mismatch | None:
    trained = sensor.range_m
    if trained is None:
        return None
    median = float(np.median(distance))
    if trained.median / 4 <= median <= trained.median * 4:
        return None
    return Mismatch("range", f"range {median:.1f} m (median), trained on {trained.median:.1f} m")


def _elevation(elevation: np.ndarray, sensor: SensorStatistics) -> Mismatch | None:
    trained = sensor.elevation_deg
    if trained is None:
        return None
    low, high = np.percentile(elevation, [1, 99])
    if abs(low - trained.min) <= 15 and abs(high - trained.max) <= 15:
        return None
    return Mismatch(
        "elevation span",
        f"elevation span {low:.0f} to {high:.0f} degrees, trained on {trained.min:.0f} to "
        f"{trained.max:.0f} degrees (is the cloud in the sensor's frame?)",
    )


def _intensity(intensity: np.ndarray, scale: float, sensor: SensorStatistics) -> Mismatch | None:
    trained = sensor.intensity
    intensity = intensity[np.isfinite(intensity)]
    if trained is None or not trained.p95 or not len(intensity):
        return None
    p95 = float(np.percentile(intensity, 95))
    if trained.p95 / 8 <= p95 / scale <= trained.p95 * 8:
        return None
    return Mismatch(
        "intensity scale",
        f"intensity up to {p95:.3g} (95th percentile), trained on up to "
        f"{trained.p95 * scale:.3g}, where {scale:g} stands for a full return",
    )
