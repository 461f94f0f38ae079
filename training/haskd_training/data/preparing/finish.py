"""The end of preparing: what needs the whole cache, and then its index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import Taxonomy
from haskd_training.core.background import BackgroundCalls
from haskd_training.core.checked_json import write_json
from haskd_training.core.file_digests import FileDigests
from haskd_training.core.storage.location import Location
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.index import OVERLAYS, REPORT
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.data.caches.writer import CacheWriter
from haskd_training.data.preparing.overlay import write_overlays
from haskd_training.data.preparing.report import PrepareReport, make_report
from haskd_training.data.sensor_statistics import sensor_statistics
from haskd_training.recordings.findings import Finding


@dataclass(frozen=True)
class Rows:
    """The rows of a cache, with their poses; and why images were left out."""

    sweeps: list[SweepRow]
    images: list[ImageRow]
    images_skipped: Counter[str]


def finish_cache(
    writer: CacheWriter,
    rows: Rows,
    taxonomy: Taxonomy,
    recordings: list[str],
    *,
    findings: Sequence[Finding],
    labelled: bool,
    overlays: int,
    out: Location,
    digests: FileDigests,
) -> PrepareReport:
    """Compute the report, pictures and statistics, then write the index.

    Args:
        writer: closed.
        recordings: their names.
        findings: of the inputs, before anything was written.
        labelled: whether the inputs have labels.
        overlays: images with points drawn over them.
        out: where the cache will be, for the report.
        digests: of the inputs' files, which must not have changed meanwhile.

    Raises:
        InputError: there is no sweep, or a file has changed.
    """
    if not rows.sweeps:
        warnings = [str(finding) for finding in findings if finding.is_warning]
        reasons = "; ".join([_counted(writer.sweeps.skipped), *warnings])
        raise InputError(f"no sweep can be used: {reasons}")
    cache = Cache(
        path=writer.path,
        taxonomy=taxonomy,
        intensity_scale=next(
            (row.intensity_scale for row in rows.sweeps if row.intensity_scale is not None), 1.0
        ),
        statistics={},
        sweeps=rows.sweeps,
        images=rows.images,
        fingerprint=writer.fingerprint,
    )
    with BackgroundCalls(1) as background:
        background.call(write_overlays, cache, writer.path / OVERLAYS, overlays)
        cache = replace(cache, statistics=sensor_statistics(cache))
        report = make_report(
            cache,
            recordings,
            sweeps_skipped=dict(writer.sweeps.skipped),
            images_skipped=dict(rows.images_skipped),
            findings=[*findings, *_findings(cache, out.name, rows.images_skipped, labelled)],
        )
        report = replace(report, cache=str(out))
    digests.check_unchanged()
    document = {"fingerprint": cache.fingerprint, **report.to_json()}
    write_json(writer.path / REPORT, document, indent=1)
    cache.write_index(writer.path)
    return report


def _findings(
    cache: Cache, name: str, images_skipped: Counter[str], labelled: bool
) -> Iterator[Finding]:
    """What only shows when the recordings are prepared."""
    if not cache.images:
        reasons = f" ({_counted(images_skipped)})" if images_skipped else ""
        message = f"no images{reasons}: only a LiDAR-only baseline can be trained"
        yield Finding("no-images", name, "doubtful", message)
    if not labelled:
        message = (
            "no labels: training can take these sweeps as unlabelled ones, or with labels from "
            "images"
        )
        yield Finding("no-labels", name, "noted", message)


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
