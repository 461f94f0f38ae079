"""`haskd view --rerun --topic`: what a running node publishes, in Rerun's viewer or file."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.clouds.pointcloud import read_points, valid_returns
from haskd_ros.errors import InputError
from haskd_training.data.caches.rows import SweepRow
from haskd_training.recordings.readers.bag import stamp_ns
from haskd_training.robot.views.over_time.live_clouds import live_clouds
from haskd_training.robot.views.over_time.log import RerunLog, open_stream
from haskd_training.robot.views.over_time.recording_view import PUBLISHED, chosen_clouds
from haskd_training.robot.views.over_time.sweeps import Labels

RECORDING = "live"


def view_node(
    topic: str, save: Path | None = None, *, clouds: str | None = None, every: int = 1
) -> tuple[int, int]:
    """Show the labelled clouds of a node until Ctrl-C, or the last of `clouds`.

    Args:
        topic: of the labelled clouds.
        save: file to write; None: a viewer is opened.
        clouds, every: as of `view_recording`, counted from the first cloud that arrives.

    Returns:
        Clouds shown, and clouds dropped because they came faster than they could be shown.

    Raises:
        InputError: ROS 2 is not installed, nothing arrives, clouds without labels, or as
            `open_stream`.
    """
    chosen = chosen_clouds(clouds, every, sys.maxsize)
    shown = 0
    with live_clouds(topic) as live, open_stream(save) as stream:
        log = RerunLog(stream, {RECORDING: []}, {PUBLISHED: live.wait_for_classes()})
        with suppress(KeyboardInterrupt):
            for number, message in enumerate(live):
                if number in chosen:
                    _log_cloud(log, number, message, topic)
                    shown += 1
                if number + 1 >= chosen.stop:
                    break
        return shown, live.dropped


def _log_cloud(log: RerunLog, number: int, message: Any, topic: str) -> None:
    names = {field.name for field in message.fields}
    if missing := {"class_id", "entropy"} - names:
        raise InputError(
            f"the clouds of {topic} have no {', '.join(sorted(missing))}; "
            "name a node's output, /segment/output/segmentation"
        )
    rows = read_points(message, ["x", "y", "z", "class_id", "entropy"])
    points = np.stack([rows[axis] for axis in "xyz"], 1).astype(np.float32)
    valid = valid_returns(points)
    row = SweepRow(RECORDING, stamp_ns(message), int(valid.sum()), [])
    labels = Labels(rows["class_id"][valid].astype(np.uint8), rows["entropy"][valid])
    log.sweep(number, row, points[valid], {PUBLISHED: labels}, None)
