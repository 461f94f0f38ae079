"""Work on a stream of items by several threads, without holding more than a few of them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
