"""A drive of two seconds and settings with which the whole pipeline takes seconds."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

from haskd_training.simulation import SimulationConfig, simulate

# 20 sweeps of 3,200 points, 10 images
DRIVE = SimulationConfig(
    seed=1, duration_s=2.0, azimuth_steps=120, cameras=("front",), image_width=96,
    image_height=64, camera_rate_hz=5.0,
)  # fmt: skip

# Instead of the student of size S, see the fixture `two_levels`
TWO_LEVELS = {"architecture": "sparse_unet", "channels": (16, 32)}

# Of the 20 sweeps 10 to learn from, 4 to calibrate on, 2 to validate on, 4 to test on, each for
# that alone
STUDENT = [
    "voxel_size=1", "snapshots=2", "loop.epochs=1", "loop.device=cpu", "split.calibration=0.2",
    "split.validation=0.1", "split.test=0.2", "split.distil_held_out=false",
]  # fmt: skip
METHOD = [
    *(f"student.{setting}" for setting in STUDENT), "selection.window_s=0.3",
    "expertise.min_scans=2", "expertise.resamples=200",
]  # fmt: skip


def small_drive(folder: Path, **changes: object) -> Path:
    """The bag of the drive, named `drive`."""
    simulate(folder / "drive", DRIVE.model_copy(update=changes))
    return folder / "drive"


@contextmanager
def quiet(title: str):
    """Steps that show nothing."""
    yield lambda *_: None
