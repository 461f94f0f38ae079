"""The drive itself: what happens when, from the first pose to the last sweep."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.core.progress import Progress, no_progress
from haskd_training.recordings.bag_writing import new_bag
from haskd_training.simulation.bag_writer import BagWriter
from haskd_training.simulation.camera import SimulatedCamera, make_cameras, render, sun_direction
from haskd_training.simulation.config import SimulationConfig
from haskd_training.simulation.lidar import make_firings, mount_of, simulate_sweep
from haskd_training.simulation.materials import make_atlas
from haskd_training.simulation.messages import START_NS
from haskd_training.simulation.scene import Scene
from haskd_training.simulation.town import build_town
from haskd_training.simulation.traffic import EGO_SPEED, Trajectory, simulate_traffic

_TF_RATE_HZ = 50.0
_TF_PHASE_S = -0.007
"""Poses have stamps of their own: one at a sweep's stamp has to be interpolated."""


class World(NamedTuple):
    """What the sensors measure. sun: [3] unit vector to the sun."""

    scene: Scene
    ego: Trajectory
    sun: np.ndarray


class _Streams(NamedTuple):
    """Which random numbers are for what: a stream of its own each, so that none shifts another."""

    town: int = 0
    traffic: int = 1
    textures: int = 2
    sun: int = 3
    lidar: int = 4
    camera: int = 5


_STREAMS = _Streams()


def make_world(config: SimulationConfig) -> World:
    """The town, its traffic and its light, as the seed has it."""

    def random(stream: int) -> np.random.Generator:
        return np.random.default_rng([config.seed, stream])

    town = build_town(random(_STREAMS.town), EGO_SPEED * config.duration_s)
    traffic = simulate_traffic(random(_STREAMS.traffic), town, config.duration_s)
    scene = Scene(town, traffic, make_atlas(random(_STREAMS.textures)))
    return World(scene, traffic.ego, sun_direction(random(_STREAMS.sun)))


def _times(first: float, rate: float, last: float) -> list[int]:
    """Nanoseconds since the drive began, from `first` s on at `rate` Hz, up to `last` s."""
    count = max(0, int(np.floor((last - first) * rate + 1e-6)) + 1)
    return [round((first + k / rate) * 1e9) for k in range(count)]


def simulate(
    out: Path,
    config: SimulationConfig,
    progress: Progress = no_progress,
) -> None:
    """Drive through a town and record it: the bag `out` is there in the end, or nothing is.

    progress: called after each sweep and image that is written.

    Raises:
        InputError: `out` exists, its folder does not, or it can't be written; or the drive is too
            short for a single sweep or image.
    """
    out = Path(out)
    turns = _times(1.0 / config.lidar_rate_hz, config.lidar_rate_hz, config.duration_s)
    sweeps = turns[:: config.lidar_every]
    images = _times(config.camera_phase_s, config.camera_rate_hz, config.duration_s)
    if not sweeps or not images:
        raise InputError(
            f"a drive of {config.duration_s} s is too short: the first sweep ends at "
            f"{1.0 / config.lidar_rate_hz:.3f} s, the first image is taken at "
            f"{config.camera_phase_s:.3f} s"
        )
    with new_bag(out) as folder:
        scene, ego, sun = make_world(config)
        cameras = make_cameras(config)
        firings = make_firings(config)
        T_base_lidar = np.eye(4)
        T_base_lidar[:3, 3] = mount_of(config)
        total, done = len(sweeps) + len(images) * len(cameras), 0

        def record_pose(time_ns: int, _: int) -> None:
            bag.pose(START_NS + time_ns, *ego.at(time_ns * 1e-9))

        def record_sweep(time_ns: int, index: int) -> None:
            rng = np.random.default_rng([config.seed, _STREAMS.lidar, index])
            points = simulate_sweep(
                scene, ego, firings, stamp=time_ns * 1e-9, config=config, rng=rng
            )
            bag.cloud(START_NS + time_ns, points)

        def record_image(
            camera_index: int, camera: SimulatedCamera, time_ns: int, index: int
        ) -> None:
            rng = np.random.default_rng([config.seed, _STREAMS.camera, camera_index, index])
            rendered = render(
                scene,
                ego,
                camera,
                time=time_ns * 1e-9,
                sun=sun,
                image_noise=config.image_noise,
                rng=rng,
            )
            bag.image(START_NS + time_ns, camera, rendered.image)

        poses = _times(_TF_PHASE_S, _TF_RATE_HZ, config.duration_s + 2 / _TF_RATE_HZ)
        events = [(time, 0, index) for index, time in enumerate(poses)]
        events += [(time, 1, index) for index, time in enumerate(sweeps)]
        for camera in range(len(cameras)):
            events += [(time, 2 + camera, index) for index, time in enumerate(images)]
        with BagWriter(folder, config.storage, cameras) as bag:
            bag.static_transforms(START_NS + poses[0], T_base_lidar)
            for time_ns, stream, index in sorted(events):
                if stream == 0:
                    record_pose(time_ns, index)
                    continue
                if stream == 1:
                    record_sweep(time_ns, index)
                else:
                    record_image(stream - 2, cameras[stream - 2], time_ns, index)
                done += 1
                progress(done, total)
