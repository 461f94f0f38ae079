"""The topics of an RGB-D camera in a bag, by type and name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from haskd_ros.errors import InputError
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.recordings.number_images import encoding_of, is_depth
from haskd_training.recordings.readers.bag import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    Bag,
    frame_of,
)
from haskd_training.recordings.recording import info_topic_of

ODOMETRY = "nav_msgs/msg/Odometry"

_GREY = ("mono8", "8UC1", "mono16")

_NEEDED = (
    "needed are colour images (Image or CompressedImage), depth images (Image of 16UC1 or 32FC1, "
    "or compressedDepth as PNG) and their CameraInfo"
)


@dataclass(frozen=True)
class RgbdTopics:
    """Topics; `depth_info` is None where the depth has the colour camera's."""

    color: str
    color_info: str
    depth: str
    depth_info: str | None
    labels: str | None

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(topic for topic in (self.color, self.depth, self.labels) if topic)


def base_of(topic: str) -> str:
    """An image topic without its transport's suffix."""
    return topic.removesuffix("/compressedDepth").removesuffix("/compressed")


def rgbd_topics(bag: Bag, config: RgbdConfig) -> RgbdTopics:
    """
    Raises:
        InputError: one is missing, or there are several and none is configured.
    """
    firsts = {
        topic: message
        for topic in bag.topics_of(IMAGE, COMPRESSED_IMAGE)
        if (message := next((one for _, one in bag.messages([topic])), None)) is not None
    }
    depths = [topic for topic, message in firsts.items() if is_depth(message)]
    labels = [topic for topic in firsts if topic not in depths and "label" in topic.lower()]
    colors = [topic for topic in firsts if topic not in depths and topic not in labels]
    in_colour = [topic for topic in colors if encoding_of(firsts[topic]) not in _GREY]
    infos = bag.topics_of(CAMERA_INFO)

    color = _chosen(
        bag, config.color_topic, "color_topic", firsts, _once(in_colour or colors, "/compressed")
    )
    same_frame = [topic for topic in depths if frame_of(firsts[topic]) == frame_of(firsts[color])]
    candidates = _once(depths, "")
    if len(candidates) > 1 and same_frame:
        candidates = _once(same_frame, "")
    depth = _chosen(bag, config.depth_topic, "depth_topic", firsts, candidates)
    label = None
    if config.label_topic is not None or labels:
        label = _chosen(bag, config.label_topic, "label_topic", firsts, _once(labels, ""))
    depth_info = _info(bag, config.depth_info_topic, depth, infos)
    color_info = _info(bag, config.color_info_topic, color, infos)
    if color_info is None:
        raise InputError(_no_info(bag, color, "color_info_topic", infos))
    if depth_info is None and frame_of(firsts[depth]) != frame_of(firsts[color]):
        raise InputError(_no_info(bag, depth, "depth_info_topic", infos))
    return RgbdTopics(color, color_info, depth, depth_info, label)


def odometry_topic(bag: Bag, config: RgbdConfig) -> str | None:
    """
    Raises:
        InputError: several and none configured, or the configured one isn't there.
    """
    there = bag.topics_of(ODOMETRY)
    if config.odometry_topic is None and not there:
        return None
    return _chosen(bag, config.odometry_topic, "odometry_topic", there, there)


def _once(topics: Sequence[str], preferred: str) -> list[str]:
    """Each image once where it is recorded both raw and compressed: the one with the preferred
    suffix, empty for raw."""
    by_base: dict[str, str] = {}
    for topic in topics:
        base = base_of(topic)
        if base not in by_base or topic == base + preferred:
            by_base[base] = topic
    return sorted(by_base.values())


def _chosen(
    bag: Bag, configured: str | None, option: str, there: Any, candidates: Sequence[str]
) -> str:
    what = option.removesuffix("_topic")
    if configured is not None:
        if configured not in there:
            raise InputError(
                f"{bag.path}: topic {configured} ({option}) not in bag; those there: "
                f"{', '.join(sorted(there)) or '(none)'}"
            )
        return configured
    if not candidates:
        everything = ", ".join(f"{topic} ({kind})" for topic, kind in sorted(bag.topics.items()))
        raise InputError(
            f"{bag.path}: no topic of {what} images in it; {_NEEDED}; topics there: {everything}"
        )
    if len(candidates) > 1:
        raise InputError(
            f"{bag.path}: several topics of {what}: {', '.join(candidates)}; name one of them as "
            f"{option}"
        )
    return candidates[0]


def _info(bag: Bag, configured: str | None, topic: str, infos: Sequence[str]) -> str | None:
    if configured is None:
        return info_topic_of(base_of(topic), infos)
    if configured not in infos:
        raise InputError(
            f"{bag.path}: topic {configured} not in bag; CameraInfo topics there: "
            f"{', '.join(infos) or '(none)'}"
        )
    return configured


def _no_info(bag: Bag, topic: str, option: str, infos: Sequence[str]) -> str:
    return (
        f"{bag.path}: no CameraInfo for {topic}; record it beside the images, or name its topic as "
        f"{option}; CameraInfo topics there: {', '.join(infos) or '(none)'}"
    )
