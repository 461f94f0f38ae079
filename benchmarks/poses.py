"""Motion compensation of a recorded cloud, merging it with another LiDAR's, remembering what was
said of it, and taking the clouds before as input too, beside labelling it on the CPU.

python benchmarks/poses.py BAG [--repeats 30]

Prints medians and quartiles in ms, with and without in turn. Timings, not a test.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from haskd_ros import model_file
from haskd_ros.channels import SWEEP_AGE
from haskd_ros.clouds.memory import keep_freed_memory
from haskd_ros.clouds.merging import MergedIntensity, OtherCloud, merged_cloud, points_in_frame
from haskd_ros.clouds.motion import Poses, compensated_cloud
from haskd_ros.clouds.point_times import point_times
from haskd_ros.clouds.pointcloud import read_xyz_intensity, valid_returns
from haskd_ros.clouds.sweeps import Moment, PlacedSweep, SweepHistory
from haskd_ros.model_header import ChannelInput, Extent, Intensity
from haskd_ros.models import build
from haskd_ros.node.labelling import label_cloud
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.score_memory import HALF_LIFE_S, ScoreMemory
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter
from haskd_training.learning.initial_weights import Start, start_from
from haskd_training.recordings.readers.bag import POINT_CLOUD, frame_of, open_bag, stamp_ns
from haskd_training.recordings.recording import RecordingConfig, transforms
from haskd_training.recordings.transform_tree import TransformTree

MOST_SWEEPS = 4


def moved(cloud: Any) -> Any:
    """A cloud compensated as the node does it, by odometry of 100 Hz at 10 m/s and 0.5 rad/s."""
    valid = valid_returns(read_xyz_intensity(cloud)[0])
    times = point_times(cloud, stamp_ns(cloud), valid)
    assert times.problem is None, times.problem
    seconds = np.arange(times.span_s[0] - 0.01, times.span_s[1] + 0.02, 0.01)
    half = 0.25 * seconds
    rotation = np.stack([0 * half, 0 * half, np.sin(half), np.cos(half)], 1)
    place = np.outer(seconds, [10.0, 0, 0])
    return compensated_cloud(cloud, stamp_ns(cloud), times, valid, Poses(seconds, place, rotation))


def merged(cloud: Any) -> Any:
    """A cloud and itself as that of another LiDAR, which looks back, 2 m behind."""
    mount = np.diag([-1.0, -1, 1, 1])
    mount[0, 3] = -2.0
    intensity = MergedIntensity()
    intensity.look_at(cloud)
    xyz = points_in_frame(cloud, mount)
    values = intensity.of("rear", cloud, Intensity(scale=255.0, mean=0.1))
    return merged_cloud(cloud, [OtherCloud(cloud, xyz, values)])


class Remembering:
    """Labels a cloud again and again, each time 0.1 s later and 0.5 m further on."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter, self._number = segmenter, 0
        self._memory = ScoreMemory(segmenter.taxonomy, HALF_LIFE_S)

    def __call__(self, cloud: Any) -> None:
        self._number += 1
        pose = np.eye(4)
        pose[0, 3] = 0.5 * self._number
        refine = partial(self._memory.refine, pose=pose, time_s=0.1 * self._number)
        label_cloud(cloud, self._segmenter, DEFAULTS, refine=refine)


def of_sweeps(count: int) -> Segmenter:
    """The package's model as trainings start from it that take so many sweeps."""
    network, metadata = model_file.load(DEFAULT_MODEL)
    age = ChannelInput(SWEEP_AGE, 1.0, (0.0,), (Extent(0.0, 0.1 * count),), required=True)
    arguments = metadata.arguments | {"extra_inputs": 1}
    wider = build(metadata.architecture, classes=len(metadata.taxonomy), **arguments)
    start_from(Start(DEFAULT_MODEL, network, metadata), wider, metadata.taxonomy)
    several = replace(metadata, arguments=arguments, channels=(age,), sweeps=count)
    return Segmenter(wider.eval(), several, "cpu")


class Stacking:
    """Labels the last cloud of a drive with those before it.

    Args:
        moment: of the cloud, and what was before.
    """

    def __init__(self, moment: Moment, sweeps: int) -> None:
        self._segmenter = of_sweeps(sweeps)
        self._moment = replace(moment, earlier=moment.earlier[: sweeps - 1])

    def __call__(self, cloud: Any) -> None:
        label_cloud(cloud, self._segmenter, DEFAULTS, moment=self._moment)


def last_moment(clouds: Sequence[Any], tree: TransformTree) -> Moment:
    """When and where the last of some clouds was measured, and those before it."""
    history = SweepHistory(len(clouds))
    for cloud in clouds:
        stamp, (points, _) = stamp_ns(cloud), read_xyz_intensity(cloud)
        pose = tree.lookup("map", frame_of(cloud), stamp)
        moment = Moment(stamp, pose, history.before(stamp)[0])
        history.keep(PlacedSweep(stamp, pose, points[valid_returns(points)], 255.0))
    return moment


def milliseconds(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bag", type=Path)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    keep_freed_memory()
    # Before the kernels have threads of their own.
    torch.set_num_threads(arguments.threads)
    with open_bag(arguments.bag) as bag:
        messages = bag.messages(bag.topics_of(POINT_CLOUD))
        clouds = [cloud for _, cloud in islice(messages, MOST_SWEEPS)]
        moment = last_moment(clouds, transforms(bag, RecordingConfig()))
    cloud = clouds[-1]
    two, four = Stacking(moment, 2), Stacking(moment, 4)
    segmenter = Segmenter.load(DEFAULT_MODEL, device="cpu")
    remembering = Remembering(segmenter)
    ways = {
        "compensation alone": lambda: moved(cloud),
        "labelled as measured": lambda: label_cloud(cloud, segmenter, DEFAULTS),
        "compensated, then labelled": lambda: label_cloud(moved(cloud), segmenter, DEFAULTS),
        "labelled, remembering": lambda: remembering(cloud),
        "merged, then labelled": lambda: label_cloud(merged(cloud), segmenter, DEFAULTS),
        "two sweeps": lambda: two(cloud),
        "four sweeps": lambda: four(cloud),
        "merging alone": lambda: merged(cloud),
    }
    times = np.array(
        [[milliseconds(way) for way in ways.values()] for _ in range(arguments.repeats + 3)]
    )[3:]
    print(f"{cloud.width * cloud.height:,} points\n\n| | ms: median (quartiles) |\n| --- | --- |")
    for name, column in zip(ways, times.T):
        low, middle, high = np.percentile(column, [25, 50, 75])
        print(f"| {name} | {middle:.1f} ({low:.1f}-{high:.1f}) |")
    beside = ("compensated", "remembering", "merged", "two sweeps", "four sweeps")
    for name, column in zip(beside, times.T[2:7], strict=True):
        low, middle, high = np.percentile(column / times[:, 1], [25, 50, 75])
        print(f"| {name} / as measured | {middle:.2f} ({low:.2f}-{high:.2f}) |")


if __name__ == "__main__":
    main()
