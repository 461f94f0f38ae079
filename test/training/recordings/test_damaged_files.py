"""Files of every kind that are damaged or made to harm: one line, in bounded time and memory."""

from __future__ import annotations

from pathlib import Path

from damaged_files import KINDS
from damaged_reading import read_damaged
from hostile_files import CASES

# Those take seconds to be made, or to be late; benchmarks/attack.py has them all.
SLOW = ("MCAP, ", "image, JPEG of 5,000", "image, PNG of 30")


def test_what_is_damaged_or_made_to_harm_is_told_in_one_line(tmp_path: Path) -> None:
    kinds = [*KINDS, *(name for name in CASES if not name.startswith(SLOW))]
    readings = read_damaged(kinds, tmp_path, 100.0, tries=1, seed=1000)
    assert readings.faults == []
    assert readings.tried == len(kinds)
