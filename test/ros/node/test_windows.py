"""Rates, windows and limits, by clocks that the tests wind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_ros.node.windows import RateLimit, Window


def test_a_window_forgets_what_is_older_than_it():
    window = Window(10.0)
    for time in (0.0, 4.0, 8.0):
        window.add(time, 10 * time)
    assert window.values(10.0).tolist() == [0.0, 40.0, 80.0]
    assert window.rate(10.0) == pytest.approx(2 / 8)
    assert window.values(14.5).tolist() == [80.0]
    assert window.rate(14.5) == 0.0
    assert window.values(30.0).tolist() == []


def test_clouds_that_came_at_the_same_time_have_no_rate():
    window = Window(1.0)
    window.add(0.0)
    window.add(0.0)
    assert window.rate(0.0) == 0.0


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
