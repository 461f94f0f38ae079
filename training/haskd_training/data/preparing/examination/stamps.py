"""Stamps of the messages of one sender, in the order of recording."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from haskd_training.recordings.findings import Finding

CLEAR_STEP_NS = 1_000_000_000
"""Stamps that go back by more than this at the very end of a recording are of a restarted clock;
by less, of a message that was late."""

APART_NS = 10_000_000_000
"""Senders whose stamps are further apart than this don't share a clock."""

OFFSET_NS = 2_000_000_000
"""No message is under way for longer."""

DAY_NS = 86_400 * 1_000_000_000
"""Stamps that are further apart than this are not of one drive, whatever the recorder's clock says:
it may have been set with them."""


@dataclass(frozen=True)
class Restart:
    """Stamps go back and go on from there.

    Attributes:
        message: its number, from 0.
        back_ns: how far it lies behind the latest one before it; negative where it lies ahead.
        recorded_ns: when it was recorded.
    """

    message: int
    back_ns: int
    recorded_ns: int


class StampSeries:
    """Stamps and times of recording, in ns; 16 bytes a message."""

    def __init__(self) -> None:
        self._stamps = array("q")
        self._recorded = array("q")

    def add(self, stamp_ns: int, recorded_ns: int) -> None:
        self._stamps.append(stamp_ns)
        self._recorded.append(recorded_ns)

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def stamps(self) -> np.ndarray:
        """[n] int64."""
        return np.array(self._stamps, np.int64)

    @property
    def recorded(self) -> np.ndarray:
        """[n] int64."""
        return np.array(self._recorded, np.int64)

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last stamp that is not zero."""
        stamps = self.stamps
        stamps = stamps[stamps != 0]
        return (int(stamps.min()), int(stamps.max())) if len(stamps) else None

    def restart(self) -> Restart | None:
        """Where the sender's clock was set back; None where it never was.

        A message that is late lies behind the latest one too, but the next one of its sender
        does not; and where two senders share a topic, their stamps take turns. A restarted
        clock has to count up to where it was.
        """
        numbers = np.flatnonzero(self.stamps != 0)
        stamps = self.stamps[numbers]
        if len(stamps) < 2:
            return None
        latest = np.maximum.accumulate(stamps)
        behind = np.concatenate([[False], stamps[1:] < latest[:-1]])
        starts = np.flatnonzero(behind & ~np.concatenate([[False], behind[:-1]]))
        ends = np.flatnonzero(~behind & np.concatenate([[False], behind[:-1]]))
        for start in starts:
            back = int(latest[start - 1] - stamps[start])
            after = ends[ends > start]
            if not len(after):
                restarted = back > CLEAR_STEP_NS or len(stamps) - start > 4
            else:
                end = after[0]
                caught_up = int(stamps[end] - stamps[end - 1])
                restarted = end - start >= 2 and 2 * caught_up < back
            if restarted:
                number = int(numbers[start])
                return Restart(number, back, int(self._recorded[number]))
        return None

    def jump(self) -> Restart | None:
        """Where the sender's clock was set ahead, by a negative `back_ns`; None where it never
        was. A pause is as long by the recorder's clock."""
        numbers = np.flatnonzero(self.stamps != 0)
        steps = np.diff(np.maximum.accumulate(self.stamps[numbers]))
        passed = np.diff(self.recorded[numbers])
        jumps = np.flatnonzero(
            (steps > APART_NS) & ((steps - passed > APART_NS) | (steps > DAY_NS))
        )
        if not len(jumps):
            return None
        number = int(numbers[jumps[0] + 1])
        return Restart(number, -int(steps[jumps[0]]), int(self._recorded[number]))

    def late(self) -> tuple[int, int]:
        """How many messages lie behind the latest one before them, and the furthest in ns."""
        stamps = self.stamps
        stamps = stamps[stamps != 0]
        if len(stamps) < 2:
            return 0, 0
        back = np.maximum.accumulate(stamps)[:-1] - stamps[1:]
        return int((back > 0).sum()), int(max(back.max(), 0))

    def before(self, stop_ns: int | None) -> StampSeries:
        """Those recorded before a time."""
        if stop_ns is None:
            return self
        kept = StampSeries()
        for stamp, recorded in zip(self._stamps, self._recorded, strict=True):
            if recorded < stop_ns:
                kept.add(stamp, recorded)
        return kept


def restart_of(series: dict[str, StampSeries]) -> tuple[str, Restart] | None:
    """The earliest restart among senders, by time of recording, and whose it is."""
    found = [(name, restart) for name, one in series.items() if (restart := one.restart())]
    return min(found, key=lambda item: item[1].recorded_ns, default=None)


