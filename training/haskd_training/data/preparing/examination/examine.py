"""One pass over a recording, before anything is computed from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from haskd_ros.clouds.crop import frame_name
from haskd_ros.taxonomy import Taxonomy
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.preparing.examination.cameras import (
    camera_findings,
    camera_summaries,
    seen_by_class,
)
from haskd_training.data.preparing.examination.clouds import CloudExaminer
from haskd_training.data.preparing.examination.examination import Examination
from haskd_training.data.preparing.examination.images import ImageTally
from haskd_training.data.preparing.examination.labels import LabelCounts
from haskd_training.data.preparing.examination.poses import pose_findings
from haskd_training.data.preparing.examination.stamps import (
    StampSeries,
    clock_findings,
    jump_finding,
    order_findings,
    restart_finding,
    restart_of,
)
from haskd_training.data.preparing.examination.topics import (
    TopicTally,
    frame_findings,
    main_frame,
    no_frame_finding,
    topic_summaries,
)
from haskd_training.data.preparing.examination.transforms import transform_findings
from haskd_training.recordings.camera_track import paired
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.labels import LabelSource
from haskd_training.recordings.readers.bag import (
    POINT_CLOUD,
    TF_MESSAGES,
    Bag,
    choose_topic,
    open_bag,
    stamp_ns,
)
from haskd_training.recordings.recording import (
    Cameras,
    Recording,
    RecordingConfig,
    add_transforms,
    cameras_before,
    check_fixed_frame,
    empty_tree,
    transforms,
)

_EACH_BY_ITSELF = "stamps go back and go on from there; each cloud is taken by itself"


def examine(
    path: Path,
    name: str,
    config: RecordingConfig,
    labelled_by: tuple[Taxonomy, LabelSource] | None = None,
    progress: Progress = no_progress,
    topic_option: str = "points_topic",
    *,
    intensity_scale: float = 0.0,
) -> Examination:
    """Look at every message of a recording's clouds, cameras and transforms, once.

    Args:
        name: of the recording, unique among those of a cache.
        labelled_by: classes and labels; None looks at no labels.
        progress: counts messages.
        topic_option: what names the topic of the clouds, for messages.
        intensity_scale: intensity of a full return; 0: found from the clouds.

    Raises:
        InputError: no bag, a damaged one, no PointCloud2 topic, several and none configured, a
            configured topic or frame that isn't there, clouds without x, y and z, or
            labels that fit neither cloud nor label map.
    """
    with open_bag(path) as bag:
        points_topic = choose_topic(bag, POINT_CLOUD, config.points_topic, topic_option)
        labels = None if labelled_by is None else LabelCounts(path, *labelled_by)
        examiner = CloudExaminer(points_topic, bag.count([points_topic]), intensity_scale)
        seen = _Pass(bag, examiner, config, labels, progress)
        tallies, clouds = seen.tallies, seen.clouds
        clouds.check(path)
        restart = restart_of(seen.senders())
        stop_ns = None if restart is None else restart[1].recorded_ns
        tree = seen.tree if stop_ns is None else transforms(bag, config, stop_ns)
        check_fixed_frame(path, tree, config.fixed_frame)
        lidar_frame = main_frame(tallies[points_topic])
        every = seen.cameras if stop_ns is None else cameras_before(bag, config, stop_ns)
        cameras, of_stereo = paired(
            [camera.connected(tree, lidar_frame) for camera in every.recorded()], tree
        )
        used = [points_topic, *(camera.topic for camera in cameras)]
        recording = Recording(
            path=path,
            name=name,
            points_topic=points_topic,
            lidar_frame=lidar_frame,
            cameras=tuple(cameras),
            tree=tree,
            fixed_frame=config.fixed_frame,
            intensity=clouds.intensity,
            messages=sum(len(tallies[topic].series.before(stop_ns)) for topic in used),
            stop_ns=stop_ns,
        )
        samples = [
            sample for sample in clouds.samples if stop_ns is None or sample.recorded_ns < stop_ns
        ]
        images = {topic: tally.before(stop_ns) for topic, tally in seen.images.items()}
        clouds_used = tallies[points_topic].before(stop_ns)
        of_stamps = list(_stamp_findings(seen, recording))
        apart = any(finding.code == "clocks-apart" for finding in of_stamps)
        summaries = camera_summaries(recording, samples, images)
        return Examination(
            recording=recording,
            findings=(
                *bag.findings,
                *of_stamps,
                *clouds.findings(stop_ns),
                *transform_findings(recording),
                *(() if apart else pose_findings(recording, clouds_used, images)),
                *of_stereo,
                *camera_findings(recording, summaries, samples, images),
                *(() if labels is None else labels.findings(stop_ns)),
            ),
            topics=topic_summaries(bag, tallies, seen.transform_times),
            sensor=clouds.summary(),
            cameras=summaries,
            labels=None
            if labels is None or labelled_by is None
            else labels.summary(stop_ns, seen_by_class(recording, samples, images, labelled_by[0])),
            examples=clouds.examples,
            cloud_stamps=tallies[points_topic].series.before(stop_ns).stamps,
            image_stamps={
                camera.name: np.concatenate(
                    [np.zeros(0, np.int64)]
                    + [series.stamps for series in images[camera.topic].kinds.values()]
                )
                for camera in cameras
            },
        )


def examine_clouds(
    path: Path,
    topic: str | None,
    progress: Progress = no_progress,
    *,
    intensity_scale: float = 0.0,
) -> Examination:
    """Look at every cloud of a recording, for what works on one cloud after another: images don't
    matter, nor whether stamps go back.

    Args:
        topic: of the clouds; None: the only one that is no node's output.
        intensity_scale: as of `examine`.

    Raises:
        InputError: as of `examine`.
    """
    examination = examine(
        path,
        path.name,
        RecordingConfig(points_topic=topic, cameras={}),
        progress=progress,
        topic_option="--topic",
        intensity_scale=intensity_scale,
    )
    findings = [
        replace(finding, outcome="noted", message=_EACH_BY_ITSELF, remedy="")
        if finding.code == "stamps-go-back"
        else finding
        for finding in examination.findings
        if not finding.code.startswith("tf-")
    ]
    return replace(examination, findings=tuple(findings))


class _Pass:
    """What the messages of a bag say, one after another.

    Attributes:
        cameras: with their calibrations.
        images: by topic.
        tallies: by topic, of clouds, images and CameraInfo.
        clouds: of the one topic.
        transform_times: by topic, when transforms were recorded.
        tree: all transforms.
    """

    def __init__(
        self,
        bag: Bag,
        clouds: CloudExaminer,
        config: RecordingConfig,
        labels: LabelCounts | None,
        progress: Progress,
    ) -> None:
        self.clouds, points_topic = clouds, clouds.topic
        self.cameras = Cameras(bag, config)
        infos, transform_topics = self.cameras.info_topics, bag.topics_of(*TF_MESSAGES)
        self.images = {
            topic: ImageTally(topic, config.max_pixels) for topic in self.cameras.image_topics
        }
        self.transform_times = {topic: StampSeries() for topic in transform_topics}
        self.tallies = {topic: TopicTally(topic) for topic in (points_topic, *self.images, *infos)}
        self.tree = empty_tree(config)
        self._moving: dict[str, StampSeries] = {}
        topics = [*self.tallies, *transform_topics]
        total = bag.count(topics)
        for done, (topic, recorded_ns, message) in enumerate(bag.timed_messages(topics), 1):
            if topic in transform_topics:
                add_transforms(self.tree, topic, message)
                self.transform_times[topic].add(recorded_ns, recorded_ns)
                if not topic.endswith("tf_static"):
                    self._add_moving(message, recorded_ns)
            else:
                self.tallies[topic].add(message, recorded_ns)
            if topic == points_topic:
                sampled = len(self.clouds.samples)
                is_used = self.clouds.add(message, recorded_ns)
                if labels is not None:
                    ids = labels.add(message, recorded_ns, is_used)
                    if ids is not None and len(self.clouds.samples) > sampled:
                        self.clouds.add_labels(ids)
            elif topic in self.images:
                self.images[topic].add(message, recorded_ns)
                self.cameras.add_image(topic, message)
            elif topic in infos:
                self.cameras.add_info(topic, message)
            progress(done, total)

    def _add_moving(self, message: object, recorded_ns: int) -> None:
        for stamped in message.transforms:  # type: ignore[attr-defined]
            child = frame_name(stamped.child_frame_id)
            name = f"/tf ({child})"
            self._moving.setdefault(name, StampSeries()).add(stamp_ns(stamped), recorded_ns)

    def senders(self) -> dict[str, StampSeries]:
        """Stamps by sender: of each frame of a topic, of each moving transform."""
        by_frame = {
            f"{topic} ({frame})" if len(tally.by_frame) > 1 else topic: series
            for topic, tally in self.tallies.items()
            for frame, series in tally.by_frame.items()
        }
        return by_frame | self._moving

    def moving(self) -> StampSeries:
        """All moving transforms together."""
        together = StampSeries()
        for series in self._moving.values():
            for stamp, recorded in zip(series.stamps.tolist(), series.recorded.tolist()):
                together.add(stamp, recorded)
        return together


def _stamp_findings(seen: _Pass, recording: Recording) -> Iterator[Finding]:
    """Of stamps and frames, what lies before a restart alone."""
    stop_ns = recording.stop_ns
    clouds = seen.tallies[recording.points_topic].series
    restart = restart_of(seen.senders())
    if restart is not None:
        yield restart_finding(*restart, len(clouds.before(stop_ns)), len(clouds))
    yield from jump_finding({name: one.before(stop_ns) for name, one in seen.senders().items()})
    for topic, tally in seen.tallies.items():
        yield from order_findings(topic, tally.series.before(stop_ns))
        yield from frame_findings(tally)
    yield from no_frame_finding(seen.tallies[recording.points_topic])
    others = {
        camera.topic: seen.tallies[camera.topic].series.before(stop_ns)
        for camera in recording.cameras
    }
    if len(moving := seen.moving()):
        others["/tf"] = moving.before(stop_ns)
    yield from clock_findings((recording.points_topic, clouds.before(stop_ns)), others)
