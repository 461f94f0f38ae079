"""What some clouds of a recording tell of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from haskd_ros.clouds.intensity import IntensityUnit, is_measured
from haskd_ros.clouds.pointcloud import CloudError, read_intensity, read_xyz_intensity
from haskd_ros.clouds.sensor_match import mismatches
from haskd_ros.model_header import ModelMetadata
from haskd_training.recordings.findings import Finding

SAMPLED_CLOUDS = 20
"""Clouds that are looked at, evenly spread over a recording."""

_OF_THE_UNIT = ("intensity-exceeds-unit", "intensity-small")
_SET_IT = (
    "set another full return as intensity_scale where a recording is prepared, as intensity.scale "
    "where it is labelled"
)


def intensity_unit(clouds: Iterable[Any], fixed: float = 0.0) -> IntensityUnit:
    """The unit of the intensity of some clouds; malformed ones don't count.

    Args:
        fixed: as of `IntensityUnit`.
    """
    unit = IntensityUnit(fixed)
    for cloud in clouds:
        try:
            unit.add(read_intensity(cloud))
        except CloudError:
            continue  # counted with its reason where the cloud is used
    return unit


def intensity_findings(unit: IntensityUnit, subject: str) -> list[Finding]:
    """What there is to say about the intensity of a recording's clouds.

    Args:
        subject: their topic, or the name of the recording.
    """
    return [
        Finding(
            note.code,
            subject,
            "doubtful" if note.is_warning else "noted",
            note.message,
            _SET_IT if note.code in _OF_THE_UNIT else "",
        )
        for note in unit.notes()
    ]


def measured_points(
    clouds: Iterable[Any], full_scale: float
) -> Iterator[tuple[np.ndarray, float | None]]:
    """The points of clouds [N, 4] float32, and the intensity of a full return, None where it was
    not measured; malformed clouds are left out."""
    for cloud in clouds:
        try:
            points, _ = read_xyz_intensity(cloud)
            values = read_intensity(cloud)
        except CloudError:
            continue
        yield points, full_scale if is_measured(values) else None


def usual_mismatches(
    clouds: Iterable[tuple[np.ndarray, float | None]], metadata: ModelMetadata
) -> list[str]:
    """The quantities in which most clouds differ from those that a model was trained on, in words;
    other arguments as of `sensor_findings`."""
    messages: dict[str, list[str]] = {}
    number = 0
    for points, full_scale in clouds:
        number += 1
        for found in mismatches(points, full_scale, metadata):
            messages.setdefault(found.quantity, []).append(found.message)
    return [each[len(each) // 2] for each in messages.values() if len(each) > number / 2]


def sensor_findings(
    clouds: Iterable[tuple[np.ndarray, float | None]], metadata: ModelMetadata, subject: str
) -> list[Finding]:
    """Whether most clouds differ from those that a model was trained on.

    Args:
        clouds: as of `measured_points`.
        metadata: of the model.
        subject: their topic, or the name of the recording.
    """
    usual = usual_mismatches(clouds, metadata)
    if not usual:
        return []
    message = "not like the clouds the model was trained on, labels may be wrong: "
    return [Finding("sensor-unlike-training", subject, "doubtful", message + "; ".join(usual))]
