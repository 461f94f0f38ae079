"""The report on a prepared cache: sweeps, images, labels, camera coverage."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from haskd_training.data.caches.cache import Cache
from haskd_training.data.projection import project
from haskd_training.data.sensor_statistics import sampled_sweeps
from haskd_training.recordings.findings import Finding

CAMERA_WINDOW_S = 0.5
"""Largest time between a sweep and an image that counts as covering it."""

COVERAGE_SWEEPS = 12
"""Sweeps that the share of points seen by a camera is computed over, evenly spread."""


@dataclass(frozen=True)
class ClassShare:
    """Labelled points of a class; sweeps: those with at least one."""

    name: str
    points: int
    share: float
    sweeps: int


@dataclass(frozen=True)
class PrepareReport:
    """The report on a prepared cache.

    sweeps_skipped, images_skipped: counts by reason.
    points_per_sweep: min, median, max.
    classes, ignored_share: shares of all points.
    camera_offsets_ms: by camera min, median, max of (stamp of the nearest image - sweep's stamp).
    camera_coverage: by camera the share of points that its nearest image sees.
    seen_share: share of points that the nearest image of any camera sees; None without images.
    findings: what is repaired, doubtful and left out in the recordings.
    up_to_date: the cache existed already.
    """

    cache: str
    recordings: list[str]
    sweeps: int
    sweeps_skipped: dict[str, int]
    sweeps_without_pose: int
    images: int
    images_skipped: dict[str, int]
    points_per_sweep: dict[str, float]
    classes: list[ClassShare]
    ignored_share: float
    camera_offsets_ms: dict[str, dict[str, float]]
    camera_coverage: dict[str, float]
    seen_share: float | None
    intensity_scale: float
    findings: list[Finding]
    up_to_date: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PrepareReport:
        read = {
            "classes": [ClassShare(**share) for share in data["classes"]],
            "findings": [Finding(**finding) for finding in data["findings"]],
        }
        return cls(**{**data, **read})


def make_report(
    cache: Cache,
    recordings: list[str],
    *,
    sweeps_skipped: dict[str, int],
    images_skipped: dict[str, int],
    findings: list[Finding],
) -> PrepareReport:
    """Compute the report of a cache; reads at most `COVERAGE_SWEEPS` of its sweeps."""
    points = np.array([row.points for row in cache.sweeps])
    counts = np.array([row.class_counts for row in cache.sweeps])
    total = int(points.sum())
    coverage, seen = _coverage(cache)
    return PrepareReport(
        cache=str(cache.path),
        recordings=recordings,
        sweeps=len(cache),
        sweeps_skipped=sweeps_skipped,
        sweeps_without_pose=sum(row.T_world_lidar is None for row in cache.sweeps),
        images=len(cache.images),
        images_skipped=images_skipped,
        points_per_sweep={
            "min": float(points.min()),
            "median": float(np.median(points)),
            "max": float(points.max()),
        },
        classes=[
            ClassShare(name, int(n), int(n) / total, int(sweeps))
            for name, n, sweeps in zip(
                cache.taxonomy.names, counts.sum(axis=0), (counts > 0).sum(axis=0), strict=True
            )
        ],
        ignored_share=1 - int(counts.sum()) / total,
        camera_offsets_ms=_offsets(cache),
        camera_coverage=coverage,
        seen_share=seen,
        intensity_scale=cache.intensity_scale,
        findings=findings,
    )


def nearest_images(cache: Cache, i: int) -> dict[str, int]:
    """By camera the image nearest in time to sweep `i`, within `CAMERA_WINDOW_S`."""
    nearest: dict[str, int] = {}
    for j in cache.images_near(i, CAMERA_WINDOW_S):
        nearest.setdefault(cache.images[j].camera, j)
    return nearest


def _offsets(cache: Cache) -> dict[str, dict[str, float]]:
    offsets: dict[str, list[float]] = {}
    for i, sweep in enumerate(cache.sweeps):
        for camera, j in nearest_images(cache, i).items():
            offset_ns = cache.images[j].stamp_ns - sweep.stamp_ns
            offsets.setdefault(camera, []).append(offset_ns / 1e6)
    return {
        camera: {"min": min(ms), "median": float(np.median(ms)), "max": max(ms)}
        for camera, ms in sorted(offsets.items())
    }


def _coverage(cache: Cache) -> tuple[dict[str, float], float | None]:
    """Share of points seen, by camera and by any of them."""
    if not cache.images:
        return {}, None
    total, by_any = 0, 0
    by_camera = dict.fromkeys(sorted({row.camera for row in cache.images}), 0)
    for i in sampled_sweeps(cache, COVERAGE_SWEEPS):
        points = cache.sweep(i).points
        seen = np.zeros(len(points), bool)
        for camera, j in nearest_images(cache, i).items():
            model = cache.images[j].camera_model
            inside = project(points, cache.t_camera_lidar(j, i), model).inside
            by_camera[camera] += int(inside.sum())
            seen |= inside
        total += len(points)
        by_any += int(seen.sum())
    return {camera: n / total for camera, n in by_camera.items()}, by_any / total


def render(report: PrepareReport) -> RenderableType:
    """The report for a rich console."""
    points = report.points_per_sweep
    summary = Table("", "", show_header=False, title=Text(report.cache), title_justify="left")
    summary.add_row("recordings", Text(", ".join(report.recordings)))
    without_pose = report.sweeps_without_pose
    summary.add_row(
        "sweeps", f"{report.sweeps}" + (f" ({without_pose} without pose)" if without_pose else "")
    )
    summary.add_row(
        "points per sweep",
        f"{points['median']:,.0f} ({points['min']:,.0f} to {points['max']:,.0f})",
    )
    summary.add_row("images", f"{report.images}")
    if report.seen_share is not None:
        summary.add_row("points seen by a camera", f"{report.seen_share:.1%}")
    summary.add_row("intensity scale", f"{report.intensity_scale:g}")

    classes = Table("class", "points", "share", "sweeps", title="labels", title_justify="left")
    for share in report.classes:
        classes.add_row(share.name, f"{share.points:,}", f"{share.share:.2%}", f"{share.sweeps}")
    classes.add_row("(ignored)", "", f"{report.ignored_share:.2%}", "")

    parts: list[RenderableType] = [summary, classes]
    if report.camera_offsets_ms:
        cameras = Table(
            "camera",
            "min ms",
            "median ms",
            "max ms",
            "points seen",
            title="time of the nearest image minus the sweep's",
            title_justify="left",
        )
        for camera, ms in report.camera_offsets_ms.items():
            cameras.add_row(
                camera,
                *(f"{ms[key]:+.1f}" for key in ("min", "median", "max")),
                f"{report.camera_coverage[camera]:.1%}",
            )
        parts.append(cameras)
    for kind, skipped in (("sweeps", report.sweeps_skipped), ("images", report.images_skipped)):
        if skipped:
            table = Table(f"{kind} left out", "reason")
            for reason, count in sorted(skipped.items(), key=lambda item: -item[1]):
                table.add_row(f"{count}", Text(reason))
            parts.append(table)
    if report.up_to_date:
        parts.append(Text("the cache was up to date"))
    return Group(*parts)
