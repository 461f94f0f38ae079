"""What commands are given: recordings, each prepared into a cache of its own, or such caches."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

from haskd_ros.text import file_name
from haskd_training.core.exchange import documents_of_all
from haskd_training.core.processes import alone, own, wait
from haskd_training.core.progress import Steps
from haskd_training.core.storage.location import Location
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.index import INDEX, is_recording
from haskd_training.data.preparing.examination.examination import of_images
from haskd_training.data.preparing.inputs import Inputs, PrepareConfig, read_inputs, read_report
from haskd_training.data.preparing.prepare import write_cache
from haskd_training.data.preparing.report import PrepareReport
from haskd_training.recordings.findings import Finding, Say, tell


def examine_all(
    bags: Sequence[Location], labels: str | None, out: Path, config: PrepareConfig, steps: Steps
) -> list[Inputs | Cache]:
    """Examine bags, each for a cache of its own; those that are prepared already are not read, and
    caches that were given are opened. What lies in a store is taken for a cache."""
    examined: list[Inputs | Cache] = []
    for bag in bags:
        if not is_recording(bag):
            examined.append(Cache.open(bag))
            continue
        folder = _folder(bag, labels, out, config)
        with steps(f"examining {bag.name}") as progress:
            examined.append(read_inputs([bag], labels, folder, config, progress))
    return examined


def recordings_in(given: Sequence[Location]) -> list[Path]:
    """Those of what a command was given that are recordings, and no caches."""
    return [each for each in given if is_recording(each)]


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


def prepare_together(
    roles: Sequence[tuple[Sequence[Location], str | None]],
    out: Path,
    config: PrepareConfig,
    steps: Steps,
    say: Say,
    *,
    strict: bool,
) -> list[tuple[list[Cache], list[PrepareReport]]]:
    """Examine recordings, tell what there is to say of all of them, then prepare each; several
    processes share the recordings.

    Args:
        roles: (bags, label map) of each; caches among the bags are opened.
        strict: refuse what the examination warns of.

    Returns:
        Of each role the caches, in the order in which they were given, and their reports.

    Raises:
        InputError: anything wrong with a recording.
    """
    given = [(bag, labels) for bags, labels in roles for bag in bags]
    folders: list[Location] = [
        _folder(bag, labels, out, config) if is_recording(bag) else bag for bag, labels in given
    ]
    # A recording may be given several times.
    jobs = list(dict(zip(folders, given, strict=True)).items())
    part = []
    for _, (bag, labels) in own(jobs):
        with alone():
            part += examine_all([bag], labels, out, config, steps)
    examined = _of_all([findings_of(one) for one in part], len(jobs))
    found = dict(zip((folder for folder, _ in jobs), examined, strict=True))
    tell([finding for folder in folders for finding in found[folder]], say, strict)
    later: list[list[Finding]] = [[] for _ in part]
    for one, told in zip(part, later, strict=True):
        with alone():
            prepare_all([one], steps, told.append)
    for finding in itertools.chain(*_of_all(later, len(jobs))):
        say(finding)
    wait(*(folder / INDEX for folder in folders if isinstance(folder, Path)))
    caches = iter([Cache.open(folder) for folder in folders])
    of_roles = [list(itertools.islice(caches, len(bags))) for bags, _ in roles]
    return [(of_role, list(map(read_report, of_role))) for of_role in of_roles]


def _folder(bag: Path, labels: str | None, out: Path, config: PrepareConfig) -> Path:
    """Of the cache of a bag."""
    identity = json.dumps([str(bag.resolve()), labels, config.model_dump(mode="json")])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    return out / "caches" / f"{file_name(bag.resolve().stem)}-{digest}"


def _of_all(part: Sequence[Sequence[Finding]], recordings: int) -> list[list[Finding]]:
    """Findings of each recording, in all processes."""
    plain = [[finding.to_json() for finding in findings] for findings in part]
    return [[Finding(**one) for one in found] for found in documents_of_all(plain, recordings)]


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
