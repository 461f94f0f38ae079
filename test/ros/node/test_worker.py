"""The worker thread and its counts; no ROS needed."""

from __future__ import annotations

import threading

import pytest

from haskd_ros.node.worker import FrameCounts, NewestFirstWorker


class Bench:
    """A worker whose work takes until it is told to go on."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.done: list[int] = []
        self.replaced: list[int] = []
        self.worker = NewestFirstWorker(self.work, self.replaced.append)

    def work(self, item: int) -> None:
        self.begun.release()
        self.go_on.acquire()
        if item < 0:
            raise RuntimeError("a defect")
        self.done.append(item)


def test_a_newer_item_takes_the_place_of_the_one_that_waits():
    bench = Bench()
    bench.worker.put(1)
    bench.begun.acquire()
    for item in (2, 3, 4):  # 1 is in work: 2 and 3 are pushed out, 4 waits
        bench.worker.put(item)
    bench.go_on.release(2)
    bench.begun.acquire()
    assert bench.worker.stop() is None
    assert (bench.done, bench.replaced) == ([1, 4], [2, 3])


def test_stop_finishes_the_item_in_work_and_hands_back_the_one_that_waits():
    bench = Bench()
    bench.worker.put(1)
    bench.begun.acquire()
    bench.worker.put(2)
    stopped = []
    stopping = threading.Thread(target=lambda: stopped.append(bench.worker.stop()))
    stopping.start()
    while not bench.worker._stopping:
        pass
    bench.go_on.release()
    stopping.join()
    assert (bench.done, stopped) == ([1], [2])


def test_warming_up_happens_in_the_worker_before_the_first_item_and_is_waited_for():
    threads = []
    worker = NewestFirstWorker(
        lambda item: threads.append((item, threading.current_thread())),
        replaced=lambda item: None,
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
        NewestFirstWorker(lambda item: None, replaced=lambda item: None, warm_up=fail)


def test_the_thread_outlives_an_item_that_fails():
    bench = Bench()
    bench.go_on.release(2)
    bench.worker.put(-1)
    bench.begun.acquire()
    bench.worker.put(1)
    bench.begun.acquire()
    bench.worker.stop()
    assert bench.done == [1]


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
    bench = Bench()
    bench.worker.put(1)
    bench.begun.acquire()
    bench.worker.put(2)
    done_before = bench.worker.call(lambda: list(bench.done))
    failing = bench.worker.call(lambda: 1 / 0)
    bench.go_on.release()
    assert done_before.result(10) == [1]
    with pytest.raises(ZeroDivisionError):
        failing.result(10)
    bench.begun.acquire()
    bench.go_on.release()
    bench.worker.stop()
    assert bench.done == [1, 2]
    assert bench.worker.call(lambda: 0).cancelled()
