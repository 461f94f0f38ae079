"""Work beside the caller's own, in threads, without holding more than a few items of it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4
"""Items a thread that are in work, or done before their turn."""


def in_order(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` of each item, in the items' order, while later ones are in work already, in one thread
    a core up to four: for work that mostly leaves Python's lock alone. Items are drawn in the
    caller's thread.

    Raises:
        whatever `work` or `items` raises, in its turn; later items are left undone then.
    """
    # Whoever draws the items keeps no more than four busy.
    threads = min(4, os.cpu_count() or 1)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > _AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class BackgroundCalls:
    """Calls that are made one after another in a thread of their own, a few behind the caller. As a
    context: all of them are done when it ends, none more when it ends by an error.

    Args:
        most: calls that may be in work or wait. With 1 none begins after one that failed.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[Any]] = deque()

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have a call made.

        Raises:
            whatever an earlier one raised.
        """
        self._settle(self._most - 1)
        self._waiting.append(self._pool.submit(function, *arguments))

    def finish(self) -> None:
        """Wait until all calls are made.

        Raises:
            whatever one of them raised.
        """
        try:
            self._settle(0)
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Wait for the call that is in work, and make no more."""
        self._pool.shutdown(cancel_futures=True)

    def _settle(self, left: int) -> None:
        while len(self._waiting) > left:
            self._waiting.popleft().result()

    def __enter__(self) -> BackgroundCalls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.cancel()
