"""The worker thread, the limit of its rate and its counts; no ROS needed."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_ros.node.worker import (
    MOST_REASONS,
    OTHER_REASONS,
    FrameCounts,
    NewestFirstWorker,
    RateLimit,
    submit,
)


def fail_at_once(fault: BaseException) -> None:
    raise fault


class SlowWorker:
    """A worker whose work takes until `go_on` is released."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.done: list[int] = []
        self.replaced: list[int] = []
        self.faults: list[BaseException] = []
        self.worker = NewestFirstWorker(
            self.work, self.replaced.append, on_fault=self.faults.append
        )

    def work(self, item: int) -> None:
        self.begun.release()
        self.go_on.acquire()
        if item < 0:
            raise SystemExit("a defect")
        self.done.append(item)


def test_a_newer_item_takes_the_place_of_the_one_that_waits():
    slow = SlowWorker()
    slow.worker.put(1)
    slow.begun.acquire()
    for item in (2, 3, 4):  # 1 is in work: 2 and 3 are pushed out, 4 waits
        slow.worker.put(item)
    slow.go_on.release(2)
    slow.begun.acquire()
    assert slow.worker.stop() is None
    assert (slow.done, slow.replaced) == ([1, 4], [2, 3])


def test_stop_finishes_the_item_in_work_and_hands_back_the_one_that_waits():
    slow = SlowWorker()
    slow.worker.put(1)
    slow.begun.acquire()
    slow.worker.put(2)
    stopped = []
    stopping = threading.Thread(target=lambda: stopped.append(slow.worker.stop()))
    stopping.start()
    while not slow.worker._stopping:
        pass
    slow.go_on.release()
    stopping.join()
    assert (slow.done, stopped) == ([1], [2])


def test_warming_up_happens_in_the_worker_before_the_first_item_and_is_waited_for():
    threads = []
    worker = NewestFirstWorker(
        lambda item: threads.append((item, threading.current_thread())),
        on_replaced=lambda item: None,
        on_fault=fail_at_once,
        warm_up=lambda: threads.append(("warm", threading.current_thread())),
    )
    assert [what for what, _ in threads] == ["warm"]
    worker.put(1)
    while len(threads) < 2:
        pass
    worker.stop()
    assert threads[0][1] is threads[1][1] is not threading.current_thread()


def test_a_failed_warm_up_is_raised_where_the_worker_is_made():
    def fail() -> None:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        NewestFirstWorker(lambda item: None, lambda item: None, on_fault=fail_at_once, warm_up=fail)


def test_the_thread_outlives_an_item_that_fails():
    slow = SlowWorker()
    slow.go_on.release(2)
    slow.worker.put(-1)
    slow.begun.acquire()
    slow.worker.put(1)
    slow.begun.acquire()
    slow.worker.stop()
    assert slow.done == [1]
    assert [str(fault) for fault in slow.faults] == ["a defect"]


def test_whoever_waits_for_a_call_gets_even_what_would_end_a_process():
    assert isinstance(submit(lambda: sys.exit("no"), lambda call: call()).exception(10), SystemExit)


def test_reasons_that_senders_make_up_are_counted_in_bounded_memory():
    counts = FrameCounts()
    for number in range(1000):
        counts.reject(f"no field {number}")
    # 32 of their own, and what came after
    found = counts.rejected_by_reason()
    assert len(found) == MOST_REASONS + 1
    assert found[OTHER_REASONS] == 1000 - MOST_REASONS
    assert counts.as_dict()["rejected"] == 1000


def test_the_summary_names_every_reason():
    counts = FrameCounts()
    counts.add(received=4, labelled=1, replaced=1)
    for reason in ("no field x", "no field x"):
        counts.reject(reason)
    assert str(counts) == (
        "4 clouds received, 1 labelled, 1 replaced by a newer one, 0 that nobody watched, "
        "0 left out by max_rate, 2 rejected (2 no field x); "
        "0 sent and never seen, 0 lost on the way"
    )


def test_a_call_is_made_by_the_worker_before_the_item_that_waits():
    slow = SlowWorker()
    slow.worker.put(1)
    slow.begun.acquire()
    slow.worker.put(2)
    done_before = slow.worker.call(lambda: list(slow.done))
    failing = slow.worker.call(lambda: 1 / 0)
    slow.go_on.release()
    assert done_before.result(10) == [1]
    with pytest.raises(ZeroDivisionError):
        failing.result(10)
    slow.begun.acquire()
    slow.go_on.release()
    slow.worker.stop()
    assert slow.done == [1, 2]
    assert slow.worker.call(lambda: 0).cancelled()


def test_half_the_rate_takes_every_second_cloud_though_the_sensor_is_uneven():
    limit = RateLimit()
    # 10 Hz, every second one up to 15 ms early
    times = [0.1 * k - (0.015 if k % 4 == 2 else 0.0) for k in range(20)]
    assert [limit.allows(time, 5.0) for time in times] == [True, False] * 10


def test_no_limit_allows_all_and_a_new_one_holds_at_once():
    limit = RateLimit()
    assert all(limit.allows(0.001 * k, 0.0) for k in range(10))
    assert [limit.allows(1 + 0.1 * k, 0.1) for k in range(5)] == [True] + [False] * 4
    # Ten seconds would have to pass at 0.1 Hz
    assert limit.allows(1.6, 10.0)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200), st.floats(0.5, 20))
def test_no_stretch_of_time_has_more_than_the_limit_allows(times, rate):
    limit = RateLimit()
    passed = [time for time in sorted(times) if limit.allows(time, rate)]
    for first, start in enumerate(passed):
        for count, end in enumerate(passed[first:], 1):
            # One to begin with, one that may come early
            assert count <= rate * (end - start) + 2


def test_what_warms_up_is_let_go_while_the_worker_works():
    class WarmUp:
        def __call__(self) -> None:
            pass

    warm_up = WarmUp()
    held = weakref.ref(warm_up)
    worker = NewestFirstWorker(print, print, on_fault=print, warm_up=warm_up)
    del warm_up
    gc.collect()
    assert held() is None
    worker.stop()
