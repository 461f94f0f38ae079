"""What became of a recording's clouds in one respect, told once for all of them."""

from __future__ import annotations

from collections import Counter

from haskd_training.recordings.findings import Finding


class BagOutcomes:
    """Counts clouds for which something could be done, and by reason those for which it could not.

    Args:
        code, done: of the finding on the first ones, and its message, with a gap for the `{count}`.
        other_code, not_done: the same of the others; the reason's first message follows.
    """

    def __init__(self, code: str, done: str, other_code: str, not_done: str) -> None:
        self._done, self._not_done = (code, done), (other_code, not_done)
        self._good = 0
        self._left: Counter[str] = Counter()
        self._said: dict[str, str] = {}

    def note(self) -> None:
        """Count a cloud for which it was done."""
        self._good += 1

    def note_left(self, reason: str, message: str) -> None:
        """Count one for which it was not."""
        self._left[reason] += 1
        self._said.setdefault(reason, message)

    def findings(self, topic: str) -> list[Finding]:
        """
        Args:
            topic: of the clouds.
        """
        found = []
        if self._good:
            code, text = self._done
            found.append(Finding(code, topic, "repaired", text.format(count=self._good)))
        code, text = self._not_done
        return found + [
            Finding(code, topic, "doubtful", f"{text.format(count=count)}: {self._said[reason]}")
            for reason, count in self._left.items()
        ]
