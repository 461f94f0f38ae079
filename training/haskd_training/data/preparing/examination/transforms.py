"""What there is to say about a recording's transforms."""

from __future__ import annotations

from collections.abc import Iterator

from haskd_training.recordings.findings import Finding
from haskd_training.recordings.recording import Recording


def transform_findings(recording: Recording) -> Iterator[Finding]:
    """Of the tree, of the choice of a fixed frame, and a motion that isn't recorded."""
    yield from recording.tree.findings()
    if recording.fixed_frame is None:
        _, finding = recording.tree.fixed_frame(recording.lidar_frame)
        if finding is not None:
            yield finding
    cameras = [camera for camera in recording.cameras if camera.problem is None]
    lidar = recording.lidar_frame
    if recording.world_frame is not None or not cameras:
        return
    moving = [camera.name for camera in cameras if recording.tree.moves(lidar, camera.frame)]
    if moving:
        yield Finding(
            "clouds-in-fixed-frame",
            lidar,
            "doubtful",
            f"{', '.join(moving)} moves against {lidar}, the frame of the clouds: have they been "
            "moved into a map? Ranges, and what hides what, are taken from its origin",
            "record the clouds in the sensor's frame",
        )
    else:
        yield Finding(
            "motion-not-recorded",
            "/tf",
            "doubtful",
            "the vehicle's motion is not in TF; images are projected as if it stood still between "
            "image and sweep",
            "record /tf with odometry",
        )
