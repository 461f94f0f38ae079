"""Tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from haskd_ros.text import shown

_MARKUP = re.compile(r"[|<`\\\[]")


def line(cells: Sequence[str]) -> str:
    """A row. Names in cells come from settings and label maps: nothing in them is markup."""
    plain = (_MARKUP.sub(r"\\\g<0>", shown(cell)) for cell in cells)
    return f"| {' | '.join(plain)} |"


def gain_cells(*intervals: Sequence[float | None]) -> list[str]:
    """The gain in percent that some intervals (mean, low, high) share, and the span of each; dashes
    for what is none."""
    mean = intervals[0][0]
    spans = [
        "-" if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f}"
        for _, low, high in intervals
    ]
    return ["-" if mean is None else f"{100 * mean:+.1f}", *spans]


def percent(value: float | None) -> str:
    """A share in percent, a dash for none and for what is not a number."""
    return "-" if value is None or np.isnan(value) else f"{100 * value:.1f}"
