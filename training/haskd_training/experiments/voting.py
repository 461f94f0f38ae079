"""Sweeps of a cache labelled with what the others of their recording say, as `haskd segment` does
with `--votes`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.errors import InputError
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.segmentation import Segmentation
from haskd_ros.segmenter import Segmenter
from haskd_training.core.processes import count
from haskd_training.data.caches.cache import Cache
from haskd_training.learning.inference import label_as_robot
from haskd_training.recordings.findings import Finding, Say
from haskd_training.robot.offline.score_votes import (
    Heard,
    Voter,
    check_votes,
    elected,
    first_parameters,
    voted,
)

_First = tuple[int, Segmentation | CloudError]
"""The index of a sweep, and its labels by itself."""


def voted_sweeps(
    segmenter: Segmenter, cache: Cache, parameters: Parameters, seconds: float, say: Say
) -> Iterator[tuple[int, Segmentation | None]]:
    """Label all sweeps of a cache, recording by recording in the order of their stamps.

    Args:
        seconds: as of `score_votes.voted`, not 0.
        say: receives how many sweeps have no pose.

    Returns:
        Each sweep's index, with its labels as of `label_as_robot`; None where it can't be labelled.

    Raises:
        InputError: seconds that are not allowed, several processes, or no sweep has a pose.
    """
    check_votes(seconds, parameters)
    if count() > 1:
        raise InputError("--votes: sweeps vote for each other, which one process counts; start one")
    rows = cache.sweeps
    without = sum(row.T_world_lidar is None for row in rows)
    if without == len(rows):
        raise InputError(
            f"--votes: no sweep of {cache.path} has a pose; prepare it from recordings whose TF "
            "has the sensor's motion"
        )
    if without:
        told = f"{without} of {len(rows)} sweeps are labelled without those before and after them: "
        say(Finding("labelled-without-votes", cache.name, "doubtful", f"{told}they have no pose"))
    by_recording: dict[str, list[int]] = {}
    for index in sorted(range(len(rows)), key=lambda index: rows[index].stamp_ns):
        by_recording.setdefault(rows[index].recording, []).append(index)
    return (
        labelled
        for indices in by_recording.values()
        for labelled in _of_recording(segmenter, cache, parameters, seconds, indices)
    )


def _of_recording(
    segmenter: Segmenter,
    cache: Cache,
    parameters: Parameters,
    seconds: float,
    indices: Sequence[int],
) -> Iterator[tuple[int, Segmentation | None]]:
    first = _first_labels(segmenter, cache, first_parameters(parameters), indices)
    for (index, labels), probabilities in voted(first, segmenter.taxonomy, seconds):
        if isinstance(labels, CloudError):
            yield index, None
        else:
            yield index, elected(labels, probabilities, segmenter, parameters)


def _first_labels(
    segmenter: Segmenter, cache: Cache, parameters: Parameters, indices: Sequence[int]
) -> Iterator[Voter[_First]]:
    for index in indices:
        row, heard = cache.sweeps[index], Heard()
        labels: Segmentation | CloudError
        try:
            labels = label_as_robot(segmenter, cache, index, parameters, refine=heard)
        except CloudError as error:
            labels = error
        pose = None if row.T_world_lidar is None else np.array(row.T_world_lidar)
        yield Voter((index, labels), row.stamp_ns, pose, heard)
