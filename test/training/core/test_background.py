"""Work by several threads in the order of what it is done on."""

from __future__ import annotations

import threading
import time

import pytest

from haskd_training.core.background import BackgroundCalls, map_in_order


def test_results_come_in_order_whoever_is_done_first() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.05 if item == 0 else 0)
        return 10 * item

    assert list(map_in_order(slow_first, range(50))) == list(range(0, 500, 10))


def test_items_are_drawn_as_they_are_needed_and_by_the_caller() -> None:
    drawn = []

    def items():
        for item in range(1000):
            drawn.append(threading.current_thread())
            yield item

    results = map_in_order(lambda item: item, items())
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(drawn) < 1000
    assert set(drawn) == {threading.current_thread()}
    results.close()


def test_an_error_comes_in_its_turn() -> None:
    def work(item: int) -> float:
        return 1 / (item - 2)

    results = map_in_order(work, range(9))
    assert [next(results), next(results)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_calls_behind_are_made_in_order_and_all_of_them() -> None:
    made, threads = [], set()

    def note(item: int) -> None:
        time.sleep(0.001)
        made.append(item)
        threads.add(threading.current_thread())

    with BackgroundCalls(16) as behind:
        for item in range(100):
            behind.call(note, item)
            # Only a few wait.
            assert item - len(made) < 20
    assert made == list(range(100))
    assert len(threads) == 1 and threading.current_thread() not in threads


def test_an_error_of_a_call_behind_reaches_the_caller() -> None:
    made = []
    with pytest.raises(ZeroDivisionError), BackgroundCalls(16) as behind:
        behind.call(lambda: 1 / 0)
        for item in range(1000):
            behind.call(made.append, item)
    assert len(made) < 1000
    with pytest.raises(ZeroDivisionError), BackgroundCalls(16) as behind:
        behind.call(lambda: 1 / 0)


def test_after_an_error_of_the_caller_no_more_calls_are_made() -> None:
    made, going_on = [], threading.Event()
    with pytest.raises(KeyError), BackgroundCalls(16) as behind:
        behind.call(going_on.wait)
        behind.call(made.append, 1)
        threading.Timer(0.1, going_on.set).start()
        raise KeyError
    assert made == []


def test_with_one_at_a_time_none_begins_after_one_that_failed() -> None:
    made = []
    behind = BackgroundCalls(1)
    behind.call(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        behind.call(made.append, 1)
    behind.cancel()
    assert made == []
