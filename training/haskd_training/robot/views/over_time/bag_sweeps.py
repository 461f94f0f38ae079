"""The clouds of a bag, each with the images nearest to it and what a node published of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.clouds.pointcloud import (
    CloudError,
    read_points,
    read_xyz_intensity,
    valid_returns,
)
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmenter import Segmenter
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.data.preparing.examination.examination import Examination
from haskd_training.data.preparing.examination.examine import examine
from haskd_training.data.preparing.samples import image_sample, with_poses, with_world_poses
from haskd_training.recordings.camera_track import RecordedCamera
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.labels import (
    LabelSource,
    cloud_times,
    label_source,
    load_label_map,
)
from haskd_training.recordings.readers.bag import (
    POINT_CLOUD,
    Bag,
    Unusable,
    choose_topic,
    open_bag,
    stamp_ns,
)
from haskd_training.recordings.readers.node_outputs import namespace
from haskd_training.recordings.recording import Recording, RecordingConfig
from haskd_training.recordings.repeats import Repeats
from haskd_training.robot.offline.bag_labeller import BagLabeller
from haskd_training.robot.offline.class_topics import taxonomy_of
from haskd_training.robot.views.over_time.sweeps import (
    IMAGE_WINDOW_S,
    Labels,
    RecordedSweeps,
    SweepWithImages,
)
from haskd_training.robot.views.published_labels import labelled_topics, published_topic

_OUTPUT_WINDOW = 3
"""Sweeps that a recorded node may be behind with its labels."""

_JPEG_QUALITY = 92


def sweeps_of_bag(
    path: Path, topic: str | None = None, labels: str | None = None
) -> RecordedSweeps:
    """The clouds of a bag, with the labels that a node published of them where they are recorded.

    Args:
        topic: of the clouds; None: the only one that is not a node's output.
        labels: label map by which the clouds' labels are read.

    Raises:
        InputError: no bag, no clouds, several topics of them, or no such label map.
    """
    with open_bag(path) as bag:
        topic, published = _topics(bag, topic)
        count = bag.count([topic])
        classes = None if published is None else taxonomy_of(bag, namespace(published))
    label_map = None if labels is None else load_label_map(labels)
    source = label_source(label_map, path.stem, partial(cloud_times, path, topic))
    examination = examine(
        path,
        path.stem,
        RecordingConfig(points_topic=topic),
        None if label_map is None else (label_map.taxonomy, source),
    )
    recording = examination.recording
    skipped: Counter[str] = Counter()
    reader = _BagReader(
        examination,
        published=published,
        labels=None if label_map is None else source,
        skipped=skipped,
    )
    return RecordedSweeps(
        taxonomy=None if label_map is None else label_map.taxonomy,
        published=published is not None,
        published_taxonomy=classes,
        cameras={recording.name: [camera.name for camera in _usable(recording)]},
        count=count,
        read=reader.read,
        findings_of=reader.findings_of,
        findings=examination.findings,
        skipped=skipped,
    )


def _usable(recording: Recording) -> list[RecordedCamera]:
    return [camera for camera in recording.cameras if camera.problem is None]


def _topics(bag: Bag, topic: str | None) -> tuple[str, str | None]:
    """The clouds to show and, where there are such, those that a node published of them; the same
    topic where only these are recorded or they are asked for.

    Raises:
        InputError: there are none, or several and none is given.
    """
    if topic in labelled_topics(bag):
        return topic, topic
    published = published_topic(bag, None)
    return choose_topic(bag, POINT_CLOUD, topic, "--topic"), published


@dataclass
class _Waiting:
    """A cloud that waits for its images and for what was published of it; `cloud` is None where it
    was not chosen."""

    number: int
    stamp_ns: int
    cloud: Any | None
    images: list[Any] = field(default_factory=list)
    published: Any | None = None


@dataclass(frozen=True)
class _BagReader:
    """Reads a bag in one pass; few messages are held at a time."""

    examination: Examination
    published: str | None
    labels: LabelSource | None
    skipped: Counter[str]
    labellers: dict[Segmenter, BagLabeller] = field(default_factory=dict)

    @property
    def recording(self) -> Recording:
        return self.examination.recording

    def findings_of(self, segmenter: Segmenter) -> Sequence[Finding]:
        """The labeller's, which is made here for the reading."""
        labeller = BagLabeller(self.examination, segmenter, DEFAULTS)
        self.labellers[segmenter] = labeller
        return labeller.findings

    def _label(self, cloud: Any, valid: np.ndarray, segmenter: Segmenter) -> Labels:
        result = self.labellers[segmenter](cloud).result
        return Labels(result.class_id[valid], result.entropy[valid])

    def read(self, chosen: range) -> Iterator[SweepWithImages]:
        for waiting in self._waiting(chosen):
            if waiting.cloud is not None:
                try:
                    yield self._sweep(waiting, waiting.cloud)
                except CloudError as error:
                    self.skipped[error.reason] += 1

    def _waiting(self, chosen: range) -> Iterator[_Waiting]:
        """Each cloud, once all that belongs to it has been read."""
        recording = self.recording
        topics = [
            recording.points_topic,
            *(camera.topic for camera in _usable(recording)),
        ]
        own = recording.points_topic == self.published
        if self.published is not None and not own:
            topics.append(self.published)
        behind = 1 if self.published is None else _OUTPUT_WINDOW
        clouds: deque[_Waiting] = deque()
        images: deque[tuple[str, Any]] = deque()
        number, repeats = -1, Repeats()
        with open_bag(recording.path) as bag:
            for topic, message in bag.messages(topics, recording.stop_ns):
                number += topic == recording.points_topic
                if repeats.is_repeat(topic, message):
                    continue
                if topic == recording.points_topic:
                    # Those behind the last one take the images and labels that are not its own.
                    if number >= chosen.stop + behind:
                        break
                    cloud = message if number in chosen else None
                    clouds.append(
                        _Waiting(
                            number, stamp_ns(message), cloud, published=message if own else None
                        )
                    )
                    _assign(images, clouds)
                    if len(clouds) > behind:
                        yield clouds.popleft()
                elif topic == self.published:
                    for waiting in clouds:
                        if waiting.stamp_ns == stamp_ns(message):
                            waiting.published = message
                else:
                    images.append((topic, message))
                    _forget(images)
        _assign(images, clouds)
        yield from clouds

    def _sweep(self, waiting: _Waiting, cloud: Any) -> SweepWithImages:
        recording = self.recording
        points, _ = read_xyz_intensity(cloud)
        valid = valid_returns(points)
        frame = recording.frame_of(cloud)
        row = SweepRow(recording.name, waiting.stamp_ns, int(valid.sum()), [], frame=frame)
        truth = None
        if self.labels is not None:
            truth = self.labels.of(cloud, waiting.number, waiting.stamp_ns)[valid]
        return SweepWithImages(
            number=waiting.number,
            row=with_world_poses([row], recording)[0],
            points=points[valid],
            truth=truth,
            published=self._published(waiting.published, valid),
            label=partial(self._label, cloud, valid),
            images=list(self._images(waiting.images)),
        )

    def _published(self, message: Any | None, valid: np.ndarray) -> Labels | None:
        if message is None:
            return None
        has_entropy = any(field.name == "entropy" for field in message.fields)
        rows = read_points(message, ["class_id", "entropy"] if has_entropy else ["class_id"])
        if len(rows) != len(valid):
            self.skipped["published cloud of another number of points"] += 1
            return None
        entropy = rows["entropy"][valid] if has_entropy else None
        return Labels(rows["class_id"][valid].astype(np.uint8), entropy)

    def _images(self, messages: Sequence[tuple[str, Any]]) -> Iterator[tuple[ImageRow, np.ndarray]]:
        cameras = {camera.topic: camera for camera in self.recording.cameras}
        for topic, message in messages:
            try:
                row, data = image_sample(message, cameras[topic], self.recording, _JPEG_QUALITY)
            except Unusable as reason:
                self.skipped[str(reason)] += 1
                continue
            rows, reasons = with_poses([row], self.recording)
            self.skipped.update(reasons)
            yield from ((row, data["jpeg"]) for row in rows)


def _assign(images: deque[tuple[str, Any]], clouds: deque[_Waiting]) -> None:
    """Give each image to the cloud nearest in time."""
    window = round(IMAGE_WINDOW_S * 1e9)
    while images and clouds:
        image = images.popleft()
        stamp = stamp_ns(image[1])
        nearest = min(clouds, key=lambda waiting: abs(waiting.stamp_ns - stamp))
        if abs(nearest.stamp_ns - stamp) <= window:
            nearest.images.append(image)


def _forget(images: deque[tuple[str, Any]]) -> None:
    """Drop images that no coming cloud can be near to."""
    newest = stamp_ns(images[-1][1])
    while newest - stamp_ns(images[0][1]) > round(2e9 * IMAGE_WINDOW_S):
        images.popleft()
