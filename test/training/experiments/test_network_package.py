"""The example of a network in a package of its own, all the way: installed by pip, trained,
distilled by HAS-KD, and loaded by a process that labels with it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from network_packages import EXAMPLE, environment, fake_package, pip_install
from small_run import METHOD

from haskd_ros.errors import InputError
from haskd_ros.segmenter import Segmenter
from small_street import street_cache

pytestmark = pytest.mark.long

SIZE = "voxel-context"

LABEL = """
import sys, numpy as np
from haskd_ros.segmenter import Segmenter
segmenter = Segmenter.load(sys.argv[1], device="cpu")
found = segmenter(np.load(sys.argv[2]))
np.save(sys.argv[3], found.class_id)
print(segmenter.metadata.architecture, segmenter.precision)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The folder that pip installed the example into."""
    folder = tmp_path_factory.mktemp("package")
    sources = shutil.copytree(EXAMPLE, folder / "sources")
    return pip_install(sources, folder / "installed")


@pytest.fixture(scope="module")
def call(warm_python) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Python in a process that has packages beside what this one has."""

    def call(*arguments: object, path: Sequence[Path]) -> subprocess.CompletedProcess[str]:
        command = [warm_python, *map(str, arguments)]
        return subprocess.run(command, env=environment(*path), capture_output=True, text=True)

    return call


@pytest.fixture(scope="module")
def haskd(call) -> Callable[..., subprocess.CompletedProcess[str]]:
    return partial(call, "-m", "haskd_training")


def assignments(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture(scope="module")
def trained(package, haskd, tmp_path_factory) -> tuple[Path, Path]:
    """A cache of the street, and the model that `haskd baseline` made of it."""
    folder = tmp_path_factory.mktemp("street")
    cache = street_cache(folder)
    few = ["voxel_size=0.5", "loop.epochs=12", "loop.learning_rate=0.02", "loop.device=cpu"]
    few += ["split.calibration=0", "split.validation=0", "split.test=0", f"size={SIZE}"]
    made = haskd("baseline", cache, "--out", folder / "run", *assignments(few), path=[package])
    assert made.returncode == 0, made.stderr
    return cache, folder / "run" / "model.safetensors"


def test_a_baseline_learns_the_street_by_it(package, haskd, trained, tmp_path):
    cache, model = trained
    scored = haskd("evaluate", model, cache, "--out", tmp_path / "scores", path=[package])
    assert scored.returncode == 0, scored.stderr
    assert json.loads((tmp_path / "scores/evaluation.json").read_text())["miou"] > 0.8


def test_another_process_labels_with_it(package, call, trained, tmp_path):
    _, model = trained
    # A road 2 m below the sensor, and a wall of 4 m beside it
    road = np.array([[x, y, -2.0, 100.0] for x in range(-10, 10) for y in range(-4, 4)])
    wall = np.array([[x, 6.2, z, 100.0] for x in range(-10, 10) for z in (1.0, 2.0, 3.0)])
    np.save(tmp_path / "cloud.npy", np.concatenate([road, wall]).astype(np.float32))
    paths = model, tmp_path / "cloud.npy", tmp_path / "labels.npy"
    told = call("-c", LABEL, *paths, path=[package])
    assert told.stdout.split() == ["voxel_context", "fp32"], told.stderr
    labels = np.load(tmp_path / "labels.npy")
    on_road, on_wall = labels[: len(road)], labels[len(road) :]
    assert len(set(on_road.tolist()) | set(on_wall.tolist())) < 6
    most = [np.bincount(part).argmax() for part in (on_road, on_wall)]
    assert most[0] != most[1]


def test_a_process_without_the_package_says_what_is_missing(trained):
    _, model = trained
    with pytest.raises(InputError) as told:
        Segmenter.load(model, device="cpu")
    message = str(told.value)
    assert message.startswith(f"model {model}: model header: unknown architecture 'voxel_context'")
    assert "has to come from a package that is installed here and adds it" in message


def test_has_kd_distils_it_and_says_where_it_comes_from(package, haskd, drive, tmp_path):
    settings = [*METHOD, f"student.size={SIZE}", "student.init=fresh"]
    out = tmp_path / "run"
    made = haskd(
        "run", drive, "--labels", "simulation", "--out", out, *assignments(settings),
        path=[package],
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    shown = haskd("view", out / "model.safetensors", path=[package])
    assert "voxel_context" in shown.stdout
    # The teacher is of that network too
    (teacher,) = out.glob("stages/teacher-*/teacher.safetensors")
    assert b"voxel_context" in teacher.read_bytes()[:4096]


WITHOUT_LEVELS = """
from voxel_context import Architecture, Arguments, VoxelContext

class Alone(VoxelContext):
    fusion_widths = ()

ARCHITECTURE = Architecture(Alone, Arguments, sizes={"alone": {"width": 8}})
"""


def test_a_network_without_levels_is_refused_as_a_teacher_before_any_training(
    package, haskd, drive, tmp_path
):
    alone = fake_package(tmp_path / "alone", "alone", "alone = alone:ARCHITECTURE", WITHOUT_LEVELS)
    settings = [*METHOD, "student.size=alone", "student.init=fresh"]
    told = haskd(
        "run", drive, "--labels", "simulation", "--out", tmp_path / "run", *assignments(settings),
        path=[alone, package],
    )  # fmt: skip
    assert told.returncode == 2
    message = " ".join(told.stderr.split())
    assert "Alone has no level that image features could be fused into" in message
    assert "set teacher.size to another network, or distillation.teacher=none" in message
    assert not list((tmp_path / "run").glob("stages/baseline-*"))
