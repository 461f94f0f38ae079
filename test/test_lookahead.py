"""Work by several threads in the order of what it is done on."""

from __future__ import annotations

import threading
import time

import pytest

from haskd_training.lookahead import in_order


def test_results_come_in_order_whoever_is_done_first() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.05 if item == 0 else 0)
        return 10 * item

    assert list(in_order(slow_first, range(50))) == list(range(0, 500, 10))


def test_items_are_drawn_as_they_are_needed_and_by_the_caller() -> None:
    drawn = []

    def items():
        for item in range(1000):
            drawn.append(threading.current_thread())
            yield item

    results = in_order(lambda item: item, items())
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(drawn) < 1000
    assert set(drawn) == {threading.current_thread()}
    results.close()


def test_an_error_comes_in_its_turn() -> None:
    def work(item: int) -> float:
        return 1 / (item - 2)

    results = in_order(work, range(9))
    assert [next(results), next(results)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []
