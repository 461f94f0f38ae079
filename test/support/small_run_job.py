"""`haskd run` on the drive beside a folder, as a job for `injection`: its model and its scores."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lightning_fabric.loggers.tensorboard import TensorBoardLogger  # noqa: F401  before any fork
from safetensors.numpy import load_file
from small_run import METHOD, quiet

from haskd_training.core.settings import load_settings
from haskd_training.experiments import run as experiment


def run(folder: Path) -> object:
    """Digest of the model's weights, its temperature, and the students' scores on test sweeps."""
    settings = load_settings(experiment.RunConfig, None, METHOD)
    made = experiment.run([folder.parent / "drive"], folder, "simulation", settings, quiet)
    weights = load_file(made.model)
    digest = hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights)))
    scores = [scored.to_json() for scored in (made.baseline, made.distilled)]
    return digest.hexdigest(), made.calibration.temperature, scores, made.report.exists()
