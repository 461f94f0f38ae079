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


def percent(value: float | None) -> str:
    """A share in percent, a dash for none and for what is not a number."""
    return "-" if value is None or np.isnan(value) else f"{100 * value:.1f}"
