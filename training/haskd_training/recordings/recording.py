"""Topics, cameras and transforms of a bag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from haskd_ros.clouds.crop import frame_name
from haskd_ros.clouds.intensity import IntensityUnit
from haskd_ros.errors import InputError
from haskd_training.recordings.camera_track import (
    CameraTrack,
    RecordedCamera,
    recorded_camera,
)
from haskd_training.recordings.image_codec import image_size
from haskd_training.recordings.image_header import MAX_PIXELS
from haskd_training.recordings.readers.bag import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    TF_MESSAGES,
    Bag,
    frame_of,
)
from haskd_training.recordings.transform_tree import TransformTree


class CameraTopics(BaseModel):
    """Topics of one camera."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    image: str
    info: str


class PosesConfig(BaseModel):
    """What transforms and images of a bag are used."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    fixed_frame: str | None = Field(None, description="world frame; default: the root of TF")
    tf_tolerance_s: float = Field(
        0.02, ge=0, description="how long a transform holds beyond its first and last sample"
    )
    max_tf_gap_s: float = Field(1.0, gt=0, description="longest time interpolated over")
    max_image_megapixels: float = Field(
        MAX_PIXELS / 1e6, gt=0, description="images of more are left out, before they are decoded"
    )

    @property
    def max_pixels(self) -> int:
        """Of an image that is used."""
        return round(min(self.max_image_megapixels * 1e6, 2**31))

    @field_validator("fixed_frame")
    @classmethod
    def _without_slash(cls, frame: str | None) -> str | None:
        return frame and frame_name(frame)


class RecordingConfig(PosesConfig):
    """Topics and frames of a bag; a topic that is None is determined by message type."""

    points_topic: str | None = Field(None, description="PointCloud2 topic")
    cameras: dict[str, CameraTopics] | None = Field(None, description="topics by camera name")


@dataclass(frozen=True)
class Recording:
    """Topics, cameras and transforms of a bag, as its examination found them.

    name: unique among the recordings of a cache.
    lidar_frame: of most clouds.
    tree: all transforms that are used.
    fixed_frame: as configured.
    intensity: the unit of the clouds' intensity.
    messages: clouds and images that are used.
    stop_ns: what was recorded at this time (in ns) or later is not used; None: all is.
    """

    path: Path
    name: str
    points_topic: str
    lidar_frame: str
    cameras: tuple[RecordedCamera, ...]
    tree: TransformTree
    fixed_frame: str | None
    intensity: IntensityUnit
    messages: int
    stop_ns: int | None = None

    @property
    def topics(self) -> list[str]:
        """Of its clouds and images."""
        return [self.points_topic, *(camera.topic for camera in self.cameras)]

    @cached_property
    def world_frame(self) -> str | None:
        """The fixed frame of poses: the configured one, or that of `TransformTree.fixed_frame`;
        None where the motion of the vehicle isn't recorded."""
        if self.fixed_frame is not None:
            return self.fixed_frame
        return self.tree.fixed_frame(self.lidar_frame)[0]

    def frame_of(self, cloud: Any) -> str:
        """The frame of a cloud; that of most clouds where it names none."""
        return frame_of(cloud) or self.lidar_frame

    def places(self, frame: str) -> bool:
        """Whether clouds of a frame are used: where images are, TF has to connect it with the frame
        of most clouds."""
        usable = any(camera.problem is None for camera in self.cameras)
        own = frame in ("", self.lidar_frame)
        return own or not usable or self.tree.connects(self.lidar_frame, frame)


def transforms(bag: Bag, config: RecordingConfig, before_ns: int | None = None) -> TransformTree:
    """The transforms of a recording.

    Args:
        before_ns: only those recorded before, in ns.
    """
    tree = empty_tree(config)
    for topic, message in bag.messages(bag.topics_of(*TF_MESSAGES), before_ns):
        add_transforms(tree, topic, message)
    return tree


def empty_tree(config: PosesConfig) -> TransformTree:
    """A tree with the configured tolerances."""
    return TransformTree(round(config.tf_tolerance_s * 1e9), round(config.max_tf_gap_s * 1e9))


def add_transforms(tree: TransformTree, topic: str, message: Any) -> None:
    """Add a message of one of a recording's TF topics."""
    tree.add(message, static=topic.endswith("tf_static"))


def check_fixed_frame(path: Path, tree: TransformTree, configured: str | None) -> None:
    """Check that TF has the configured frame.

    Raises:
        InputError: it hasn't; the message lists the frames there are.
    """
    if configured is not None and configured not in tree.frames:
        raise InputError(
            f"{path}: fixed_frame {configured} not in TF; frames there: "
            f"{', '.join(sorted(tree.frames)) or '(none)'}"
        )


