"""Which clouds of other LiDARs go into which of a recording's main ones."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from haskd_training.recordings.readers.bag import Bag, stamp_ns

_RECORDED_WITHIN_NS = 2_000_000_000
"""Of each other: a stamp may come twice, where a clock has started anew, and what lies between two
clouds that go together has to be kept."""


class Key(NamedTuple):
    """A cloud of a recording: its topic, and its number among that topic's."""

    topic: str
    number: int


class Gap(NamedTuple):
    """No cloud of a LiDAR is near enough to a main one; the nearest stamp is so many s later, None
    where nothing was recorded about that time."""

    seconds: float | None


class Times:
    """When a topic's clouds were measured and recorded, in ns."""

    def __init__(self) -> None:
        # Views of them cost nothing: a long recording asks for the nearest as often as it is long.
        self._stamps, self._recorded = array("q"), array("q")

    def add(self, stamp: int, recorded: int) -> None:
        self._stamps.append(stamp)
        self._recorded.append(recorded)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._stamps, self._recorded))

    def nearest(self, stamp: int, recorded: int, max_gap_s: float) -> int | Gap:
        """The number of the cloud whose stamp is nearest to one that was recorded at a time."""
        stamps, at = np.asarray(self._stamps), np.asarray(self._recorded)
        near = np.flatnonzero(np.abs(at - recorded) <= _RECORDED_WITHIN_NS)
        if not len(near):
            return Gap(None)
        best = int(near[np.abs(stamps[near] - stamp).argmin()])
        gap_s = (self._stamps[best] - stamp) * 1e-9
        return best if abs(gap_s) <= max_gap_s else Gap(gap_s)


def times_of(bag: Bag, topics: Sequence[str]) -> tuple[dict[str, Times], Iterator[tuple[Key, Any]]]:
    """Times of the clouds of some topics, filled while their clouds are drawn."""
    times = {topic: Times() for topic in topics}

    def clouds() -> Iterator[tuple[Key, Any]]:
        counts: dict[str, int] = defaultdict(int)
        for topic, recorded_ns, cloud in bag.timed_messages(list(topics)):
            times[topic].add(stamp_ns(cloud), recorded_ns)
            yield Key(topic, counts[topic]), cloud
            counts[topic] += 1

    return times, clouds()


class Pairs:
    """
    Args:
        times: by topic, the main one's too.
        main: topic of the clouds that the others go into.
        max_gap_s: between their stamps.
    """

    def __init__(self, times: Mapping[str, Times], main: str, max_gap_s: float) -> None:
        others = [topic for topic in times if topic != main]
        self.of: list[dict[str, Key | Gap]] = []
        """Of each main cloud, by topic of the others."""
        self._last_use: dict[Key, int] = {}
        for number, (stamp, recorded) in enumerate(times[main]):
            chosen: dict[str, Key | Gap] = {}
            for topic in others:
                found = times[topic].nearest(stamp, recorded, max_gap_s)
                chosen[topic] = found if isinstance(found, Gap) else Key(topic, found)
                if isinstance(key := chosen[topic], Key):
                    self._last_use[key] = number
            self.of.append(chosen)

    def is_used(self, key: Key) -> bool:
        return key in self._last_use

    def needed(self, number: int) -> list[Key]:
        """The clouds that go into a main one."""
        return [key for key in self.of[number].values() if isinstance(key, Key)]

    def is_last_use(self, key: Key, number: int) -> bool:
        """Whether no main cloud after this one needs it."""
        return self._last_use[key] <= number
