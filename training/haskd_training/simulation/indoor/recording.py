"""A walk through a flat as frames, and as a bag."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from haskd_training.core.progress import Progress, no_progress
from haskd_training.recordings.bag_writing import new_bag
from haskd_training.simulation.indoor.config import FlatConfig
from haskd_training.simulation.indoor.flat import Flat, build_flat
from haskd_training.simulation.indoor.rgbd_bag import RgbdBagWriter
from haskd_training.simulation.indoor.rgbd_camera import RgbdCamera, RgbdFrame
from haskd_training.simulation.indoor.surfaces import make_atlas
from haskd_training.simulation.indoor.walk import Walk, make_walk
from haskd_training.simulation.messages import START_NS

_TF_RATE_HZ = 50.0
_TF_PHASE_S = -0.007
"""Poses have stamps of their own: one at an image's stamp has to be interpolated."""


class _Streams(NamedTuple):
    """Which random numbers are for what: a stream of its own each, so that none shifts another."""

    flat: int = 0
    walk: int = 1
    textures: int = 2
    drift: int = 3
    camera: int = 4
    scan: int = 5


STREAMS = _Streams()


def random(config: FlatConfig, *stream: int) -> np.random.Generator:
    """The random numbers of one stream."""
    return np.random.default_rng([config.seed, *stream])


class Recording(NamedTuple):
    """A flat, the camera in it, its true walk, and the walk as it is recorded."""

    config: FlatConfig
    flat: Flat
    camera: RgbdCamera
    walk: Walk
    recorded: Walk

    @property
    def times_ns(self) -> list[int]:
        """When each frame is taken, since the recording began."""
        return [round(k / self.config.rate_hz * 1e9) for k in range(self.config.frames)]

    def frames(self) -> Iterator[tuple[int, RgbdFrame]]:
        """Time in ns and frame, one after another."""
        for index, time_ns in enumerate(self.times_ns):
            rng = random(self.config, STREAMS.camera, index)
            yield time_ns, self.camera.render(self.walk.optical(time_ns * 1e-9), rng)


def make_recording(config: FlatConfig) -> Recording:
    """The flat and the walk, as the seed has them."""
    flat = build_flat(random(config, STREAMS.flat))
    walk = make_walk(random(config, STREAMS.walk), flat, config)
    camera = RgbdCamera(flat, make_atlas(random(config, STREAMS.textures)), config)
    return Recording(
        config, flat, camera, walk, walk.drifted(random(config, STREAMS.drift), config)
    )


def simulate_flat(out: Path, config: FlatConfig, progress: Progress = no_progress) -> None:
    """Walk through a flat and record it: the bag `out` is there in the end, or nothing is.

    progress: called after each frame that is written.

    Raises:
        InputError: `out` exists, its folder does not, or it can't be written.
    """
    with new_bag(Path(out)) as folder:
        recording = make_recording(config)
        walk, held = recording.recorded, config.carrier == "hand"
        last = recording.times_ns[-1] * 1e-9 + 2 / _TF_RATE_HZ
        poses = np.arange(_TF_PHASE_S, last, 1 / _TF_RATE_HZ)
        pending = [round(time * 1e9) for time in poses]
        with RgbdBagWriter(folder, config.storage) as bag:
            bag.static_transforms(START_NS + pending[0], None if held else walk.link(0.0))

            def record_poses(until_ns: int) -> None:
                while pending and pending[0] < until_ns:
                    time_ns = pending.pop(0)
                    link = walk.link(time_ns * 1e-9) if held else None
                    bag.pose(START_NS + time_ns, walk.base(time_ns * 1e-9), link)

            for done, (time_ns, frame) in enumerate(recording.frames(), 1):
                record_poses(time_ns)
                bag.frame(START_NS + time_ns, recording.camera.K, frame)
                progress(done, config.frames)
            record_poses(round(last * 1e9))
