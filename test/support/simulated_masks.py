"""Masks of a simulated drive's images: the classes that the simulation rendered."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from haskd_training.image_labels.mask_files import CERTAIN, Mask, write_mask
from haskd_training.simulation import SimulationConfig
from haskd_training.simulation.camera import make_cameras, render
from haskd_training.simulation.drive import make_world
from haskd_training.simulation.materials import CLASS_NAMES
from haskd_training.simulation.messages import START_NS

SKY = 255


def write_masks(folder: Path, config: SimulationConfig) -> Path:
    """FOLDER/CAMERA/STAMP_NS.png of every image of the drive of these settings; ids are those of
    `CLASS_NAMES`, the sky says nothing."""
    world = make_world(config)
    count = int((config.duration_s - config.camera_phase_s) * config.camera_rate_hz + 1e-6) + 1
    for camera in make_cameras(config):
        (folder / camera.name).mkdir(parents=True)
        for number in range(count):
            time = round((config.camera_phase_s + number / config.camera_rate_hz) * 1e9)
            rendered = render(
                world.scene, world.ego, camera, time=time * 1e-9, sun=world.sun, image_noise=0,
                rng=np.random.default_rng(0),
            )  # fmt: skip
            classes = rendered.class_image
            sure = np.where(classes == SKY, 0, CERTAIN).astype(np.uint8)
            write_mask(folder / camera.name / f"{START_NS + time}.png", Mask(classes, sure))
    return folder


def write_classes(path: Path) -> Path:
    """Image classes that mean themselves; cars may be large vehicles, as in Cityscapes' words."""
    lines = [
        f"  - {{name: {name}, means: [{name}{', large_vehicle' * (name == 'car')}]}}"
        for name in CLASS_NAMES
    ]
    path.write_text("\n".join(["classes:", *lines, ""]))
    return path
