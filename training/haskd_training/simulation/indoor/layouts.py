"""Several flats as a data set, in the layout of a published one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.core.progress import Progress, no_progress
from haskd_training.recordings.bag_writing import new_bag
from haskd_training.simulation.indoor.config import FlatConfig
from haskd_training.simulation.indoor.fusion import FusedCloud, Fusion
from haskd_training.simulation.indoor.recording import (
    STREAMS,
    Recording,
    make_recording,
    random,
)
from haskd_training.simulation.indoor.rgbd_camera import RgbdFrame
from haskd_training.simulation.indoor.s3dis_layout import TEST_AREA, TRAIN_AREAS, AreaWriter
from haskd_training.simulation.indoor.scannet_layout import (
    SensWriter,
    scene_frame,
    write_lists,
    write_scene,
)

Layout = Literal["scannet", "s3dis"]


def simulate_flats(
    out: Path,
    layout: Layout,
    config: FlatConfig,
    *,
    train: int = 1,
    test: int = 0,
    progress: Progress = no_progress,
) -> None:
    """Walk through flats and write them as a data set: the folder `out` is there in the end, or
    nothing is.

    Args:
        config: of the first flat; each next one has the next seed.
        train, test: how many flats for what; those to test on come last.
        progress: called after each frame.

    Raises:
        InputError: there is no flat; or `out` exists, its folder does not, or it can't be written.
    """
    if train + test < 1 or min(train, test) < 0:
        raise InputError(f"{train} flats to train on and {test} to test on; there has to be one")
    flats = [config.model_copy(update={"seed": config.seed + k}) for k in range(train + test)]
    total, done = len(flats) * config.frames, 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    with new_bag(Path(out)) as root:
        root.mkdir()
        areas = AreaWriter(root)
        names = [f"scene{number:04d}_00" for number in range(len(flats))]
        for number, flat in enumerate(flats):
            recording = make_recording(flat)
            if layout == "scannet":
                _scene(root / "scans" / names[number], recording, advance)
            else:
                area = TRAIN_AREAS[number % len(TRAIN_AREAS)] if number < train else TEST_AREA
                areas.add(area, recording.flat, _fused(recording, lambda *_: advance()))
        if layout == "scannet":
            write_lists(root, names[:train], names[train:])


def _fused(
    recording: Recording, each: Callable[[int, np.ndarray, RgbdFrame], object]
) -> FusedCloud:
    """All frames as one cloud; each: is given time in ns, T_map_optical as recorded, and frame."""
    fusion = Fusion(recording.camera.K)
    for time_ns, frame in recording.frames():
        pose = recording.recorded.optical(time_ns * 1e-9)
        fusion.add(frame, pose)
        each(time_ns, pose, frame)
    return fusion.cloud()


def _scene(folder: Path, recording: Recording, advance: Callable[[], None]) -> None:
    """One flat in ScanNet's layout."""
    folder.mkdir(parents=True)
    config, K = recording.config, recording.camera.K
    T_scene_map = scene_frame(random(config, STREAMS.scan))
    with SensWriter(folder / f"{folder.name}.sens", K, config) as stream:

        def record(time_ns: int, pose: np.ndarray, frame: RgbdFrame) -> None:
            stream.frame(time_ns, T_scene_map @ pose, frame)
            advance()

        cloud = _fused(recording, record)
    kinds = recording.flat.kind_of_thing[cloud.thing]
    write_scene(folder, cloud, kinds, T_scene_map, K, config)
