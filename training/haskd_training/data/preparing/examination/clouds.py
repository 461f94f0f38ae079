"""Contents of a recording's clouds: every header, and the points of a sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.clouds.intensity import IntensityUnit
from haskd_ros.clouds.point_times import (
    NO_FIELD,
    NO_RETURNS,
    ONE_TIME,
    PointTimes,
    is_time_field,
    point_times,
)
from haskd_ros.clouds.pointcloud import (
    CloudError,
    read_intensity,
    read_points,
    read_xyz_intensity,
    valid_returns,
)
from haskd_ros.errors import InputError
from haskd_ros.text import QUOTED_CHARACTERS, listed
from haskd_training.data.preparing.examination.examination import Examples, SensorSummary
from haskd_training.recordings.cloud_sample import intensity_findings
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.bag import frame_of, spread_numbers, stamp_ns
from haskd_training.recordings.readers.node_outputs import LABELLED
from haskd_training.recordings.repeats import Repeats

LOOKED_INTO = 6
"""Clouds whose every field is looked at, evenly spread."""

KEPT_POINTS = 5_000
"""Points of a sampled cloud that are kept, evenly spread."""

FAR_M = 1_000.0
"""No LiDAR on a vehicle sees a return further away."""


@dataclass(frozen=True)
class CloudSample:
    """Some points of a cloud.

    Attributes:
        points: [n, 4] float32, x y z in m in the cloud's frame, intensity in its own unit.
        rows: [n] which points of the cloud these are.
        labels: [n] uint8 class ids; None where they were not asked for, or the cloud has none.
    """

    recorded_ns: int
    stamp_ns: int
    frame: str
    points: np.ndarray
    rows: np.ndarray
    labels: np.ndarray | None = None


class CloudExaminer:
    """Looks at a recording's clouds, one after another.

    Args:
        topic: theirs.
        clouds: how many there are.
        intensity_scale: as of `examine`.
    """

    def __init__(self, topic: str, clouds: int, intensity_scale: float = 0.0) -> None:
        self.topic = topic
        self.clouds = clouds
        self.samples: list[CloudSample] = []
        self.intensity = IntensityUnit(intensity_scale)
        self._examples: list[tuple[np.ndarray, bool]] = []
        self._looked_into = spread_numbers(clouds, LOOKED_INTO)
        self._seen = self._looked_at = self._standing = 0
        self._repeated: list[int] = []
        self._empty = 0
        self._returns: list[int] = []
        self._malformed: Counter[str] = Counter()
        self._fields_of_malformed: Sequence[Any] = ()
        self._fields: dict[str, str] = {}
        self._intensity_field: str | None = None
        self._values: dict[str, Counter[str]] = {}
        self._beams: int | None = None
        self._times: list[PointTimes] = []
        self._time_span = (np.inf, -np.inf)
        self._repeats = Repeats()
        self._last_stamps: dict[str, int] = {}
        self._not_finite = self._returns_in_all = 0
        self._compound_times: dict[str, int] = {}

    def add(self, cloud: Any, recorded_ns: int) -> bool:
        """Look at the next cloud; whether it is used: it isn't there already."""
        number, self._seen = self._seen, self._seen + 1
        if self._is_repeat(cloud):
            self._repeated.append(recorded_ns)
            return False
        if not cloud.width * cloud.height:
            self._empty += 1
            return True
        try:
            read_points(cloud, ["x", "y", "z"])
            measured = self.intensity.add(read_intensity(cloud))
            if number in self._looked_into:
                self._look_at(cloud, recorded_ns, measured)
        except CloudError as error:
            self._malformed[error.reason] += 1
            self._fields_of_malformed = cloud.fields
        return True

    def add_labels(self, ids: np.ndarray) -> None:
        """Class ids [N] uint8 of the points of the cloud that was sampled last."""
        last = self.samples[-1]
        self.samples[-1] = replace(last, labels=ids[last.rows])

    def check(self, path: Path) -> None:
        """
        Raises:
            InputError: all clouds lack x, y or z.
        """
        fields = self._fields_of_malformed
        missing = {"x", "y", "z"} - {field.name for field in fields}
        if fields and missing and self._malformed.total() + self._empty == self._seen:
            raise InputError(
                f"{path}: the clouds of {self.topic} have no {', '.join(sorted(missing))}; "
                f"their fields are {listed((field.name for field in fields), QUOTED_CHARACTERS)}"
            )

    def _is_repeat(self, cloud: Any) -> bool:
        """Whether it is there already; if not, whether it has the stamp of the one before."""
        if self._repeats.is_repeat(self.topic, cloud):
            return True
        frame, stamp = cloud.header.frame_id, stamp_ns(cloud)
        if stamp and self._last_stamps.get(frame) == stamp:
            self._standing += 1
        self._last_stamps[frame] = stamp
        return False

    @property
    def examples(self) -> Examples:
        """The clouds that are looked into."""
        scale = self.intensity.full_scale
        return tuple((points, scale if measured else None) for points, measured in self._examples)

    def _look_at(self, cloud: Any, recorded_ns: int, measured: bool) -> None:
        self._looked_at += 1
        points, self._intensity_field = read_xyz_intensity(cloud)
        valid = valid_returns(points)
        returns = points[valid]
        self._returns.append(len(returns))
        if measured:
            self._not_finite += int(np.count_nonzero(~np.isfinite(returns[:, 3])))
            self._returns_in_all += len(returns)
        self._compound_times |= {
            field.name: field.count
            for field in cloud.fields
            if is_time_field(field.name) and field.count > 1
        }
        times = point_times(cloud, stamp_ns(cloud), valid)
        problem = times.problem
        if times.unit or (problem and problem.reason not in (NO_FIELD, NO_RETURNS, ONE_TIME)):
            self._times.append(times)
            seconds = times.seconds[valid]
            self._time_span = (
                min(self._time_span[0], float(seconds.min())),
                max(self._time_span[1], float(seconds.max())),
            )
        for name, values in _columns(cloud):
            self._fields.setdefault(name, str(values.dtype.name))
            self._values.setdefault(name, Counter())[_kind(values[valid])] += 1
            if name == "ring" and values.dtype.kind in "iu":
                self._beams = max(self._beams or 0, len(np.unique(values[valid])))
        if self._beams is None and cloud.height > 1:
            self._beams = int(cloud.height)
        rows = np.flatnonzero(valid)[:: max(1, -(-len(returns) // KEPT_POINTS))]
        frame = frame_of(cloud)
        self.samples.append(CloudSample(recorded_ns, stamp_ns(cloud), frame, points[rows], rows))
        self._examples.append((np.array(returns), measured))

    def summary(self) -> SensorSummary:
        """What the sensor is like."""
        points = np.concatenate([np.zeros((0, 4)), *(s.points for s in self.samples)])
        flat = np.hypot(points[:, 0], points[:, 1])
        elevation = None
        if len(points):
            low, high = np.percentile(np.degrees(np.arctan2(points[:, 2], flat)), [1, 99])
            elevation = {"min": float(low), "max": float(high)}
        intensity = points[np.isfinite(points[:, 3]), 3]
        return SensorSummary(
            clouds=self.clouds,
            sampled=self._looked_at,
            fields=self._fields,
            beams=self._beams,
            points=_percentiles(np.array(self._returns)),
            range_m=_percentiles(np.hypot(flat, points[:, 2])),
            elevation_deg=elevation,
            point_times=self._point_times(),
            intensity_field=self._intensity_field,
            intensity=None if self._intensity_field is None else _percentiles(intensity),
        )

    def _point_times(self) -> str | None:
        """How the time of each point is told, and between which times relative to the stamp."""
        if not self._times:
            return None
        one, (first, last) = self._times[0], self._time_span
        if not one.unit:
            return f"{one.field}, not known: {_problem(one)}"
        return f"{one.field} in {one.unit} from {one.origin}: {first:.3f} to {last:.3f} s"

    def findings(self, stop_ns: int | None) -> Iterator[Finding]:
        """What is wrong with the clouds.

        Args:
            stop_ns: what was recorded from then on is not used, so that it repeats nothing.
        """
        of = f"of {self._seen} clouds"
        if repeated := sum(stop_ns is None or at < stop_ns for at in self._repeated):
            yield Finding(
                "clouds-repeated",
                self.topic,
                "repaired",
                f"{repeated} {of} are there already, to the byte; each is used once",
            )
        if self._standing:
            yield Finding(
                "stamps-stand-still",
                self.topic,
                "doubtful",
                f"{self._standing} {of} have the stamp of the one before, with other points: they "
                "get its pose and images",
                "have the driver stamp each cloud",
            )
        if self._empty:
            yield Finding(
                "clouds-empty", self.topic, "left out", f"{self._empty} {of} have no points"
            )
        for reason, count in self._malformed.most_common():
            yield Finding(
                "clouds-malformed", self.topic, "left out", f"{count} {of} are malformed: {reason}"
            )
        if self._looked_at:
            yield from self._of_contents()

    def _of_contents(self) -> Iterator[Finding]:
        of = f"{self._looked_at} sampled clouds"
        if without := self._returns.count(0):
            yield Finding(
                "clouds-without-returns",
                self.topic,
                "left out",
                f"{without} of {of} hold no return: every point is not finite or at the origin",
            )
        for finding in intensity_findings(self.intensity, self.topic):
            # A node publishes labels without the intensity that it saw.
            expected = finding.code == "no-intensity" and self._fields.keys() >= LABELLED
            yield replace(finding, outcome="noted") if expected else finding
        if self._not_finite:
            absent = self._not_finite / self._returns_in_all
            yield Finding(
                "intensity-not-finite",
                self.topic,
                "doubtful",
                f"intensity is NaN or infinite at {absent:.1%} of the returns of {of}, and a "
                "number at the others: for such a point the mean stands in",
                "record intensity as a number for every return",
            )
        for name, count in self._compound_times.items():
            yield Finding(
                "point-times-unknown",
                self.topic,
                "doubtful",
                f"field {name} holds {count} values a point, which are not read as a time; all "
                "points of a cloud are taken to be of its stamp",
                "record the time of each point as one value",
            )
        if unknown := [times for times in self._times if not times.unit]:
            yield Finding(
                "point-times-unknown",
                self.topic,
                "doubtful",
                f"{_problem(unknown[0])} ({len(unknown)} {of}); all points of a cloud are taken to "
                "be of its stamp",
            )
        for name, kinds in self._values.items():
            if name != self._intensity_field and kinds["nan"]:
                share = "all" if kinds["nan"] == kinds.total() else f"{kinds['nan']} of"
                message = f"field {name} is NaN at every point of {share} {of}"
                yield Finding("field-nan", self.topic, "noted", message)
        distances = [np.linalg.norm(s.points[:, :3], axis=1) for s in self.samples]
        if all(len(d) == 0 or d.min() > FAR_M for d in distances) and any(map(len, distances)):
            nearest = min(float(d.min()) for d in distances if len(d))
            frame = self.samples[0].frame
            around = [s.points[:, :3] for s in self.samples if len(s.points)]
            # Seen from within, points lie all around; seen from afar, close together.
            wide = np.ptp(np.concatenate(around), axis=0).max() > nearest
            question, remedy = (
                ("are they in m?", "record them in m")
                if wide
                else (
                    "is the cloud in the sensor's frame?",
                    "record the clouds before they are moved into a map",
                )
            )
            yield Finding(
                "points-far-away",
                self.topic,
                "doubtful",
                f"every point is more than {nearest:,.0f} m from the origin of its frame {frame}, "
                f"which no sensor sees: {question}",
                remedy,
            )


def _columns(cloud: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values [N] of each field that stands once."""
    counts = Counter(field.name for field in cloud.fields)
    for field in cloud.fields:
        if field.name and counts[field.name] == 1 and field.count == 1:
            yield field.name, read_points(replace(cloud, fields=[field]))[field.name]


def _problem(times: PointTimes) -> str:
    return "" if times.problem is None else times.problem.message


def _kind(values: np.ndarray) -> str:
    """Whether a field's values are `nan` throughout, or `values`."""
    is_nan = len(values) > 0 and values.dtype.kind == "f" and bool(np.isnan(values).all())
    return "nan" if is_nan else "values"


def _percentiles(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    p5, median, p95 = np.percentile(values.astype(np.float64), [5, 50, 95])
    return {"p5": float(p5), "median": float(median), "p95": float(p95)}
