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
    if recording.world_frame is None and any(c.problem is None for c in recording.cameras):
        yield Finding(
            "motion-not-recorded",
            "/tf",
            "doubtful",
            "the vehicle's motion is not in TF; images are projected as if it stood still between "
            "image and sweep",
            "record /tf with odometry",
        )
