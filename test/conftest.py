"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from small_run import small_drive

from haskd_ros import model_file
from haskd_ros.model_file import Intensity, ModelMetadata
from haskd_ros.models import build
from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.prepare import PrepareConfig, prepare

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_bags() -> Path:
    """The folder of the real recordings; they are too large to be in the repository."""
    folder = Path(os.environ.get("HASKD_REAL_BAGS", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "pandaset_002_train").is_dir():
        pytest.skip(f"the real bags are not at {folder} (set HASKD_REAL_BAGS to their folder)")
    return folder


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bag of a small simulated drive, see `small_run`."""
    return small_drive(tmp_path_factory.mktemp("small_run"))


@pytest.fixture(scope="session")
def drive_cache(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It prepared."""
    cache = tmp_path_factory.mktemp("small_run_cache") / "drive"
    prepare([drive], "simulation", cache, PrepareConfig(overlays=0))
    return cache


@pytest.fixture(scope="session")
def tiny_metadata() -> ModelMetadata:
    """Three classes, 0.5 m voxels."""
    return ModelMetadata(
        architecture="sparse_unet",
        arguments={"voxel_size": 0.5, "channels": [4, 8]},
        taxonomy=Taxonomy(
            (
                ClassInfo("road", (128, 64, 128)),
                ClassInfo("car", (0, 0, 142), movable=True),
                ClassInfo("building", (70, 70, 70)),
            )
        ),
        intensity=Intensity(scale=255.0, mean=0.1),
        max_range=100.0,
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_metadata: ModelMetadata) -> Path:
    """A model file with random weights: wrong about everything, but alike on every machine."""
    torch.manual_seed(0)
    network = build(
        tiny_metadata.architecture,
        classes=len(tiny_metadata.taxonomy),
        **tiny_metadata.arguments,
    )
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    model_file.save(path, network, tiny_metadata)
    return path
