"""What became of the clouds in one respect, by reason."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple


class Outcome(NamedTuple):
    """What became of the clouds.

    Attributes:
        counts: clouds by reason since the start; those with the empty one went well.
        recent: the same since the last time that somebody asked.
        message: of the newest cloud that had a reason; `reason` is it.
    """

    counts: Counter[str]
    recent: Counter[str]
    reason: str
    message: str


class Outcomes:
    """Counts clouds; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._problem = ("", "")

    def note(self, reason: str = "", message: str = "") -> None:
        """Count a cloud; without a reason it went well."""
        with self._lock:
            self._counts[reason] += 1
            if reason:
                self._problem = reason, message

    def ask(self) -> Outcome:
        """All of it; what is recent counts from here on."""
        with self._lock:
            counts, problem = self._counts.copy(), self._problem
            recent, self._asked = counts - self._asked, counts.copy()
        return Outcome(counts, recent, *problem)
