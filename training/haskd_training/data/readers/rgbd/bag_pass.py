"""One pass over an RGB-D bag: stamps, sizes, calibrations and transforms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from haskd_ros.clouds.crop import frame_name
from haskd_ros.errors import InputError
from haskd_training.data.preparing.examination.stamps import (
    StampSeries,
    duration,
    order_findings,
    restart_of,
)
from haskd_training.data.readers.rgbd.bag_topics import RgbdTopics, base_of, odometry_topic
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.recordings.camera_track import CameraTrack, RecordedCamera
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.image_codec import image_size
from haskd_training.recordings.number_images import depth_of, number_image_size
from haskd_training.recordings.readers.bag import (
    TF_MESSAGES,
    Bag,
    Unusable,
    frame_of,
    spread_numbers,
    stamp_ns,
)
from haskd_training.recordings.recording import add_transforms, empty_tree, is_rectified

_LOOKED_AT = 10
"""Depth images whose values are looked at."""


class Images:
    """The usable images of a topic by stamp; of several with one stamp the first.

    Attributes:
        size: width and height in px of the first one.
        frames: by stamp.
        broken: reasons why others are left out.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.size: tuple[int, int] | None = None
        self.frames: dict[int, str] = {}
        self.broken: Counter[str] = Counter()

    def add(self, message: Any, size: tuple[int, int] | str) -> None:
        """
        Args:
            size: in px, or why the image can't be used.
        """
        if isinstance(size, str):
            self.broken[size] += 1
            return
        self.size = self.size or size
        if size != self.size:
            self.broken[f"of another size than {self.size[0]} x {self.size[1]} px"] += 1
            return
        self.frames.setdefault(stamp_ns(message), frame_of(message))

    @property
    def stamps_ns(self) -> np.ndarray:
        """[n] int64, sorted."""
        return np.array(sorted(self.frames), np.int64)

    def findings(self) -> Iterator[Finding]:
        if self.broken:
            listed = ", ".join(f"{count} x {reason}" for reason, count in self.broken.items())
            yield Finding(
                "images-broken",
                self.topic,
                "left out",
                f"{sum(self.broken.values())} of "
                f"{sum(self.broken.values()) + len(self.frames)} images ({listed})",
            )


class BagPass:
    """What the messages of a bag say.

    Attributes:
        tree: all transforms; with those of Odometry where TF has no motion.
        tracks: calibrations by image topic.
        images: by topic.
        samples: some depth images in m.
        stop_ns: what was recorded then or later is not used; None: all is.

    Raises:
        InputError: the bag is cut off or damaged.
    """

    def __init__(self, bag: Bag, topics: RgbdTopics, config: RgbdConfig) -> None:
        self._topics = topics
        self._config = config
        self._bag = bag
        self._restart: Finding | None = None
        self.stop_ns: int | None = None
        series = self._read()
        if (found := restart_of(series)) is not None:
            topic, restart = found
            self.stop_ns = restart.recorded_ns
            before = sum(len(one.before(self.stop_ns)) for one in series.values())
            self._restart = Finding(
                "stamps-go-back",
                topic,
                "left out",
                f"stamps go back by {duration(restart.back_ns)} at message {restart.message} and "
                "go on from there; what was recorded from then on is not used: "
                f"{sum(map(len, series.values())) - before} images",
                "record each pass into a bag of its own",
            )
            series = self._read()
        self._series = {topic: one.before(self.stop_ns) for topic, one in series.items()}

    def camera(self, topic: str, info_topic: str) -> RecordedCamera:
        """
        Raises:
            InputError: it has no usable image or calibration.
        """
        images, track = self.images[topic], self.tracks[topic]
        problem = track.problem_of(images.size)
        if images.size is None:
            problem = ", ".join(images.broken) or "no image"
        if problem is not None:
            raise InputError(f"{self._bag.path}: {topic}: {problem} (CameraInfo on {info_topic})")
        image_frame = next(iter(images.frames.values()))
        return RecordedCamera(
            name=topic,
            topic=topic,
            info_topic=info_topic,
            frame=track.first.frame or image_frame,
            image_frame=image_frame,
            size=images.size,
            track=track,
            max_pixels=self._config.max_pixels,
        )

    def add_odometry(self, frame: str) -> Iterator[Finding]:
        """Take poses from Odometry where TF says nothing of the motion of a frame."""
        if self.tree.fixed_frame(frame)[0] is not None:
            return
        topic = odometry_topic(self._bag, self._config)
        if topic is None:
            return
        count = 0
        for _, message in self._bag.messages([topic], self.stop_ns):
            pose = message.pose.pose
            moved = SimpleNamespace(translation=pose.position, rotation=pose.orientation)
            stamped = SimpleNamespace(
                header=message.header, child_frame_id=message.child_frame_id, transform=moved
            )
            if frame_name(str(message.child_frame_id)):
                self.tree.add(SimpleNamespace(transforms=[stamped]), static=False)
                count += 1
        yield Finding(
            "poses-by-odometry",
            topic,
            "noted",
            f"TF has no motion; poses are taken from {count} messages of Odometry",
        )

    def findings(self) -> Iterator[Finding]:
        if self._restart is not None:
            yield self._restart
        yield from self.tree.findings()
        for topic, images in self.images.items():
            yield from order_findings(topic, self._series[topic])
            yield from images.findings()

    def _read(self) -> dict[str, StampSeries]:
        """Read all, up to `stop_ns`; stamps by topic."""
        topics, max_pixels = self._topics, self._config.max_pixels
        self.tree = empty_tree(self._config)
        self.images = {topic: Images(topic) for topic in topics.images}
        self.tracks = {
            topic: CameraTrack(rectified=is_rectified(base_of(topic)))
            for topic in (topics.color, topics.depth)
        }
        self.samples: list[np.ndarray] = []
        looked_at = spread_numbers(self._bag.count([topics.depth]), _LOOKED_AT)
        series = {topic: StampSeries() for topic in topics.images}
        infos = {
            topics.color: topics.color_info,
            topics.depth: topics.depth_info or topics.color_info,
        }
        transforms = self._bag.topics_of(*TF_MESSAGES)
        wanted = [*topics.images, *set(infos.values()), *transforms]
        number = -1
        for topic, recorded_ns, message in self._bag.timed_messages(wanted):
            if self.stop_ns is not None and recorded_ns >= self.stop_ns:
                continue
            if topic in transforms:
                add_transforms(self.tree, topic, message)
                continue
            if topic not in series:
                for image_topic, info_topic in infos.items():
                    if info_topic == topic:
                        self.tracks[image_topic].add(message)
                continue
            series[topic].add(stamp_ns(message), recorded_ns)
            if topic == topics.color:
                self.images[topic].add(message, image_size(message, max_pixels))
                continue
            number += topic == topics.depth
            try:
                self.images[topic].add(message, number_image_size(message, max_pixels))
                if topic == topics.depth and number in looked_at:
                    units = self._config.depth_units_per_m
                    self.samples.append(depth_of(message, units, max_pixels)[::2, ::2])
            except Unusable as reason:
                self.images[topic].add(message, str(reason))
        return series
