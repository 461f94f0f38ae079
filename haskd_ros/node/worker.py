"""One thread that always works on the newest item, and the counts of what became of all of them."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

log = logging.getLogger(__name__)


class FrameCounts:
    """What became of the clouds that came in; safe to use from several threads.

    Once nothing is waiting or in work,
    received = labelled + unwatched + replaced + limited + the sum of rejected.

    Attributes:
        received: clouds that arrived.
        labelled: clouds that were labelled and published.
        unwatched: clouds left alone because nobody subscribed to any output.
        replaced: clouds that a newer one pushed out while they waited.
        limited: clouds left out to keep the largest rate.
        rejected: clouds that could not be labelled, by reason.
        missed: clouds that were sent and never came, by the sender's numbering: lost, or overtaken
            by a newer one before the node took them.
        lost: clouds that the middleware says it lost on the way.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.received = 0
        self.labelled = 0
        self.unwatched = 0
        self.replaced = 0
        self.limited = 0
        self.missed = 0
        self.lost = 0
        self.rejected: Counter[str] = Counter()

    def add(self, **more: int) -> None:
        """Count clouds, by the name of the attribute."""
        with self._lock:
            for name, number in more.items():
                setattr(self, name, getattr(self, name) + number)

    def reject(self, reason: str) -> None:
        with self._lock:
            self.rejected[reason] += 1

    def as_dict(self) -> dict[str, int]:
        """By what became of the clouds; rejected ones one by one of their reasons."""
        with self._lock:
            return {
                "received": self.received,
                "labelled": self.labelled,
                "replaced by a newer one": self.replaced,
                "that nobody watched": self.unwatched,
                "left out by max_rate": self.limited,
                "sent and never seen": self.missed,
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
                f"{self.replaced} replaced by a newer one, {self.unwatched} that nobody watched, "
                f"{self.limited} left out by max_rate, "
                f"{self.rejected.total()} rejected"
                + (f" ({reasons})" if reasons else "")
                + f"; {self.missed} sent and never seen, {self.lost} lost on the way"
            )


def answer(function: Callable[[], Any], future: Future[Any]) -> None:
    """Call a function and put what it returns, or raises, into a future."""
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)


def _in_a_thread(loop: Callable[[], None]) -> None:
    threading.Thread(target=loop, name="newest-first-worker", daemon=True).start()


class NewestFirstWorker(Generic[Item]):
    """A thread and one place to wait in front of it.

    An item put there while the thread is busy replaces the one that waits: nothing is queued, so
    however fast items come, the one in work is never older than the last one plus one more.
    """

    def __init__(
        self,
        work: Callable[[Item], None],
        replaced: Callable[[Item], None],
        warm_up: Callable[[], None] = lambda: None,
        run: Callable[[Callable[[], None]], None] = _in_a_thread,
    ) -> None:
        """Start working; returns when warmed up.

        Args:
            work: called with each item in the worker's thread. What it raises is logged as a
                defect; the thread lives on.
            replaced: called, in the thread that puts, with an item that a newer one pushed out.
            warm_up: called once, in the worker's thread, before the first item.
            run: takes the loop and has another thread run it; by default a new one.

        Raises:
            Exception: whatever `warm_up` raised; the loop has ended then.
        """
        self._work = work
        self._replaced = replaced
        self._changed = threading.Condition()
        self._waiting: Item | None = None
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopping = False
        self._warm_up = warm_up
        self._warm: Future[None] = Future()
        self._ended = threading.Event()
        run(self._run)
        self._warm.result()

    def put(self, item: Item) -> None:
        """Hand over the newest item; returns at once."""
        with self._changed:
            pushed_out, self._waiting = self._waiting, item
            self._changed.notify()
        if pushed_out is not None:
            self._replaced(pushed_out)

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Have a function called in the worker's thread, after the item in work and before the one
        that waits.

        Returns:
            its result; cancelled where the worker ends before.
        """
        future: Future[Any] = Future()
        with self._changed:
            if self._stopping:
                future.cancel()
            else:
                self._calls.append((function, future))
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
        try:
            self._warm_up()
        except Exception as error:
            self._warm.set_exception(error)
        else:
            self._warm.set_result(None)
            self._loop()
        finally:
            self._ended.set()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stopping or self._calls or self._waiting is not None
                )
                if self._stopping:
                    for _, future in self._calls:
                        future.cancel()
                    return
                if self._calls:
                    call, item = self._calls.popleft(), None
                else:
                    call, item, self._waiting = None, self._waiting, None
            if call is not None:
                answer(*call)
                continue
            try:
                self._work(item)
            except Exception:
                log.exception("the worker failed on an item and goes on with the next")
            # While it waits the thread must not keep megabytes of the last cloud alive.
            del item
