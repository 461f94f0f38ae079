"""What there is to say about a recording before anything is computed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from haskd_ros.errors import InputError

Outcome = Literal["noted", "repaired", "doubtful", "left out", "refused"]
"""What is done about a finding."""

WARNINGS: tuple[Outcome, ...] = ("doubtful", "left out")
"""Outcomes that `--strict` refuses: something is lost, or used although it may be wrong."""


@dataclass(frozen=True)
class Finding:
    """One thing in a recording that its owner should know.

    Attributes:
        code: its kind, for programs: `stamps-go-back`.
        subject: the topic, file or frame that it is about.
        outcome: noted: nothing is wrong or changed; repaired: read as it was meant; doubtful: used
            as it is, and may be wrong; left out: not used; refused: nothing can be computed.
        message: one line: what is there, with its numbers, and what is done about it.
        remedy: what mends it, best a command or setting; empty where nothing has to be mended.
    """

    code: str
    subject: str
    outcome: Outcome
    message: str
    remedy: str = ""

    @property
    def is_warning(self) -> bool:
        return self.outcome in WARNINGS

    def __str__(self) -> str:
        line = f"{self.subject}: {self.message}"
        return f"{line}; {self.remedy}" if self.remedy else line

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


Say = Callable[[Finding], None]
"""Shows a finding to the user."""


def say_nothing(finding: Finding) -> None:
    """Show nothing."""


def tell(findings: Sequence[Finding], say: Say, strict: bool = False) -> None:
    """Say all findings, then `refuse`; raises as it does."""
    for finding in findings:
        say(finding)
    refuse(findings, strict)


def refuse(findings: Iterable[Finding], strict: bool = False) -> None:
    """Stop where a finding says that nothing can be computed.

    Args:
        strict: stop at warnings too.

    Raises:
        InputError: the first such finding, and how many more there are.
    """
    refused = [
        finding
        for finding in findings
        if finding.outcome == "refused" or (strict and finding.is_warning)
    ]
    if refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise InputError(f"{refused[0]}{more}")
