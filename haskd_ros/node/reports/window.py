"""Values of the last seconds. No ROS."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

MOST_VALUES = 100_000
"""A sender that floods must not fill the memory: the oldest values go then."""


class Window:
    """Values of the last seconds; safe to use from several threads.

    Args:
        seconds: how long a value counts.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._entries: deque[tuple[float, float]] = deque(maxlen=MOST_VALUES)

    def add(self, time: float, value: float = 0.0) -> None:
        """Note a value.

        Args:
            time: s, of a clock that never goes back.
        """
        with self._lock:
            self._entries.append((time, value))
            self._forget(time)

    def values(self, time: float) -> np.ndarray:
        """[n] values that still count at `time`, oldest first."""
        with self._lock:
            self._forget(time)
            return np.array([value for _, value in self._entries])

    def rate(self, time: float) -> float:
        """Values a second: their number less one over the time between the first and the last, 0
        for fewer than two."""
        with self._lock:
            self._forget(time)
            if len(self._entries) < 2:
                return 0.0
            span = self._entries[-1][0] - self._entries[0][0]
            return (len(self._entries) - 1) / span if span > 0 else 0.0

    def _forget(self, time: float) -> None:
        while self._entries and self._entries[0][0] < time - self.seconds:
            self._entries.popleft()
