"""Objects fetched before they are asked for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from haskd_training.core.storage.local_copies import LocalCopies
from haskd_training.core.storage.settings import store_settings

_THREADS = 4
"""A connection to a store is slower than the store: so many together are mostly the network's
full speed."""

_PATIENCE_S = 2.0
"""For which a store that fails is asked again: who waits for the object meanwhile loses no more."""


class ReadAhead:
    """Fetches what is likely to be read next, in background threads that end with the process.

    What fails here is left to whoever asks for it: that one waits and tells.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: deque[tuple[LocalCopies, str]] = deque()
        self._threads = 0
        self._reached = ""

    def reach(self, copies: LocalCopies, folder: str, name: str, siblings: Sequence[str]) -> None:
        """Say which file is read now; those after it are fetched, and what was wanted after the
        last one no longer is.

        Args:
            folder: URL of the folder of all of them.
            siblings: names of the files in order.
        """
        if self._reached == f"{folder}/{name}" or name not in siblings:
            return
        self._reached = f"{folder}/{name}"
        first = siblings.index(name) + 1
        urls = [f"{folder}/{one}" for one in siblings[first : first + store_settings().ahead]]
        with self._lock:
            self._wanted = deque((copies, url) for url in urls if not copies.has(url))
            for _ in range(min(len(self._wanted), _THREADS) - self._threads):
                self._threads += 1
                threading.Thread(target=self._work, name="read-ahead", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._threads -= 1
                    return
                copies, url = self._wanted.popleft()
            try:
                copies.get(url, time.monotonic() + _PATIENCE_S)
            except Exception:
                continue
