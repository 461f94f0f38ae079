"""What goes wrong inside the node and must not end it. No ROS."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_ros.text import shown

LOG_PERIOD_S = 5.0
"""What goes wrong is logged at once, further cases of the same kind not more often than this."""

MOST_KINDS = 64
"""How many kinds of events are told apart, whatever comes."""

MOST_CHARACTERS = 1000
"""Of a line in the log."""

_PACKAGE = Path(__file__).parents[2]


class LogPeriods:
    """Lets a message of each kind through at once and then once a period; safe to use from several
    threads, and never larger than `MOST_KINDS`.

    Args:
        period_s: s.
    """

    def __init__(self, period_s: float = LOG_PERIOD_S) -> None:
        self._period_s = period_s
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def is_due(self, kind: str, time_s: float) -> bool:
        """Whether a message of this kind may be logged; it counts as logged then.

        Args:
            time_s: of a clock that never goes back.
        """
        with self._lock:
            self._last = {
                name: then for name, then in self._last.items() if time_s - then < self._period_s
            }
            # Kinds may come from a sender: those beyond the limit share one period.
            if kind not in self._last and len(self._last) >= MOST_KINDS:
                kind = "others"
            if kind in self._last:
                return False
            self._last[kind] = time_s
            return True


@dataclass(frozen=True)
class FaultSummary:
    """The internal faults so far.

    Attributes:
        count: since the start.
        last: in one line; None: there was none.
        last_s: when, of the clock given to `InternalFaults`.
    """

    count: int = 0
    last: str | None = None
    last_s: float = 0.0


class InternalFaults:
    """Exceptions that nobody foresaw, in any thread of the node: counted, logged with their
    traceback once per kind and period, and kept for /diagnostics.

    Args:
        log: writes an error to the log.
        clock: s, never going back.
    """

    def __init__(
        self, log: Callable[[str], object], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._periods = LogPeriods()
        self._summary = FaultSummary()

    @property
    def summary(self) -> FaultSummary:
        return self._summary

    def note(self, error: BaseException) -> str:
        """Count an exception and log it; never raises.

        Returns:
            the exception in one line, with the place where it was raised.
        """
        where = _place(error)
        line = f"{in_one_line(error)} ({where})"
        now = self._clock()
        with self._lock:
            self._summary = FaultSummary(self._summary.count + 1, line, now)
        if self._periods.is_due(f"{type(error).__name__} {where}", now):
            lines = "".join(traceback.format_exception(error)).splitlines()
            text = "\n".join(shown(each, MOST_CHARACTERS) for each in lines[-60:])
            self._log(f"internal fault, the node goes on: {line}\n{text}")
        return line


def in_one_line(error: BaseException) -> str:
    """An error in one line; what is no user's mistake with its type."""
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return shown(text, MOST_CHARACTERS)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, of the machine or of the GPU."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")  # without it nothing of it was raised
    if torch is not None and isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    # torch has no type of its own for the machine's memory.
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def _place(error: BaseException) -> str:
    """Where an exception was raised: the innermost line of this package, else of any."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _PACKAGE in Path(frame.filename).parents]
    if not frames:
        return "no traceback"
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
