"""Work in background threads, with a bounded number of items in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")

_AHEAD = 4
"""Items per thread that are in progress, or finished before their turn."""


def map_in_order(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map `work` over the items in order, computing ahead in one thread per core, at most four: for
    work that mostly releases the GIL. Items are drawn in the caller's thread.

    Raises:
        whatever `work` or `items` raises, in its turn; later items are not processed then.
    """
    # The thread that draws the items can't keep more than four busy.
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
    """Calls made one after another in one background thread. As a context manager: on exit all of
    them have been made; after an error no further one is.

    Args:
        max_pending: calls that may be running or queued. With 1 none starts after one that failed.
    """

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[Future[object]] = deque()

    def call(
        self,
        function: Callable[Parameters, object],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> None:
        """Queue a call; blocks while `max_pending` of them are running or queued.

        Raises:
            whatever an earlier one raised.
        """
        self._wait_until_pending(self._max_pending - 1)
        self._pending.append(self._pool.submit(function, *args, **kwargs))

    def finish(self) -> None:
        """Wait until all calls have been made.

        Raises:
            whatever one of them raised.
        """
        try:
            self._wait_until_pending(0)
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Wait for the running call and drop the queued ones."""
        self._pool.shutdown(cancel_futures=True)

    def _wait_until_pending(self, count: int) -> None:
        while len(self._pending) > count:
            self._pending.popleft().result()

    def __enter__(self) -> BackgroundCalls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.cancel()
