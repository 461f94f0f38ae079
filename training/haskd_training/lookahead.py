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

_BEHIND = 16
"""Calls that may wait."""


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


class Behind:
    """Calls that are made one after another in a thread of their own, a few behind the caller; all
    of them are done when this context ends, none more when it ends by an error."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[Any]] = deque()

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have a call made.

        Raises:
            whatever an earlier one raised.
        """
        self._waiting.append(self._pool.submit(function, *arguments))
        while len(self._waiting) > _BEHIND:
            self._waiting.popleft().result()

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            while self._waiting and kind is None:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)
