"""`haskd demo --indoor`: the whole path in rooms: flats that an RGB-D camera is carried through, a
student that reads colours, and a node that labels coloured clouds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from haskd_ros.clouds.output_clouds import packed_color_table
from haskd_ros.errors import InputError
from haskd_ros.files import remove_leftover
from haskd_training.core.progress import Steps
from haskd_training.core.run_folder import only_user
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.dataset import DatasetPart, prepare_dataset
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.data.readers.rgbd.reader import reader
from haskd_training.experiments.demo import DemoResult, HeldOut, load_demo_settings, show_to_node
from haskd_training.experiments.run import RunConfig, run
from haskd_training.recordings.cloud_files.cloud import structured
from haskd_training.recordings.findings import Say, say_nothing
from haskd_training.recordings.readers.bag import POINT_CLOUD
from haskd_training.recordings.readers.cloud_folder import cloud_message
from haskd_training.robot.live.replay import RecordedCloud
from haskd_training.simulation.indoor import FlatConfig, simulate_flat
from haskd_training.simulation.messages import TYPES

TRAIN_FLATS, TEST_FLATS = 4, 1

FLAT = FlatConfig(frames=150, image_width=320, image_height=240)

KEYFRAMES = RgbdConfig(window_s=3.0, keyframe_gap_s=1.5, voxel_size=0.04, image_every=3, overlays=0)
"""Three seconds of frames as one cloud, twice in that time."""

SETTINGS = (
    "student.channels=[rgb]",
    "student.voxel_size=0.08",
    "student.max_range=20",
    "student.loop.epochs=4",
    "selection.window_s=1.6",
    "selection.images=4",
)
"""A run of minutes on two cores; voxels for rooms, and the images of the frames in a keyframe."""


def load_indoor_settings(file: Path | None, assignments: list[str]) -> RunConfig:
    """As `load_demo_settings`, of the demo in rooms."""
    return load_demo_settings(file, assignments, SETTINGS)


def indoor_demo(
    out: Path,
    steps: Steps,
    config: RunConfig | None = None,
    flat: FlatConfig = FLAT,
    flats: tuple[int, int] = (TRAIN_FLATS, TEST_FLATS),
    *,
    say: Say = say_nothing,
) -> DemoResult:
    """Flats in, labelled live clouds out. Steps that an earlier call finished are not repeated.

    Args:
        out: folder for all that is made.
        steps: shows the progress.
        config: of the pipeline, `load_indoor_settings` by default.
        flat: the first flat; each next one has the next seed.
        flats: how many to train on and to test on.
        say: receives what is found about the recordings.

    Raises:
        InputError: of any of the steps.
    """
    config = config or load_indoor_settings(None, [])
    work = out / "indoor"
    with only_user(work):
        seeds = iter(range(flat.seed, flat.seed + sum(flats)))
        train, test = (
            _prepared(work, part, [next(seeds) for _ in range(count)], flat, steps, say)
            for part, count in zip(("train", "test"), flats, strict=True)
        )
        result = run([train], work / "run", None, config, steps, test=[test], say=say)
        if result is None:
            raise InputError("the demo runs in one process, without torchrun")
        cache = Cache.open(test)
        shown = [HeldOut(i, *coloured_cloud(cache, i)) for i in range(len(cache))]
        return show_to_node(result, cache, shown, work, out / "segmentation_indoor.png", steps)


def _prepared(
    work: Path, part: str, seeds: list[int], flat: FlatConfig, steps: Steps, say: Say
) -> Path:
    """The cache of the keyframes of flats of these seeds."""
    bags = work / part
    bags.mkdir(exist_ok=True)
    for seed in seeds:
        bag = bags / f"flat_{seed}"
        remove_leftover(bag)
        if not bag.exists():
            with steps(f"simulating {bag.name}") as progress:
                simulate_flat(bag, flat.model_copy(update={"seed": seed}), progress)
    cache = work / f"{part}_cache"
    with steps(f"preparing the flats to {part} on") as progress:
        prepare_dataset(DatasetPart(reader(KEYFRAMES), bags), cache, KEYFRAMES, progress, say=say)
    return cache


def coloured_cloud(cache: Cache, i: int) -> tuple[RecordedCloud, np.ndarray]:
    """A sweep of a cache as an RGB-D camera's driver would send it, and [N] bool, which of its
    points are in the cache: all of them."""
    points, _ = cache.recorded_points(i)
    rgb = cache.recorded_channels(i, ["rgb"])["rgb"]
    assert rgb is not None, "keyframes have colours"
    stamp_ns = cache.sweeps[i].stamp_ns
    columns = {**dict(zip("xyz", points[:, :3].T)), "rgb": packed_color_table(rgb).view(np.float32)}
    message = cloud_message(structured(columns), stamp_ns)
    cdr = bytes(TYPES.serialize_cdr(message, POINT_CLOUD))
    return RecordedCloud(stamp_ns, cdr), np.ones(len(points), bool)
