"""Counts, rates, gaps and frames of a recording's topics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from haskd_ros.clouds.crop import frame_name
from haskd_training.data.preparing.examination.examination import TopicSummary
from haskd_training.data.preparing.examination.stamps import StampSeries
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.bag import Bag, stamp_ns


class TopicTally:
    """What the headers of a topic's messages say.

    Attributes:
        series: stamps of all messages.
        by_frame: the same by frame, without a leading slash.
        frames: messages by frame as it stands there.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.series = StampSeries()
        self.by_frame: dict[str, StampSeries] = {}
        self.frames: Counter[str] = Counter()

    def add(self, message: Any, recorded_ns: int) -> None:
        stamp, frame = stamp_ns(message), message.header.frame_id
        self.series.add(stamp, recorded_ns)
        self.frames[frame] += 1
        self.by_frame.setdefault(frame_name(frame), StampSeries()).add(stamp, recorded_ns)

    def before(self, stop_ns: int | None) -> TopicTally:
        """Those recorded before a time."""
        kept = TopicTally(self.topic)
        kept.series, kept.frames = self.series.before(stop_ns), self.frames
        kept.by_frame = {frame: series.before(stop_ns) for frame, series in self.by_frame.items()}
        return kept


def topic_summaries(
    bag: Bag, tallies: Mapping[str, TopicTally], recorded: Mapping[str, StampSeries]
) -> tuple[TopicSummary, ...]:
    """All topics of a bag.

    Args:
        tallies: of those whose headers were read.
        recorded: times of recording of others.
    """
    return tuple(
        _summary(bag, topic, tallies.get(topic), recorded.get(topic))
        for topic in sorted(bag.topics)
    )


def _summary(
    bag: Bag, topic: str, tally: TopicTally | None, recorded: StampSeries | None
) -> TopicSummary:
    series = recorded if tally is None else tally.series
    stamps = np.zeros(0, np.int64) if series is None else np.sort(series.stamps)
    stamps = stamps[stamps != 0]
    rate = gap = None
    if len(stamps) > 1 and stamps[-1] > stamps[0]:
        rate = (len(stamps) - 1) / (int(stamps[-1] - stamps[0]) / 1e9)
        gap = float(np.diff(stamps).max()) / 1e9
    return TopicSummary(
        topic=topic,
        type=bag.topics[topic],
        messages=bag.count([topic]),
        expected=bag.expected.get(topic),
        rate_hz=rate,
        longest_gap_s=gap,
        frames={} if tally is None else dict(tally.frames.most_common()),
    )


def frame_findings(tally: TopicTally) -> list[Finding]:
    """Frames that change within a topic."""
    if len(tally.by_frame) < 2:
        return []
    counts = {frame: len(series) for frame, series in tally.by_frame.items()}
    listed = ", ".join(f"{frame or '(none)'} ({count})" for frame, count in counts.items())
    return [
        Finding(
            "frames-change",
            tally.topic,
            "repaired",
            f"its messages come in {len(counts)} frames: {listed}; each is placed by its own",
        )
    ]


def no_frame_finding(tally: TopicTally) -> Iterator[Finding]:
    """Clouds that name no frame."""
    without = len(tally.by_frame.get("", ()))
    if without:
        frame = main_frame(tally)
        then = f"they are taken to be in {frame}" if frame else "no image can be placed beside them"
        yield Finding(
            "frame-missing",
            tally.topic,
            "doubtful",
            f"{without} of {len(tally.series)} clouds name no frame (header.frame_id is empty): "
            f"{then}",
            "have the driver fill in header.frame_id",
        )


def main_frame(tally: TopicTally) -> str:
    """The frame of most messages, without a leading slash; empty without a message."""
    named = {frame: len(series) for frame, series in tally.by_frame.items() if frame}
    return max(named, key=lambda frame: named[frame], default="")
