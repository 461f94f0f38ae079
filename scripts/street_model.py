"""Make the model that ships: `python scripts/street_model.py --real pandaset_002_train --out OUT`.

One real street and ten simulated towns, each with another sensor at another height, seen mixed,
tilted, thinned and partly without intensity. Nothing of KITTI, and nothing that an image network
said, goes into it.

OUT/drives/, OUT/caches/        the simulated towns
OUT/run/                        the training; a call that was killed goes on
OUT/street.safetensors          the model
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from haskd_ros import model_file
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.preparing.prepare import prepare
from haskd_training.data.splits import make_split
from haskd_training.data.sweep_ref import all_sweeps
from haskd_training.evaluation.temperature import gather_logits, mean_entropy
from haskd_training.learning.baseline import baseline
from haskd_training.learning.student import StudentConfig
from haskd_training.simulation import SimulationConfig, simulate

ATTRIBUTION = (
    "PandaSet (Scale AI and Hesai), CC BY 4.0; Xiao et al., PandaSet: Advanced Sensor Suite "
    "Dataset for Autonomous Driving, ITSC 2021. And the simulation of haskd_ros."
)

REAL_TIMES = 4
"""How often an epoch shows a sweep of the real street: about a quarter of what it shows."""


class Town(NamedTuple):
    """A simulated drive of a minute, every tenth turn recorded."""

    seed: int
    lidar: str
    height_m: float
    azimuth_steps: int
    noise_m: float
    drop: float

    @property
    def config(self) -> SimulationConfig:
        return SimulationConfig(
            seed=self.seed,
            duration_s=60.0,
            lidar=self.lidar,
            lidar_height_m=self.height_m,
            lidar_every=10,
            azimuth_steps=self.azimuth_steps,
            range_noise_m=self.noise_m,
            drop_rate=self.drop,
            cameras=("front",),
            image_width=64,
            image_height=48,
            camera_rate_hz=0.5,
        )


TOWNS = (
    Town(1000, "pandar64", 1.8, 1800, 0.02, 0.02),
    Town(1001, "beams_64", 1.7, 2048, 0.02, 0.05),
    Town(1002, "beams_32", 1.9, 1800, 0.03, 0.02),
    Town(1003, "beams_16", 0.6, 1800, 0.02, 0.05),
    Town(1004, "beams_128", 2.2, 1200, 0.01, 0.02),
    Town(1005, "beams_32", 0.4, 1200, 0.03, 0.1),
    Town(1006, "beams_16", 1.6, 1800, 0.03, 0.02),
    Town(1007, "beams_64", 3.0, 1500, 0.02, 0.02),
    Town(1008, "pandar64", 1.2, 1500, 0.02, 0.1),
    Town(1009, "beams_64", 1.73, 2048, 0.02, 0.03),
)
# How unsure it is where it has not learned, for the node to compare with.
UNSEEN_TOWNS = (
    Town(1100, "beams_64", 1.5, 1800, 0.02, 0.03),
    Town(1101, "beams_32", 1.0, 1500, 0.02, 0.03),
)

SETTINGS = (
    "split.validation=0", "split.calibration=0", "split.test=0", "loop.epochs=9",
    "loop.batch_size=4", "loop.learning_rate=0.008", "snapshots=1",
    "augmentation.mixing.share=0.5", "augmentation.gain=10", "augmentation.contrast=0.3",
    "augmentation.no_intensity=0.5", "augmentation.height_m=0.3", "augmentation.tilt_deg=2",
    "augmentation.beams=0.2", "augmentation.scale=0.1",
)  # fmt: skip


def town_cache(town: Town, out: Path) -> Cache:
    """The cache of a town; what an earlier call made is taken as it is."""
    drive, cache = out / "drives" / str(town.seed), out / "caches" / str(town.seed)
    drive.parent.mkdir(parents=True, exist_ok=True)
    if not drive.exists():
        print(f"simulating town {town.seed}", flush=True)
        simulate(drive, town.config)
    prepare([drive], "simulation", cache, PrepareConfig(overlays=0))
    return Cache.open(cache)


def make(real: Path, out: Path) -> Path:
    """The model file."""
    config = load_settings(StudentConfig, None, SETTINGS)
    towns = [town_cache(town, out) for town in TOWNS]
    unseen = [town_cache(town, out) for town in UNSEEN_TOWNS]
    split = make_split([Cache.open(real)] * REAL_TIMES + towns, config.split)
    print(f"training on {len(split.train)} sweeps an epoch", flush=True)
    trained = baseline(split, out / "run", config, attribution=ATTRIBUTION).model
    network, metadata = model_file.load(trained)
    # The temperature stays 1: towns are easier than streets, and one that was fitted to towns that
    # it has not seen would make it surer (0.73).
    logits, _ = gather_logits(network, unseen, all_sweeps(unseen), metadata.max_range)
    sensor = replace(metadata.sensor, entropy=mean_entropy(logits, metadata.temperature))
    metadata = replace(metadata, sensor=sensor)
    model = out / "street.safetensors"
    model_file.save(model, network, metadata)
    print(f"wrote {model}")
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True, help="cache of pandaset_002_train")
    parser.add_argument("--out", type=Path, required=True, help="folder of all that is made")
    arguments = parser.parse_args()
    make(arguments.real, arguments.out)
