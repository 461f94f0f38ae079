"""The sweeps of caches, each with the images nearest to it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from haskd_ros.errors import InputError
from haskd_ros.segmenter import Segmenter
from haskd_training.data.caches.cache import Cache
from haskd_training.data.sensor_statistics import unlike_training
from haskd_training.learning.inference import label_as_robot
from haskd_training.recordings.findings import Finding
from haskd_training.robot.views.over_time.sweeps import (
    IMAGE_WINDOW_S,
    Labels,
    RecordedSweeps,
    SweepWithImages,
)


def sweeps_of_caches(caches: Sequence[Cache]) -> RecordedSweeps:
    """The sweeps of some caches, one after the other.

    Raises:
        InputError: caches of different classes.
    """
    names = {cache.taxonomy.names for cache in caches}
    if len(names) > 1:
        raise InputError(f"{', '.join(str(c.path) for c in caches)} have different classes")
    labelled = any(any(row.class_counts) for cache in caches for row in cache.sweeps)
    cameras: dict[str, set[str]] = {row.recording: set() for c in caches for row in c.sweeps}
    for cache in caches:
        for image in cache.images:
            cameras.setdefault(image.recording, set()).add(image.camera)

    def findings_of(segmenter: Segmenter) -> list[Finding]:
        return [
            finding for cache in caches for finding in unlike_training(cache, segmenter.metadata)
        ]

    def read(chosen: range) -> Iterator[SweepWithImages]:
        first = 0
        for cache in caches:
            images = _nearest_images(cache)
            for i in range(len(cache)):
                if first + i in chosen:
                    yield _sweep_of_cache(cache, i, first + i, images.get(i, ()), labelled)
            first += len(cache)

    return RecordedSweeps(
        taxonomy=caches[0].taxonomy if labelled else None,
        published=False,
        cameras={name: sorted(names) for name, names in cameras.items()},
        count=sum(map(len, caches)),
        read=read,
        findings_of=findings_of,
    )


def _sweep_of_cache(
    cache: Cache, i: int, number: int, images: Sequence[int], labelled: bool
) -> SweepWithImages:
    sweep = cache.sweep(i)

    def label(segmenter: Segmenter) -> Labels:
        result = label_as_robot(segmenter, cache, i)
        return Labels(result.class_id, result.entropy)

    return SweepWithImages(
        number=number,
        row=cache.sweeps[i],
        points=sweep.points,
        truth=sweep.label if labelled else None,
        published=None,
        label=label,
        images=[(cache.images[j], cache.jpeg(j)) for j in images],
    )


def _nearest_images(cache: Cache) -> dict[int, list[int]]:
    """By sweep: the images that are nearer to it than to any other one, in order of time."""
    window = round(IMAGE_WINDOW_S * 1e9)
    sweeps: dict[str, list[tuple[int, int]]] = {}
    for i, row in enumerate(cache.sweeps):
        sweeps.setdefault(row.recording, []).append((row.stamp_ns, i))
    for rows in sweeps.values():
        rows.sort()
    nearest: dict[int, list[int]] = {}
    for j in sorted(range(len(cache.images)), key=lambda j: cache.images[j].stamp_ns):
        image = cache.images[j]
        rows = sweeps.get(image.recording, [])
        after = bisect_left(rows, (image.stamp_ns, 0))
        around = rows[max(0, after - 1) : after + 1]
        if around:
            stamp, i = min(around, key=lambda row: abs(row[0] - image.stamp_ns))
            if abs(stamp - image.stamp_ns) <= window:
                nearest.setdefault(i, []).append(j)
    return nearest
