"""Topics, cameras and transforms of a bag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from haskd_ros.errors import InputError
from haskd_training.recordings.camera_model import CalibrationError, CameraModel, camera_model
from haskd_training.recordings.readers.bag import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    TF_MESSAGES,
    Bag,
)
from haskd_training.recordings.transform_tree import NoTransform, TransformTree


class CameraTopics(BaseModel):
    """Topics of one camera."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    image: str
    info: str


class RecordingConfig(BaseModel):
    """Topics and frames of a bag; a topic that is None is determined by message type."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    points_topic: str | None = Field(None, description="PointCloud2 topic")
    cameras: dict[str, CameraTopics] | None = Field(None, description="topics by camera name")
    fixed_frame: str | None = Field(None, description="world frame; default: the root of TF")
    tf_tolerance_s: float = Field(
        0.02, ge=0, description="how long a transform holds beyond its first and last sample"
    )
    max_tf_gap_s: float = Field(1.0, gt=0, description="longest time interpolated over")


@dataclass(frozen=True)
class RecordedCamera:
    """A camera of a recording. problem: why its images can't be used; model is None then."""

    name: str
    topic: str
    frame: str = ""
    model: CameraModel | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Recording:
    """Topics, cameras and transforms of a bag, as its examination found them.

    name: unique among the recordings of a cache.
    lidar_frame: of most clouds.
    tree: all transforms that are used.
    fixed_frame: as configured.
    max_intensity: of the sampled clouds, as in the cloud; None without an intensity field.
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
    max_intensity: float | None
    messages: int
    stop_ns: int | None = None

    @property
    def topics(self) -> list[str]:
        """Of its clouds and images."""
        return [self.points_topic, *(camera.topic for camera in self.cameras)]

    @cached_property
    def world_frame(self) -> str | None:
        """The fixed frame of poses: the configured one, or the root above the sensor if the sensor
        moves against it; None where its motion isn't recorded.

        A root that the sensor is fixed to is the vehicle itself, whose motion isn't recorded then.
        """
        if self.fixed_frame is not None:
            return self.fixed_frame
        try:
            root = self.tree.root(self.lidar_frame)
            return root if self.tree.moves(root, self.lidar_frame) else None
        except NoTransform:
            return None


def transforms(bag: Bag, config: RecordingConfig, before_ns: int | None = None) -> TransformTree:
    """The transforms of a recording.

    Args:
        before_ns: only those recorded before, in ns.
    """
    tree = empty_tree(config)
    for topic, message in bag.messages(bag.topics_of(*TF_MESSAGES), before_ns):
        add_transforms(tree, topic, message)
    return tree


def empty_tree(config: RecordingConfig) -> TransformTree:
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


def connected(camera: RecordedCamera, tree: TransformTree, lidar_frame: str) -> RecordedCamera:
    """The camera, without its model where TF does not connect it to the LiDAR."""
    if camera.model is None or tree.connects(camera.frame, lidar_frame):
        return camera
    problem = f"TF does not connect {lidar_frame} to {camera.frame}"
    return replace(camera, model=None, problem=problem)


def recorded_cameras(bag: Bag, config: RecordingConfig) -> Iterator[RecordedCamera]:
    """The cameras of a bag, also those that can't be used.

    Raises:
        InputError: a configured topic isn't there, or one CameraInfo belongs to several images.
    """
    topics: dict[str, tuple[str, str | None]] = {}
    if config.cameras is None:
        topics = _camera_topics(bag)
    else:
        for name, configured in config.cameras.items():
            _check_topic(bag, configured.image, IMAGE, COMPRESSED_IMAGE)
            _check_topic(bag, configured.info, CAMERA_INFO)
            topics[name] = configured.image, configured.info
    for name, (topic, info_topic) in sorted(topics.items()):
        if info_topic is None:
            yield RecordedCamera(name, topic, problem="no CameraInfo")
            continue
        # The calibration of a recording doesn't change: the first CameraInfo holds for all of it.
        _, info = next(bag.messages([info_topic]))
        rectified = _base(topic).rsplit("/", 1)[-1].startswith("image_rect")
        try:
            model = camera_model(info, rectified)
        except CalibrationError as error:
            yield RecordedCamera(name, topic, problem=str(error))
            continue
        yield RecordedCamera(name, topic, info.header.frame_id.lstrip("/"), model)


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
    images = [
        topic
        for topic in bag.topics_of(IMAGE, COMPRESSED_IMAGE)
        if not topic.endswith(("/compressedDepth", "/theora"))
    ]
    # Of an image that is recorded twice the JPEG is used: it goes into the cache as it is.
    by_base = {_base(topic): topic for topic in sorted(images, key=len)}
    infos = bag.topics_of(CAMERA_INFO)
    topics: dict[str, tuple[str, str | None]] = {}
    owner: dict[str, str] = {}
    for base, topic in by_base.items():
        conventional = (f"{base}/camera_info", f"{base.rsplit('/', 1)[0]}/camera_info")
        info = next((name for name in conventional if name in infos), None)
        if info is not None and owner.setdefault(info, topic) != topic:
            raise InputError(
                f"{bag.path}: {owner[info]} and {topic} are images of one camera ({info}); "
                "name one of them under cameras"
            )
        name = _camera_name(base)
        topics[base.strip("/").replace("/", "_") if name in topics else name] = (topic, info)
    return topics


def _base(topic: str) -> str:
    """An image topic without the transport's suffix."""
    return topic.removesuffix("/compressed")


def _camera_name(base: str) -> str:
    """`/camera/front/image_raw` -> `front`."""
    parts = base.strip("/").split("/")
    if len(parts) > 1 and parts[-1].startswith("image"):
        parts.pop()
    return parts[-1]
