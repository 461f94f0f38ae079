"""What commands are given: recordings, each prepared into a cache of its own, or such caches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from haskd_ros.text import file_name
from haskd_training.core.progress import Steps
from haskd_training.data.cache import Cache, is_cache
from haskd_training.data.examination.examination import of_images
from haskd_training.data.prepare import write_cache
from haskd_training.data.prepare_inputs import Inputs, PrepareConfig, read_inputs, read_report
from haskd_training.data.prepare_report import PrepareReport
from haskd_training.recordings.findings import Finding, Say


def examine_all(
    bags: Sequence[Path], labels: str | None, out: Path, config: PrepareConfig, steps: Steps
) -> list[Inputs | Cache]:
    """Examine bags, each for a cache of its own; those that are prepared already are not read, and
    caches that were given are opened."""
    examined: list[Inputs | Cache] = []
    for bag in bags:
        if is_cache(bag):
            examined.append(Cache.open(bag))
            continue
        identity = json.dumps([str(bag.resolve()), labels, config.model_dump(mode="json")])
        digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
        folder = out / "caches" / f"{file_name(bag.resolve().stem)}-{digest}"
        with steps(f"examining {bag.name}") as progress:
            examined.append(read_inputs([bag], labels, folder, config, progress))
    return examined


def findings_of(examined: Inputs | Cache) -> list[Finding]:
    """What is to be said of a recording, or was said of those in a cache when it was made."""
    return read_report(examined).findings if isinstance(examined, Cache) else examined.findings


def prepare_all(
    examined: Sequence[Inputs | Cache], steps: Steps, say: Say
) -> tuple[list[Cache], list[PrepareReport]]:
    """Caches of bags that were examined, with their reports."""
    caches, reports = [], []
    for inputs in examined:
        if isinstance(inputs, Cache):
            caches.append(inputs)
            reports.append(read_report(inputs))
            continue
        with steps(f"preparing {inputs.out.name}") as progress:
            reports.append(write_cache(inputs, progress, say))
        caches.append(Cache.open(inputs.out))
    return caches, reports


def why_no_images(reports: Sequence[PrepareReport]) -> str:
    """Why the images of some recordings can't teach; empty where there are none, or where some
    image shows a point."""
    if any(report.seen_share for report in reports):
        return ""
    told = [line for report in reports for line in of_images(report.findings)]
    skipped = [
        f"{count} images left out: {reason}"
        for report in reports
        for reason, count in report.images_skipped.items()
    ]
    return "; ".join(told or skipped)
