"""How commands show what an examination finds."""

from __future__ import annotations

from pathlib import Path

from haskd_training.core.progress import console, step
from haskd_training.recordings.findings import Finding, refuse


def say(finding: Finding) -> None:
    """A line; a warning in yellow."""
    style = "yellow" if finding.is_warning else "red" if finding.outcome == "refused" else "dim"
    line = f"{finding.outcome}: {finding}"
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def examine_first(
    bag: Path, topic: str | None, strict: bool, model: Path | None = None
) -> set[str]:
    """Say what is wrong with the clouds of a bag before a command works on them.

    Args:
        topic: of the clouds; None: the only one that a node did not publish.
        strict: refuse what would be a warning.
        model: that is to label them; its sensor is compared with theirs.

    Returns:
        The codes of what was said.

    Raises:
        InputError: the bag can't be read, or something in it is refused.
    """
    from haskd_training.data.examination.examine import examine_clouds

    with step(f"examining {bag.name}") as progress:
        examination = examine_clouds(bag, topic, progress)
    findings = list(examination.findings)
    if model is not None and examination.sensor.points is not None:
        from haskd_ros import model_file
        from haskd_training.recordings.cloud_sample import sensor_findings

        clouds = [(examination.example, examination.full_scale)]
        subject = examination.recording.points_topic
        findings += sensor_findings(clouds, model_file.load(model)[1], subject)
    for finding in findings:
        say(finding)
    refuse(findings, strict)
    return {finding.code for finding in findings}


def say_of_cache(cache: Path, strict: bool) -> None:
    """Say what was found when a cache was made.

    Raises:
        InputError: its report can't be read, or something in it is refused.
    """
    from haskd_training.data.prepare_inputs import read_report

    findings = read_report(cache).findings
    for finding in findings:
        say(finding)
    refuse(findings, strict)
