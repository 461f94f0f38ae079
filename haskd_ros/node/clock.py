"""Times that come from outside: of /clock, and in the headers of clouds. No ROS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from haskd_ros.clouds.point_times import SECOND_NS

JUMP_S = 10.0
"""A longer step of /clock is no passing of time: `ros2 bag play` gives the time 40 times a second,
which makes such steps only beyond 400 times real time."""


def nanoseconds(stamp: Any) -> int:
    """ns of a builtin_interfaces/Time."""
    return int(stamp.sec * SECOND_NS + stamp.nanosec)


def stamp_fault(stamp: Any) -> str | None:
    """What is wrong with a builtin_interfaces/Time, in a few words; None: nothing."""
    if stamp.sec < 0:
        return f"{stamp.sec} s, before 1970"
    if stamp.nanosec >= SECOND_NS:
        return f"{stamp.nanosec} ns, a second has {SECOND_NS}"
    return None


class ClockWatch:
    """Stands between /clock and the node's clock: lets times through that are times, and notices
    when the time jumps ahead.

    Args:
        on_notice: called with what is odd, in a few words, and the ns by which the time has jumped
            ahead.
    """

    def __init__(self, on_notice: Callable[[str, int], None]) -> None:
        self._on_notice = on_notice
        self._last_ns = 0

    def guarding(self, set_time: Callable[[Any], None]) -> Callable[[Any], None]:
        """A callback for /clock, from the one that sets the node's clock: that raises for a time
        before 1970, and takes one that no stamp can hold."""

        def receive(message: Any) -> None:
            if (fault := stamp_fault(message.clock)) is not None:
                self._on_notice(f"a time on /clock was left out: {fault}", 0)
                return
            now_ns = nanoseconds(message.clock)
            last_ns, self._last_ns = self._last_ns, now_ns
            set_time(message)
            step_ns = now_ns - last_ns
            if last_ns and step_ns > JUMP_S * SECOND_NS:
                said = f"the time on /clock has jumped ahead by {step_ns / 1e9:,.0f} s"
                self._on_notice(said, step_ns)

        return receive
