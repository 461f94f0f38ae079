"""A recording's cameras: whether their images can be used, and what they see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from haskd_training.data.examination.clouds import CloudSample
from haskd_training.data.examination.examination import CameraSummary
from haskd_training.data.examination.topics import TopicTally
from haskd_training.data.projection import project
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.recording import RecordedCamera, Recording
from haskd_training.recordings.transform_tree import NoTransform

NEAR_NS = 500_000_000
"""An image further away in time from a cloud than this shows nothing of it."""

SEES_NOTHING = 0.0005
"""Share of the cloud below which a camera is said to see 0.0 % of it."""

OPTICAL_FROM_BODY = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""From a frame with x ahead, y left, z up to one with z ahead, x right, y down (REP 103)."""


def camera_summaries(
    recording: Recording, samples: Sequence[CloudSample], tallies: dict[str, TopicTally]
) -> tuple[CameraSummary, ...]:
    """What each camera is and sees.

    Args:
        samples: of the recording's clouds.
        tallies: of its topics.
    """
    return tuple(
        CameraSummary(
            name=camera.name,
            topic=camera.topic,
            frame=camera.frame,
            images=len(tallies[camera.topic].series),
            width=None if camera.model is None else camera.model.width,
            height=None if camera.model is None else camera.model.height,
            problem=camera.problem,
            seen=seen_share(recording, camera, samples, tallies[camera.topic].series.stamps),
        )
        for camera in recording.cameras
    )


def seen_share(
    recording: Recording,
    camera: RecordedCamera,
    samples: Sequence[CloudSample],
    stamps: np.ndarray,
    turn: np.ndarray | None = None,
) -> float | None:
    """Share of the sampled points that lie in the camera's image nearest in time; None where there
    is no image near, no pose, or no calibration.

    Args:
        stamps: [n] of its images, in ns.
        turn: [4, 4], applied to points in the camera's frame.
    """
    if camera.model is None or not len(stamps):
        return None
    inside = total = 0
    for sample in samples:
        image_ns = int(stamps[np.abs(stamps - sample.stamp_ns).argmin()])
        if abs(image_ns - sample.stamp_ns) > NEAR_NS or not len(sample.points):
            continue
        try:
            transform = _t_camera_lidar(recording, camera, sample, image_ns)
        except NoTransform:
            continue
        if turn is not None:
            transform = turn @ transform
        inside += int(project(sample.points, transform, camera.model).inside.sum())
        total += len(sample.points)
    return inside / total if total else None


def _t_camera_lidar(
    recording: Recording, camera: RecordedCamera, sample: CloudSample, image_ns: int
) -> np.ndarray:
    """[4, 4] from the cloud's frame at its time to the camera's at the image's."""
    tree, world = recording.tree, recording.world_frame
    frame = sample.frame or recording.lidar_frame
    if world is None:
        return tree.lookup(camera.frame, frame, image_ns)
    in_camera = tree.lookup(camera.frame, world, image_ns)
    transform: np.ndarray = in_camera @ tree.lookup(world, frame, sample.stamp_ns)
    return transform


def camera_findings(
    recording: Recording,
    summaries: Sequence[CameraSummary],
    samples: Sequence[CloudSample],
    tallies: dict[str, TopicTally],
) -> Iterator[Finding]:
    """Cameras whose images can't be used, and those that see nothing."""
    for camera, summary in zip(recording.cameras, summaries, strict=True):
        if camera.problem is not None:
            yield Finding(
                "camera-left-out",
                camera.topic,
                "left out",
                f"its {summary.images} images are not used: {camera.problem}",
            )
        elif summary.seen is not None and summary.seen < SEES_NOTHING:
            stamps = tallies[camera.topic].series.stamps
            turned = seen_share(recording, camera, samples, stamps, OPTICAL_FROM_BODY)
            hint = f"is {camera.frame} an optical frame (z ahead, x right, y down)?"
            if turned:
                hint += f" Taken as one with x ahead and z up it sees {turned:.1%}"
            yield Finding(
                "camera-sees-nothing",
                camera.topic,
                "doubtful",
                f"sees 0.0 % of the cloud: {hint}",
                "correct the camera's transform, or name its optical frame in the images' headers",
            )
    if recording.cameras and recording.world_frame is None:
        yield Finding(
            "motion-not-recorded",
            recording.name,
            "doubtful",
            "the vehicle's motion is not in TF; images are projected as if it stood still between "
            "image and sweep",
            "record /tf with odometry",
        )
