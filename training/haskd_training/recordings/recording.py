"""Topics, cameras and transforms of a bag."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from haskd_ros.clouds.intensity import IntensityUnit
from haskd_ros.errors import InputError
from haskd_training.recordings.camera_model import CalibrationError, CameraModel, camera_model
from haskd_training.recordings.cloud_sample import intensity_unit, sampled_clouds
from haskd_training.recordings.readers.bag import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    POINT_CLOUD,
    TF_MESSAGES,
    Bag,
    choose_topic,
    open_bag,
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
    """Topics, cameras and transforms of a bag, from its first messages.

    name: unique among the recordings of a cache.
    tree: the transforms read so far.
    tf_topics: those with more of them, to be read along with clouds and images and added to
        `tree`: a pass over the bag for the transforms alone takes as long as reading all of it.
    fixed_frame: as configured.
    intensity: its unit, from clouds evenly spread over the recording.
    messages: clouds and images.
    """

    path: Path
    name: str
    points_topic: str
    lidar_frame: str
    cameras: tuple[RecordedCamera, ...]
    tree: TransformTree
    tf_topics: tuple[str, ...]
    fixed_frame: str | None
    intensity: IntensityUnit
    messages: int

    @property
    def topics(self) -> list[str]:
        """Of its clouds, images and transforms."""
        return [self.points_topic, *(camera.topic for camera in self.cameras), *self.tf_topics]

    @cached_property
    def world_frame(self) -> str | None:
        """The fixed frame of poses: the configured one, or the root above the sensor if the sensor
        moves against it; None where its motion isn't recorded. Valid once `tree` is complete.

        A root that the sensor is fixed to is the vehicle itself, whose motion isn't recorded then.
        """
        if self.fixed_frame is not None:
            return self.fixed_frame
        try:
            root = self.tree.root(self.lidar_frame)
            return root if self.tree.moves(root, self.lidar_frame) else None
        except NoTransform:
            return None


def inspect_recording(path: Path, name: str, config: RecordingConfig) -> Recording:
    """Collect what is needed to read a bag's clouds, images and transforms in one pass.

    Raises:
        InputError: no bag, a damaged one, no PointCloud2 topic, several and none configured, a
            configured topic or frame that isn't there, or clouds without x, y and z.
    """
    with open_bag(path) as bag:
        points_topic = choose_topic(bag, POINT_CLOUD, config.points_topic, "points_topic")
        lidar_frame = _lidar_frame(bag, points_topic)
        intensity = intensity_unit(sampled_clouds(bag, points_topic))
        cameras = list(_cameras(bag, config))
        frames = {camera.frame for camera in cameras if camera.model is not None}
        if config.fixed_frame is not None:
            frames.add(config.fixed_frame)

        def all_connected(tree: TransformTree) -> bool:
            return all(tree.connects(frame, lidar_frame) for frame in frames)

        tree, complete = transforms(bag, config, all_connected)
        if complete:
            _check_fixed_frame(path, tree, config.fixed_frame)
            cameras = [_connected(camera, tree, lidar_frame) for camera in cameras]
        topics = [points_topic, *(camera.topic for camera in cameras)]
        return Recording(
            path=path,
            name=name,
            points_topic=points_topic,
            lidar_frame=lidar_frame,
            cameras=tuple(cameras),
            tree=tree,
            tf_topics=() if complete else tuple(bag.topics_of(*TF_MESSAGES)),
            fixed_frame=config.fixed_frame,
            intensity=intensity,
            messages=bag.count(topics),
        )


def transforms(
    bag: Bag, config: RecordingConfig, stop: Callable[[TransformTree], bool] = lambda _: False
) -> tuple[TransformTree, bool]:
    """The transforms of a recording, read until `stop` is true of them, and whether they are all
    that it holds."""
    tree = TransformTree(round(config.tf_tolerance_s * 1e9), round(config.max_tf_gap_s * 1e9))
    for topic, message in bag.messages(bag.topics_of(*TF_MESSAGES)):
        add_transforms(tree, topic, message)
        if stop(tree):
            return tree, False
    return tree, True


def add_transforms(tree: TransformTree, topic: str, message: Any) -> None:
    """Add a message of one of a recording's TF topics."""
    tree.add(message, static=topic.endswith("tf_static"))


def _lidar_frame(bag: Bag, topic: str) -> str:
    """Frame of the clouds, from the first of them."""
    _, cloud = next(bag.messages([topic]))
    fields = [field.name for field in cloud.fields]
    if cloud.width * cloud.height and (missing := {"x", "y", "z"} - set(fields)):
        raise InputError(
            f"{bag.path}: the clouds of {topic} have no {', '.join(sorted(missing))}; "
            f"their fields are {', '.join(fields) or '(none)'}"
        )
    return str(cloud.header.frame_id).lstrip("/")


def _check_fixed_frame(path: Path, tree: TransformTree, configured: str | None) -> None:
    if configured is not None and configured not in tree.frames:
        raise InputError(
            f"{path}: fixed_frame {configured} not in TF; frames there: "
            f"{', '.join(sorted(tree.frames)) or '(none)'}"
        )


def _connected(camera: RecordedCamera, tree: TransformTree, lidar_frame: str) -> RecordedCamera:
    """The camera, without its model where TF does not connect it to the LiDAR."""
    if camera.model is None or tree.connects(camera.frame, lidar_frame):
        return camera
    problem = f"TF does not connect {lidar_frame} to {camera.frame}"
    return replace(camera, model=None, problem=problem)


def _cameras(bag: Bag, config: RecordingConfig) -> Iterator[RecordedCamera]:
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
