"""Which clouds are worked on: the newest first, at most so many a second; and the counts of what
became of all of them."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

Item = TypeVar("Item")

_Result = TypeVar("_Result")

RunInThread: TypeAlias = Callable[[Callable[[], None]], None]
"""Takes a function and has a certain thread call it; returns at once."""

MOST_REASONS = 32
"""Reasons that are counted apart, whatever senders come up with."""

OTHER_REASONS = "other reasons"


class FrameCounts:
    """What became of the clouds; safe to use from several threads.

    Once nothing is waiting or in work,
    received = labelled + without_subscriber + replaced + rate_limited + the sum of rejected.

    Attributes:
        received: clouds that arrived.
        labelled: clouds that were labelled and published.
        beyond_range: labelled clouds of which every point was beyond the range, and so none has a
            label.
        without_subscriber: clouds not processed because no output had a subscriber.
        replaced: clouds replaced by a newer one while they waited for the worker.
        rate_limited: clouds not processed, to keep to the parameter `max_rate`.
        rejected: clouds that could not be labelled, by reason.
        never_received: clouds missing in the publisher's sequence numbers: lost, or replaced by a
            newer one before the node took them.
        lost: clouds that the middleware reports as lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.received = 0
        self.labelled = 0
        self.beyond_range = 0
        self.without_subscriber = 0
        self.replaced = 0
        self.rate_limited = 0
        self.never_received = 0
        self.lost = 0
        self.rejected: Counter[str] = Counter()

    def add(self, **more: int) -> None:
        """Count clouds, by the name of the attribute."""
        with self._lock:
            for name, number in more.items():
                setattr(self, name, getattr(self, name) + number)

    def reject(self, reason: str) -> None:
        with self._lock:
            if reason not in self.rejected and len(self.rejected) >= MOST_REASONS:
                reason = OTHER_REASONS
            self.rejected[reason] += 1

    def as_dict(self) -> dict[str, int]:
        """By what became of the clouds; rejected ones one by one of their reasons."""
        with self._lock:
            return {
                "received": self.received,
                "labelled": self.labelled,
                "labelled, but all beyond the range": self.beyond_range,
                "replaced by a newer one": self.replaced,
                "that nobody watched": self.without_subscriber,
                "left out by max_rate": self.rate_limited,
                "sent and never seen": self.never_received,
                "lost on the way": self.lost,
                "rejected": self.rejected.total(),
            } | {f"rejected: {reason}": count for reason, count in self.rejected.items()}

    def rejected_by_reason(self) -> Counter[str]:
        with self._lock:
            return self.rejected.copy()

    def __str__(self) -> str:
        with self._lock:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.rejected.items())
            return (
                f"{self.received} clouds received, {self.labelled} labelled, "
                f"{self.replaced} replaced by a newer one, "
                f"{self.without_subscriber} that nobody watched, "
                f"{self.rate_limited} left out by max_rate, "
                f"{self.rejected.total()} rejected"
                + (f" ({reasons})" if reasons else "")
                + f"; {self.never_received} sent and never seen, {self.lost} lost on the way"
            )


def submit(function: Callable[[], _Result], run_in_thread: RunInThread) -> Future[_Result]:
    """Have a function called in a thread.

    Returns:
        what it returns or raises.
    """
    future: Future[_Result] = Future()
    run_in_thread(partial(_resolve, future, function))
    return future


def _resolve(future: Future[_Result], function: Callable[[], _Result]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # who waits for the future has to go on
        future.set_exception(error)


def in_new_thread(function: Callable[[], None]) -> None:
    """A `RunInThread`: each function has a thread of its own."""
    threading.Thread(target=function, daemon=True).start()


class NewestFirstWorker(Generic[Item]):
    """A thread, and a queue of length one in front of it.

    An item that comes while the thread is busy replaces the one that waits, so that however fast
    items come, the one in work is never older than the last one plus one more.
    """

    def __init__(
        self,
        work: Callable[[Item], None],
        on_replaced: Callable[[Item], None],
        *,
        on_fault: Callable[[BaseException], object],
        warm_up: Callable[[], None] = lambda: None,
        run_in_thread: RunInThread = in_new_thread,
    ) -> None:
        """Start working; returns when warmed up.

        Args:
            work: called with each item in the worker's thread.
            on_replaced: called, in the thread that puts, with an item that a newer one replaced.
            on_fault: called with whatever `work` raises; the thread lives on.
            warm_up: called once, in the worker's thread, before the first item.
            run_in_thread: has the worker's loop run in another thread; by default in a new one.

        Raises:
            Exception: whatever `warm_up` raised; the loop has ended then.
        """
        self._work, self._on_fault = work, on_fault
        self._on_replaced = on_replaced
        self._changed = threading.Condition()
        self._waiting: Item | None = None
        self._calls: deque[tuple[Callable[[], None], Future[Any]]] = deque()
        self._stopping = False
        self._warm_up = warm_up
        self._warm: Future[None] = Future()
        self._ended = threading.Event()
        run_in_thread(self._run)
        self._warm.result()

    def put(self, item: Item) -> None:
        """Hand over the newest item; returns at once."""
        with self._changed:
            replaced, self._waiting = self._waiting, item
            self._changed.notify()
        if replaced is not None:
            self._on_replaced(replaced)

    def call(self, function: Callable[[], _Result]) -> Future[_Result]:
        """Have a function called in the worker's thread, after the item in work and before the one
        that waits.

        Returns:
            what it returns or raises; cancelled where the worker ends before.
        """
        future: Future[_Result] = Future()
        with self._changed:
            if self._stopping:
                future.cancel()
            else:
                self._calls.append((partial(_resolve, future, function), future))
                self._changed.notify()
        return future

    def stop(self) -> Item | None:
        """Let the item in work be finished and end the loop.

        Returns:
            the item that still waited and will not be worked on.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._ended.wait()
        return self._waiting

    def _run(self) -> None:
        # It holds the model of then, which another one may replace.
        warm_up, self._warm_up = self._warm_up, lambda: None
        try:
            warm_up()
        except BaseException as error:
            self._warm.set_exception(error)
        else:
            del warm_up
            self._warm.set_result(None)
            self._loop()
        finally:
            self._ended.set()

    def _loop(self) -> None:
        while (job := self._next_job()) is not None:
            job()
            # While it waits the thread must not keep megabytes of the last cloud alive.
            del job

    def _next_job(self) -> Callable[[], None] | None:
        """Wait for what is to be done next; None at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or self._calls or self._waiting is not None
            )
            if self._stopping:
                for _, future in self._calls:
                    future.cancel()
                return None
            if self._calls:
                call, _ = self._calls.popleft()
                return call
            item, self._waiting = self._waiting, None
            return None if item is None else partial(self._work_on, item)

    def _work_on(self, item: Item) -> None:
        try:
            self._work(item)
        except BaseException as error:
            self._on_fault(error)


class RateLimit:
    """Lets at most so many items a second through, evenly spread.

    An item may come a tenth of the period early: a sensor's rate is never quite even, and a limit
    of 5 Hz should take every second cloud of a 10 Hz sensor, not every third.
    """

    def __init__(self) -> None:
        self._rate, self._due = 0.0, -math.inf

    def allows(self, time: float, rate: float) -> bool:
        """Whether an item that comes at `time` (s, never going back) may pass.

        Args:
            rate: Hz; 0: no limit.
        """
        if rate != self._rate:
            self._rate, self._due = rate, -math.inf
        if rate <= 0:
            return True
        period = 1 / rate
        if time < self._due - 0.1 * period:
            return False
        self._due = max(self._due, time) + period
        return True
