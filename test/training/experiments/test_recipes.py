"""config/recipes: settings of whole trainings, as the real loader reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from haskd_ros.models import build, of_size
from haskd_training.core.settings import load_settings
from haskd_training.experiments.run import RunConfig
from haskd_training.learning.student import StudentConfig

RECIPES = Path(__file__).resolve().parents[3] / "config" / "recipes"
FILES = sorted(RECIPES.iterdir())


def student_of(file: Path) -> StudentConfig:
    if file.stem.endswith("_run"):
        return load_settings(RunConfig, file).student
    return load_settings(StudentConfig, file)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_a_recipe_loads_and_its_network_can_be_built(file):
    config = student_of(file)
    architecture, arguments = of_size(config.size, config.voxel_size)
    with torch.device("meta"):
        network = build(architecture, classes=19, **arguments)
    assert network.voxel_size == {"outdoor": 0.05, "indoor": 0.02}[file.stem.split("_")[0]]
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert 20 < millions < 40


@pytest.mark.parametrize("name", ["outdoor", "indoor"])
def test_a_run_has_the_recipe_of_the_training_on_labels(name):
    alone, run = (
        student_of(RECIPES / f"{stem}.yaml").model_dump(exclude={"init"})
        for stem in (name, f"{name}_run")
    )
    assert run == alone


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_a_recipe_says_that_it_was_not_run(file):
    comments = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert any("Not run here" in line for line in comments)
