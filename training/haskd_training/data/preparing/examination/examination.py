"""What the examination of a recording yields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from haskd_ros.taxonomy import Taxonomy
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.recording import Recording

Examples = tuple[tuple[np.ndarray, float | None], ...]
"""Returns [N, 4] float32 of clouds, x y z in m in their frame and intensity in their own unit, and
the intensity of a full return; None where it was not measured."""


@dataclass(frozen=True)
class TopicSummary:
    """A topic of a recording.

    Attributes:
        messages: in the recording.
        expected: as its metadata counts them; None where it has none.
        rate_hz, longest_gap_s: by the headers' stamps, or by time of recording where no header is
            read; None for less than two messages.
        frames: messages by frame of their header; empty where no header is read.
    """

    topic: str
    type: str
    messages: int
    expected: int | None
    rate_hz: float | None
    longest_gap_s: float | None
    frames: dict[str, int]


@dataclass(frozen=True)
class SensorSummary:
    """The clouds, by a sample evenly spread over the recording.

    Attributes:
        clouds: in the recording, sampled: those whose points were looked at.
        fields: of a point, name and type.
        beams: by the ring field or the rows of organised clouds; None where neither is there.
        points: p5, median, p95 of valid returns a cloud.
        range_m, intensity: p5, median, p95 over valid returns; intensity in the cloud's own unit,
            None without the field or without a finite value.
        elevation_deg: min and max, as 1st and 99th percentile.
        point_times: how points tell their time, and its span; None where they don't.
        intensity_field: None without one.
    """

    clouds: int
    sampled: int
    fields: dict[str, str]
    beams: int | None
    points: dict[str, float] | None
    range_m: dict[str, float] | None
    elevation_deg: dict[str, float] | None
    point_times: str | None
    intensity_field: str | None
    intensity: dict[str, float] | None


@dataclass(frozen=True)
class CameraSummary:
    """A camera of a recording.

    Attributes:
        images: in the recording.
        problem: why its images can't be used; None where they can.
        seen: share of the points of the sampled clouds in the image nearest in time; None where no
            image is near or none can be used.
    """

    name: str
    topic: str
    frame: str
    images: int
    width: int | None
    height: int | None
    problem: str | None
    seen: float | None


@dataclass(frozen=True)
class LabelSummary:
    """Labels of a recording.

    Attributes:
        classes: points by class.
        ignored: points without a class.
        stamps: [n] int64, of the clouds that are used, in ns.
        counts: [n, C] points of each class in each of them.
        seen: share of the points of each class in the sampled clouds that lie in some camera's
            image nearest in time; None for a class that these lack, or where no image is near.
    """

    taxonomy: Taxonomy
    classes: dict[str, int]
    ignored: int
    stamps: np.ndarray
    counts: np.ndarray
    seen: dict[str, float | None]

    @property
    def labelled(self) -> int:
        """Clouds with at least one point of a class."""
        return int((self.counts.sum(1) > 0).sum())


@dataclass(frozen=True)
class Examination:
    """A recording, and what there is to say about it.

    Attributes:
        recording: what the preparation and the others read it by.
        findings: what is repaired, doubtful, left out; in the order in which they are to be read.
        topics: all, sorted.
        labels: None where they were not asked for.
        examples: some of the clouds, evenly spread over the recording.
        cloud_stamps: [n] int64, ns, of the clouds before a restart of the clock.
        image_stamps: the same of images by camera.
    """

    recording: Recording
    findings: tuple[Finding, ...]
    topics: tuple[TopicSummary, ...]
    sensor: SensorSummary
    cameras: tuple[CameraSummary, ...]
    labels: LabelSummary | None
    examples: Examples
    cloud_stamps: np.ndarray
    image_stamps: dict[str, np.ndarray]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        recording = self.recording
        return {
            "bag": str(recording.path),
            "points_topic": recording.points_topic,
            "lidar_frame": recording.lidar_frame,
            "world_frame": recording.world_frame,
            "findings": [finding.to_json() for finding in self.findings],
            "topics": [asdict(topic) for topic in self.topics],
            "sensor": asdict(self.sensor),
            "cameras": [asdict(camera) for camera in self.cameras],
            "labels": None
            if self.labels is None
            else {
                "classes": self.labels.classes,
                "seen": self.labels.seen,
                "ignored": self.labels.ignored,
                "clouds": len(self.labels.stamps),
                "labelled_clouds": self.labels.labelled,
            },
        }


def of_images(findings: Sequence[Finding]) -> list[str]:
    """Those findings that tell why images can't teach."""
    return [
        str(finding)
        for finding in findings
        if finding.is_warning
        and finding.code.startswith(("camera-", "clocks-apart", "image-size", "images-"))
    ]
