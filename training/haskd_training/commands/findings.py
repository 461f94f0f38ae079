"""How commands show what an examination finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from haskd_training.core.progress import console, step
from haskd_training.recordings.findings import Finding, tell

if TYPE_CHECKING:
    from haskd_training.core.storage.location import Location
    from haskd_training.data.preparing.examination.examination import Examination


def say(finding: Finding) -> None:
    """A line; a warning in yellow."""
    style = "yellow" if finding.is_warning else "red" if finding.outcome == "refused" else "dim"
    line = f"{finding.outcome}: {finding}"
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def examine_first(
    bag: Path,
    topic: str | None,
    strict: bool,
    model: Path | None = None,
    intensity_scale: float = 0.0,
) -> Examination:
    """Say what is wrong with the clouds of a bag before a command works on them.

    Args:
        topic: of the clouds; None: the only one that a node did not publish.
        strict: refuse what would be a warning.
        model: that is to label them; its sensor is compared with theirs.
        intensity_scale: as of `examine_clouds`.

    Returns:
        The examination, with all that was said among its findings.

    Raises:
        InputError: the bag can't be read, or something in it is refused.
    """
    from haskd_ros import model_file
    from haskd_training.data.preparing.examination.examine import examine_clouds
    from haskd_training.recordings.cloud_sample import sensor_findings

    metadata = None if model is None else model_file.load(model)[1]
    with step(f"examining {bag.name}") as progress:
        examination = examine_clouds(bag, topic, progress, intensity_scale=intensity_scale)
    if metadata is not None:
        subject = examination.recording.points_topic
        unlike = sensor_findings(examination.examples, metadata, subject)
        examination = replace(examination, findings=(*examination.findings, *unlike))
    tell(examination.findings, say, strict)
    return examination


def say_of_cache(cache: Location, strict: bool, model: Path | None = None) -> None:
    """Say what was found when a cache was made.

    Args:
        model: that is to label its sweeps; its sensor is compared with theirs.

    Raises:
        InputError: its report can't be read, or something in it is refused.
    """
    from haskd_ros import model_file
    from haskd_training.data.caches.cache import Cache
    from haskd_training.data.preparing.inputs import read_report
    from haskd_training.data.sensor_statistics import unlike_training

    opened = Cache.open(cache)
    findings = list(read_report(opened).findings)
    if model is not None:
        findings += unlike_training(opened, model_file.load(model)[1])
    tell(findings, say, strict)