def restart_finding(sender: str, restart: Restart, used: int, total: int) -> Finding:
    """That a recording is cut where a clock was set back.

    Args:
        used: clouds before.
        total: clouds.
    """
    return Finding(
        "stamps-go-back",
        sender,
        "left out",
        f"stamps go back by {duration(restart.back_ns)} at message {restart.message} and go on "
        f"from there; what was recorded from then on is not used: {total - used} of {total} clouds",
        "record each pass into a bag of its own",
    )


def jump_finding(series: Mapping[str, StampSeries]) -> Iterator[Finding]:
    """Of senders whose clock was set ahead, in one line.

    Args:
        series: by sender, of what is used.
    """
    found = [(name, jump) for name, one in series.items() if (jump := one.jump())]
    if not found:
        return
    name, jump = min(found, key=lambda item: item[1].recorded_ns)
    others = [other for other, _ in found if other != name]
    so_do = f"; so do those of {', '.join(others)}" if others else ""
    yield Finding(
        "stamps-jump",
        name,
        "doubtful",
        f"stamps jump forward by {duration(-jump.back_ns)} at message {jump.message}{so_do}",
        "record what lies behind into a bag of its own",
    )


def order_findings(topic: str, series: StampSeries) -> list[Finding]:
    """Of a sender that never restarts: messages that are late, and stamps that are zero."""
    found = []
    count, furthest = series.late()
    if count:
        found.append(
            Finding(
                "stamps-out-of-order",
                topic,
                "noted",
                f"{count} of {len(series)} messages come after later ones, by up to "
                f"{duration(furthest)}; each is used by its own stamp",
            )
        )
    if zeros := int((series.stamps == 0).sum()):
        found.append(
            Finding(
                "stamp-zero",
                topic,
                "doubtful",
                f"{zeros} of {len(series)} messages have stamp 0: they match no image and no pose",
                "" if zeros < len(series) else "have the driver fill in header.stamp",
            )
        )
    return found


def clock_findings(
    clouds: tuple[str, StampSeries], others: Mapping[str, StampSeries]
) -> Iterator[Finding]:
    """Senders whose stamps lie nowhere near those of the clouds.

    Args:
        clouds: their topic and stamps.
        others: by topic.
    """
    topic, own = clouds
    if own.span is None:
        return
    first, last = own.span
    apart: dict[tuple[str, str], list[str]] = {}
    offset: dict[str, list[str]] = {}
    for other, series in others.items():
        if series.span is None:
            continue
        ahead, behind = series.span[0] - last, first - series.span[1]
        if max(ahead, behind) > APART_NS:
            where = "before" if ahead > behind else "after"
            distance = f"{duration(max(ahead, behind))} {where}"
            apart.setdefault((distance, _own_clock(own, series)), []).append(other)
        elif abs(ns := _offset_ns(own, series)) > OFFSET_NS:
            where = "ahead of" if ns < 0 else "behind"
            offset.setdefault(f"{duration(abs(ns))} {where}", []).append(other)
    for (distance, clock), names in apart.items():
        yield Finding(
            "clocks-apart",
            topic,
            "doubtful",
            f"stamps are {distance} those of {', '.join(names)}, so that no image or pose belongs "
            f"to a cloud; {clock}",
            "stamp all sensors by one clock",
        )
    for distance, names in offset.items():
        yield Finding(
            "clocks-offset",
            topic,
            "doubtful",
            f"stamps are {distance} those of {', '.join(names)} that were recorded at the same "
            "time: other clocks, or messages that were late; they are matched by their stamps",
            "stamp all sensors by one clock",
        )


def _offset_ns(clouds: StampSeries, others: StampSeries) -> int:
    """By how much other stamps are ahead of those of clouds that were recorded at the same time."""
    (stamps, recorded), (other_stamps, other_recorded) = (
        (one.stamps[one.stamps != 0], one.recorded[one.stamps != 0]) for one in (clouds, others)
    )
    within = (other_recorded >= recorded[0]) & (other_recorded <= recorded[-1])
    if not within.any():
        return 0
    # Differences of nanoseconds since 1970 fit into float64, the times themselves don't.
    start = recorded[0]
    of_clouds = np.interp(other_recorded[within] - start, recorded - start, stamps - recorded)
    return int(np.median((other_stamps - other_recorded)[within] - of_clouds))


def _own_clock(clouds: StampSeries, others: StampSeries) -> str:
    """Whose stamps are not those of the recorder's clock."""
    off = [
        abs(int(np.median(series.stamps - series.recorded))) > APART_NS
        for series in (clouds, others)
    ]
    if off == [True, False]:
        return "they are not by the recorder's clock (since power-on?)"
    if off == [False, True]:
        return "the others are not by the recorder's clock (since power-on?)"
    return "they are by different clocks"


def duration(ns: int) -> str:
    """With the unit that suits it: `2.0 s`, `53.9 years`."""
    seconds = ns / 1e9
    for unit, length in (("years", 365.25 * 86400), ("days", 86400.0), ("hours", 3600.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.0f} ms"
