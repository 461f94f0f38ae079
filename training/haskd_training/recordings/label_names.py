"""Which label file belongs to which cloud, by the numbers in the files' names."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

_UNITS_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}

ROUNDING_NS = 1_000_000
"""Names may hold rounded stamps; two sweeps are at least ten times as far apart."""

_PAIR_DIGITS = 9
"""Of the nanoseconds in SECONDS_NANOSECONDS."""

# The last number in a name, with what follows a point, an underscore or a dash.
_NUMBER = re.compile(r"(\d+)(?:([._-])(\d+))?(?!.*\d)")


class CloudTime(NamedTuple):
    """When a cloud was: its header's stamp, and when it was recorded, in ns; of a folder of cloud
    files the cloud's name, too."""

    stamp_ns: int
    recorded_ns: int
    name: str = ""


@dataclass(frozen=True)
class NameNumber:
    """The number in a file's name.

    Attributes:
        value: as written; of SECONDS_NANOSECONDS the time in ns.
        digits: behind the point; None of a whole number.
        is_pair: SECONDS_NANOSECONDS.
    """

    value: Fraction
    digits: int | None = None
    is_pair: bool = False

    def in_ns(self, unit_ns: int) -> tuple[int, int]:
        """The time that it stands for and how exact that is, in ns, if its unit has `unit_ns`."""
        if self.is_pair:
            return int(self.value), 1
        return round(self.value * unit_ns), max(1, unit_ns // 10 ** (self.digits or 0))


@dataclass(frozen=True)
class Matching:
    """The files of a recording's clouds.

    Attributes:
        naming: how the files are named: "stamp in ns", "index from 0".
        by_index: whether that is an index.
        files: name of the file by the cloud's index.
        ambiguous: an index that may count from 0 and from 1.
    """

    naming: str
    by_index: bool
    files: Mapping[int, str]
    ambiguous: bool = False


def name_number(stem: str) -> NameNumber | None:
    """The number in a file's name without its ending: an index, or a stamp: whole, with decimals
    (12.35), or as SECONDS_NANOSECONDS; None where there is none."""
    found = _NUMBER.search(stem)
    if found is None:
        return None
    first, separator, second = found.groups()
    if second is None:
        return NameNumber(Fraction(int(first)))
    if separator == ".":
        return NameNumber(Fraction(f"{first}.{second}"), len(second))
    is_padded = len(second) == _PAIR_DIGITS
    if is_padded or (len(first) > _PAIR_DIGITS and len(second) < _PAIR_DIGITS):
        return NameNumber(Fraction(int(first) * 10**9 + int(second)), is_pair=True)
    return NameNumber(Fraction(int(second)))


def match(names: Mapping[str, NameNumber], clouds: Sequence[CloudTime]) -> Matching | None:
    """Find how files are named, by what gives most of them a cloud: the header's stamp or the time
    of recording in any unit, or the cloud's index from 0 or from 1.

    Args:
        names: the number in each file's name.
        clouds: of the recording, in its order.

    Returns:
        None where no file belongs to a cloud.
    """
    candidates = [*_by_time(names, clouds), *_by_index(names, len(clouds))]
    # Of equals the first one: a stamp that fits is no accident.
    best = max(candidates, key=lambda matching: len(set(matching.files.values())))
    return best if best.files else None


def _by_time(names: Mapping[str, NameNumber], clouds: Sequence[CloudTime]) -> Iterator[Matching]:
    clocks = {
        "stamp": [cloud.stamp_ns for cloud in clouds],
        "time of recording": [cloud.recorded_ns for cloud in clouds],
    }
    for clock, times in clocks.items():
        between = np.diff(np.unique(np.array(times, np.int64)))
        spacing = float(np.median(between)) if len(between) else float("inf")
        for unit, unit_ns in _UNITS_NS.items():
            yield Matching(f"{clock} in {unit}", False, _nearest(names, unit_ns, times, spacing))


def _nearest(
    names: Mapping[str, NameNumber], unit_ns: int, times: Sequence[int], spacing_ns: float
) -> dict[int, str]:
    """The file nearest to each time, if it is as near as its name is exact. A name of few decimals
    counts where no other cloud can be meant: rounded or cut off, it is less than half way to it."""
    ordered = sorted((*number.in_ns(unit_ns), name) for name, number in names.items())
    keys = [time for time, _, _ in ordered]
    files = {}
    for index, time in enumerate(times):
        after = bisect_left(keys, time)
        near = ordered[max(0, after - 1) : after + 1]
        key, exact, name = min(near, key=lambda entry: abs(entry[0] - time))
        tolerance = exact if ROUNDING_NS < exact < spacing_ns / 2 else ROUNDING_NS
        if abs(key - time) <= tolerance:
            files[index] = name
    return files


def _by_index(names: Mapping[str, NameNumber], clouds: int) -> Iterator[Matching]:
    whole = {
        int(number.value): name
        for name, number in names.items()
        if number.digits is None and not number.is_pair
    }
    from_0, from_1 = (
        {index: whole[index + first] for index in range(clouds) if index + first in whole}
        for first in (0, 1)
    )
    ambiguous = len(from_0) == len(from_1) and 0 not in whole and clouds not in whole
    yield Matching("index from 0", True, from_0, ambiguous)
    yield Matching("index from 1", True, from_1)
