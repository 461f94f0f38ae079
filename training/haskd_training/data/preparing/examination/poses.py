"""Clouds and images of a recording that have no pose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from haskd_training.data.preparing.examination.images import ImageTally
from haskd_training.data.preparing.examination.topics import TopicTally
from haskd_training.recordings.findings import Finding, Outcome
from haskd_training.recordings.recording import Recording
from haskd_training.recordings.transform_tree import NoTransform

USUAL = 0.1
"""Share of clouds or images without a pose that is nothing to warn of."""


def pose_findings(
    recording: Recording, clouds: TopicTally, images: Mapping[str, ImageTally]
) -> Iterator[Finding]:
    """Clouds that have no pose in the world, images that have none against it or the LiDAR.

    Args:
        clouds, images: those that are used; images by topic.
    """
    world = recording.world_frame
    placed = {}
    for frame, series in clouds.by_frame.items():
        if recording.places(frame):
            placed[frame or recording.lidar_frame] = series
        elif len(series):
            yield Finding(
                "clouds-not-placed",
                clouds.topic,
                "left out",
                f"{len(series)} of {len(clouds.series)} clouds are in frame {frame}, which TF does "
                f"not connect to {recording.lidar_frame}: they are left out",
                f"record the transform of {frame} on /tf_static",
            )
    if world is not None:
        reasons: Counter[str] = Counter()
        for frame, series in placed.items():
            reasons += missing(recording, world, frame, series.stamps.tolist())
        yield from _finding("clouds", clouds.topic, reasons, sum(map(len, placed.values())))
    for camera in recording.cameras:
        if camera.problem is not None:
            continue
        reasons, total = Counter(), 0
        for (image_frame, _, _), series in images[camera.topic].kinds.items():
            stamps = series.stamps.tolist()
            total += len(stamps)
            calibration = camera.track.at(stamps[0], image_frame)
            tree, lidar = recording.tree, recording.lidar_frame
            frame = camera.frame_of(image_frame, calibration, tree, lidar)
            reasons += missing(recording, world or lidar, frame, stamps)
        yield from _finding("images", camera.topic, reasons, total)


def missing(
    recording: Recording, target: str, source: str, stamps_ns: Sequence[int]
) -> Counter[str]:
    """Why transforms are missing, and how often."""
    try:
        _, reasons = recording.tree.lookups(target, source, stamps_ns)
    except NoTransform as error:
        return Counter({str(error): len(stamps_ns)})
    return Counter(reason for reason in reasons if reason is not None)


def _finding(kind: str, topic: str, reasons: Counter[str], total: int) -> Iterator[Finding]:
    """A few without at the ends of a recording are usual, many are not."""
    if not reasons:
        return
    consequence = {
        "clouds": "the motion between the others and their images is not known",
        "images": "the others are left out",
    }[kind]
    with_pose = total - reasons.total()
    outcome: Outcome = "left out" if kind == "images" else "doubtful"
    if reasons.total() <= USUAL * total:
        outcome = "noted"
    why = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
    yield Finding(
        f"{kind}-without-pose",
        topic,
        outcome,
        f"{with_pose} of {total} {kind} have a pose ({why}); {consequence}",
        "" if outcome == "noted" else "record /tf as long as the sensors and without gaps",
    )
