"""Topics, cameras and transforms of a bag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from haskd_ros.clouds.pointcloud import CloudError, read_xyz_intensity
from haskd_ros.errors import InputError
from haskd_training.recordings.camera_track import (
    CameraTrack,
    RecordedCamera,
    paired,
    recorded_camera,
)
from haskd_training.recordings.findings import Finding
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
from haskd_training.recordings.transform_tree import TransformTree

FIRST_CLOUDS = 10
"""Clouds that are read to determine the unit of intensity."""


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
class Recording:
    """Topics, cameras and transforms of a bag, from its first messages.

    name: unique among the recordings of a cache.
    tree: the transforms read so far.
    tf_topics: those with more of them, to be read along with clouds and images and added to
        `tree`: a pass over the bag for the transforms alone takes as long as reading all of it.
    fixed_frame: as configured.
    max_intensity: of the first clouds, as in the cloud; None without an intensity field.
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
    max_intensity: float | None
    messages: int
    findings: tuple[Finding, ...] = ()

    @property
    def topics(self) -> list[str]:
        """Of its clouds, images and transforms."""
        return [self.points_topic, *(camera.topic for camera in self.cameras), *self.tf_topics]

    @cached_property
    def world_frame(self) -> str | None:
        """The fixed frame of poses: the configured one, or that of `TransformTree.fixed_frame`;
        None where the motion of the vehicle isn't recorded. Valid once `tree` is complete."""
        if self.fixed_frame is not None:
            return self.fixed_frame
        return self.tree.fixed_frame(self.lidar_frame)[0]


def inspect_recording(path: Path, name: str, config: RecordingConfig) -> Recording:
    """Collect what is needed to read a bag's clouds, images and transforms in one pass.

    Raises:
        InputError: no bag, a damaged one, no PointCloud2 topic, several and none configured, a
            configured topic or frame that isn't there, or clouds without x, y and z.
    """
    with open_bag(path) as bag:
        points_topic = choose_topic(bag, POINT_CLOUD, config.points_topic, "points_topic")
        lidar_frame, max_intensity = _first_clouds(bag, points_topic)
        cameras = recorded_cameras(bag, config)
        frames = {camera.frame for camera in cameras if camera.problem is None}
        if config.fixed_frame is not None:
            frames.add(config.fixed_frame)

        def all_connected(tree: TransformTree) -> bool:
            return all(tree.connects(frame, lidar_frame) for frame in frames)

        tree, complete = transforms(bag, config, all_connected)
        if complete:
            _check_fixed_frame(path, tree, config.fixed_frame)
            cameras = [camera.connected(tree, lidar_frame) for camera in cameras]
        cameras, findings = paired(cameras, tree)
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
            max_intensity=max_intensity,
            messages=bag.count(topics),
            findings=tuple(findings),
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


def _first_clouds(bag: Bag, topic: str) -> tuple[str, float | None]:
    """Frame of the clouds, and the largest intensity in the first of them."""
    frame, largest = "", None
    for _, cloud in islice(bag.messages([topic]), FIRST_CLOUDS):
        frame = frame or cloud.header.frame_id.lstrip("/")
        fields = [field.name for field in cloud.fields]
        if cloud.width * cloud.height and (missing := {"x", "y", "z"} - set(fields)):
            raise InputError(
                f"{bag.path}: the clouds of {topic} have no {', '.join(sorted(missing))}; "
                f"their fields are {', '.join(fields) or '(none)'}"
            )
        try:
            points, field = read_xyz_intensity(cloud)
        except CloudError:
            continue  # counted with its reason when the cloud is converted
        intensity = points[np.isfinite(points[:, 3]), 3]
        if field is not None and len(intensity):
            largest = max(largest or 0.0, float(intensity.max()))
    return frame, largest


def _check_fixed_frame(path: Path, tree: TransformTree, configured: str | None) -> None:
    if configured is not None and configured not in tree.frames:
        raise InputError(
            f"{path}: fixed_frame {configured} not in TF; frames there: "
            f"{', '.join(sorted(tree.frames)) or '(none)'}"
        )


def recorded_cameras(bag: Bag, config: RecordingConfig) -> list[RecordedCamera]:
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
    tracks = {
        topic: CameraTrack(rectified=_base(topic).rsplit("/", 1)[-1].startswith("image_rect"))
        for topic, _ in topics.values()
    }
    for info_topic, info in bag.messages([name for _, name in topics.values() if name]):
        for topic, own_info in topics.values():
            if own_info == info_topic:
                tracks[topic].add(info)
    return [
        recorded_camera(
            name,
            topic,
            info_topic,
            track=tracks[topic],
            image=next(bag.messages([topic]))[1],
        )
        for name, (topic, info_topic) in sorted(topics.items())
    ]


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
        conventional = (f"{base}/camera_info", f"{base.rsplit('/', 1)[0]}/camera_info")
        info = next((name for name in conventional if name in infos), None)
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


def _base(topic: str) -> str:
    """An image topic without the transport's suffix."""
    return topic.removesuffix("/compressed")


def _camera_name(base: str) -> str:
    """`/camera/front/image_raw` -> `front`."""
    parts = base.strip("/").split("/")
    if len(parts) > 1 and parts[-1].startswith("image"):
        parts.pop()
    return parts[-1]