class Cameras:
    """The cameras of a bag, from messages that are read along with others.

    Args:
        bag: open; no message of it is read here.

    Raises:
        InputError: a configured topic isn't there, or one CameraInfo belongs to several images.
    """

    def __init__(self, bag: Bag, config: RecordingConfig) -> None:
        self._topics: dict[str, tuple[str, str | None]] = {}
        if config.cameras is None:
            self._topics = _camera_topics(bag)
        else:
            for name, configured in config.cameras.items():
                _check_topic(bag, configured.image, IMAGE, COMPRESSED_IMAGE)
                _check_topic(bag, configured.info, CAMERA_INFO)
                self._topics[name] = configured.image, configured.info
        self._tracks = {
            topic: CameraTrack(rectified=is_rectified(_base(topic)))
            for topic, _ in self._topics.values()
        }
        self._first_images: dict[str, Any] = {}
        self._max_pixels = config.max_pixels
        self._whole: set[str] = set()

    @property
    def image_topics(self) -> list[str]:
        return sorted(topic for topic, _ in self._topics.values())

    @property
    def info_topics(self) -> list[str]:
        return sorted({info for _, info in self._topics.values() if info is not None})

    def add_info(self, topic: str, info: Any) -> None:
        """Add a CameraInfo of a topic."""
        for image_topic, own in self._topics.values():
            if own == topic:
                self._tracks[image_topic].add(info)

    def add_image(self, topic: str, image: Any) -> None:
        """Add an image of a topic; the first one that holds a picture counts."""
        if topic not in self._whole:
            self._first_images[topic] = image
            if not isinstance(image_size(image, self._max_pixels), str):
                self._whole.add(topic)

    def recorded(self) -> list[RecordedCamera]:
        """All cameras, by name, also those that can't be used."""
        return [
            recorded_camera(
                name,
                topic,
                info_topic,
                track=self._tracks[topic],
                image=self._first_images.get(topic),
                max_pixels=self._max_pixels,
            )
            for name, (topic, info_topic) in sorted(self._topics.items())
        ]


def cameras_before(bag: Bag, config: RecordingConfig, before_ns: int) -> Cameras:
    """The cameras by what was recorded before a time, in ns."""
    cameras = Cameras(bag, config)
    for topic, message in bag.messages([*cameras.info_topics, *cameras.image_topics], before_ns):
        if topic in cameras.info_topics:
            cameras.add_info(topic, message)
        else:
            cameras.add_image(topic, message)
    return cameras


def _check_topic(bag: Bag, topic: str, *types: str) -> None:
    if bag.topics.get(topic) not in types:
        names = " and ".join(kind.rsplit("/", 1)[-1] for kind in types)
        raise InputError(
            f"{bag.path}: topic {topic} not in bag; {names} topics there: "
            f"{', '.join(bag.topics_of(*types)) or '(none)'}"
        )


def _camera_topics(bag: Bag) -> dict[str, tuple[str, str | None]]:
    """Image and CameraInfo topic by camera name, by ROS's convention: CameraInfo is in the image's
    namespace (`/camera/front/image`, `/camera/front/camera_info`) or right under the image topic.

    Raises:
        InputError: one CameraInfo belongs to several images.
    """
    images = bag.topics_of(IMAGE, COMPRESSED_IMAGE)
    # Of an image that is recorded twice the JPEG is used: it goes into the cache as it is.
    by_base = {_base(topic): topic for topic in sorted(images, key=len)}
    infos = bag.topics_of(CAMERA_INFO)
    topics: dict[str, tuple[str, str | None]] = {}
    owner: dict[str, str] = {}
    for base, topic in by_base.items():
        info = info_topic_of(base, infos)
        if base.endswith("/compressedDepth"):
            info = None  # beside a picture of the same camera
        if info is not None and owner.setdefault(info, topic) != topic:
            raise InputError(
                f"{bag.path}: {owner[info]} and {topic} are images of one camera ({info}); "
                "name one of them under cameras"
            )
        name = _camera_name(base)
        topics[base.strip("/").replace("/", "_") if name in topics else name] = (topic, info)
    return topics


def info_topic_of(base: str, infos: Sequence[str]) -> str | None:
    """The CameraInfo topic of an image topic without its transport's suffix, by ROS's convention;
    None where it is not among those that there are."""
    conventional = (f"{base}/camera_info", f"{base.rsplit('/', 1)[0]}/camera_info")
    return next((name for name in conventional if name in infos), None)


def is_rectified(base: str) -> bool:
    """Whether images are rectified, by their topic without its transport's suffix."""
    return base.rsplit("/", 1)[-1].startswith("image_rect")


def _base(topic: str) -> str:
    """An image topic without the transport's suffix."""
    return topic.removesuffix("/compressed")


def _camera_name(base: str) -> str:
    """`/camera/front/image_raw` -> `front`."""
    parts = base.strip("/").split("/")
    if len(parts) > 1 and parts[-1].startswith("image"):
        parts.pop()
    return parts[-1]
