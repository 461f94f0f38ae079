"""How a command shows what an examination finds."""

from __future__ import annotations

from haskd_training.core.progress import console
from haskd_training.recordings.findings import Finding


def say(finding: Finding) -> None:
    """A line; a warning in yellow."""
    style = "yellow" if finding.is_warning else "red" if finding.outcome == "refused" else "dim"
    line = f"{finding.outcome}: {finding}"
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
