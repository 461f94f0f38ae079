"""A recording's cameras: whether their images can be used, and what they see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from haskd_ros.taxonomy import Taxonomy
from haskd_training.data.preparing.examination.clouds import CloudSample
from haskd_training.data.preparing.examination.examination import CameraSummary
from haskd_training.data.preparing.examination.images import NEAR_NS, ImageTally
from haskd_training.data.projection import project
from haskd_training.recordings.camera_model import CalibrationError
from haskd_training.recordings.camera_track import RecordedCamera
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.recording import Recording
from haskd_training.recordings.transform_tree import NoTransform

SEES_NOTHING = 0.0005
"""Share of the cloud below which a camera is said to see 0.0 % of it."""

OPTICAL_FROM_BODY = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""From a frame with x ahead, y left, z up to one with z ahead, x right, y down (REP 103)."""


def camera_summaries(
    recording: Recording, samples: Sequence[CloudSample], tallies: Mapping[str, ImageTally]
) -> tuple[CameraSummary, ...]:
    """What each camera is and sees.

    Args:
        samples: of the recording's clouds.
        tallies: of its images by topic.
    """
    return tuple(
        _summary(recording, camera, samples, tallies[camera.topic]) for camera in recording.cameras
    )


def _summary(
    recording: Recording, camera: RecordedCamera, samples: Sequence[CloudSample], tally: ImageTally
) -> CameraSummary:
    commonest = max(tally.kinds, key=lambda kind: len(tally.kinds[kind]), default=None)
    return CameraSummary(
        name=camera.name,
        topic=camera.topic,
        frame=camera.frame,
        images=sum(map(len, tally.kinds.values())),
        width=None if commonest is None else commonest[1],
        height=None if commonest is None else commonest[2],
        problem=camera.problem,
        seen=seen_share(recording, camera, samples, tally),
    )


def seen_share(
    recording: Recording,
    camera: RecordedCamera,
    samples: Sequence[CloudSample],
    tally: ImageTally,
    turn: np.ndarray | None = None,
) -> float | None:
    """Share of the sampled points that lie in the camera's image nearest in time; None where there
    is no image near, no pose, or no calibration.

    Args:
        tally: of its images.
        turn: [4, 4], applied to points in the camera's frame.
    """
    found = [_inside(recording, camera, sample, tally, turn) for sample in samples]
    inside = [one for one in found if one is not None]
    total = sum(map(len, inside))
    return sum(int(one.sum()) for one in inside) / total if total else None


def seen_by_class(
    recording: Recording,
    samples: Sequence[CloudSample],
    tallies: Mapping[str, ImageTally],
    taxonomy: Taxonomy,
) -> dict[str, float | None]:
    """By class the share of the sampled points that lie in some camera's image nearest in time;
    None where there is none of the class, or no image near.

    Args:
        tallies: of the images by topic.
    """
    points, seen = np.zeros(len(taxonomy)), np.zeros(len(taxonomy))
    for sample in samples:
        found = [
            _inside(recording, camera, sample, tallies[camera.topic])
            for camera in recording.cameras
        ]
        inside = [one for one in found if one is not None]
        if sample.labels is None or not inside:
            continue
        points += np.bincount(sample.labels, minlength=256)[: len(taxonomy)]
        shown = sample.labels[np.any(inside, 0)]
        seen += np.bincount(shown, minlength=256)[: len(taxonomy)]
    return {
        name: shown / total if total else None
        for name, shown, total in zip(taxonomy.names, seen.tolist(), points.tolist(), strict=True)
    }


def _inside(
    recording: Recording,
    camera: RecordedCamera,
    sample: CloudSample,
    tally: ImageTally,
    turn: np.ndarray | None = None,
) -> np.ndarray | None:
    """[n] bool: the points of a sample that lie in the camera's image nearest in time; None as of
    `seen_share`."""
    image = None if camera.problem is not None else tally.nearest(sample.stamp_ns)
    if image is None or abs(image[0] - sample.stamp_ns) > NEAR_NS or not len(sample.points):
        return None
    stamp, (image_frame, width, height) = image
    calibration = camera.track.at(stamp, image_frame)
    frame = camera.frame_of(image_frame, calibration, recording.tree, recording.lidar_frame)
    try:
        model, _ = calibration.fitted(width, height)
        transform = _t_frame_lidar(recording, frame, sample, stamp)
    except (NoTransform, CalibrationError):
        return None
    for further in (turn, camera.optics(calibration, stamp)):
        transform = transform if further is None else further @ transform
    return project(sample.points, transform, model).inside


def _t_frame_lidar(
    recording: Recording, frame: str, sample: CloudSample, image_ns: int
) -> np.ndarray:
    """[4, 4] from the cloud's frame at its time to another frame at the image's."""
    tree, world = recording.tree, recording.world_frame
    cloud_frame = sample.frame or recording.lidar_frame
    if world is None:
        return tree.lookup(frame, cloud_frame, image_ns)
    transform: np.ndarray = tree.lookup(frame, world, image_ns) @ tree.lookup(
        world, cloud_frame, sample.stamp_ns
    )
    return transform


def camera_findings(
    recording: Recording,
    summaries: Sequence[CameraSummary],
    samples: Sequence[CloudSample],
    tallies: Mapping[str, ImageTally],
) -> Iterator[Finding]:
    """Cameras whose images can't be used, and those that see nothing."""
    for camera, summary in zip(recording.cameras, summaries, strict=True):
        tally = tallies[camera.topic]
        yield from tally.findings(camera)
        yield from camera.findings()
        if camera.problem is not None:
            yield Finding(
                "camera-left-out",
                camera.topic,
                "left out",
                f"its {tallies[camera.topic].total} images are not used: {camera.problem}",
            )
        elif summary.seen is not None and summary.seen < SEES_NOTHING:
            turned = seen_share(recording, camera, samples, tally, OPTICAL_FROM_BODY)
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
