"""What an attack came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias


@dataclass
class Outcome:
    """Of attacks of one kind.

    Attributes:
        tried: attacks made.
        faults: one line for each that did harm: what was done, and what came of it that should
            not have.
        remark: what could not be tried here and why, or a figure worth a line.
    """

    tried: int = 0
    faults: list[str] = field(default_factory=list)
    remark: str = ""


Attack: TypeAlias = Callable[[Path, float], Outcome]
"""(scratch, seconds) -> its outcome.

scratch: an empty folder of its own. seconds: about how long an attack that draws at random goes on;
one that goes through a list takes what it takes.
"""
