"""Two processes train one network: started by torchrun, or as it starts them; talking by gloo."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from forked_ranks import run_ranks
from safetensors.torch import load_file
from small_run import METHOD, TWO_LEVELS, quiet

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.models import SIZES
from haskd_training.core.processes import processes_and_machines
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import make_split
from haskd_training.experiments.evaluate import evaluate_model
from haskd_training.experiments.run import RunConfig, run
from haskd_training.learning.baseline import baseline
from haskd_training.learning.inference import predict
from haskd_training.learning.student import StudentConfig
from haskd_training.metrics.confusion import evaluate, mean_iou
from haskd_training.reports.training_curves import scalars
from small_street import street_cache

pytestmark = pytest.mark.long

# Of 10 sweeps 7 to learn from, 3 steps of 2 processes an epoch, 6 in all; 3 to validate on
SETTINGS = load_settings(
    StudentConfig,
    None,
    [
        "voxel_size=0.5", "loop.epochs=2", "loop.device=cpu", "loop.save_every=1",
        "split.calibration=0", "split.validation=0.3", "split.test=0", "snapshots=2",
    ],
)  # fmt: skip


def torchrun(python: str, log: Path, *command: object) -> None:
    """Two processes of a command."""
    # Standalone: torchrun finds a free port.
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    # A process that aborts says where it was.
    environment = os.environ | {"PYTHONFAULTHANDLER": "1"}
    with log.open("w+") as file:
        done = subprocess.run(
            [python, *start, *command],
            env=environment, stdout=file, stderr=file, timeout=300,
        )  # fmt: skip
        file.seek(0)
        printed = file.read()
    if done.returncode:
        pytest.fail("\n".join(printed.splitlines()[-80:]), pytrace=False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return street_cache(tmp_path_factory.mktemp("street"))


@pytest.fixture(scope="module")
def together(cache, tmp_path_factory, warm_python):
    """Folder that two processes left."""
    out = tmp_path_factory.mktemp("together")
    script = Path(__file__).resolve().parents[2] / "support" / "two_processes.py"
    # That which starts the two: they are true processes, to their end.
    torchrun(warm_python, out / "log.txt", script, cache, out, SETTINGS.model_dump_json())
    return out


@pytest.fixture(scope="module")
def results(together):
    return [json.loads((together / f"result-{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_count_the_same_confusions_as_one_and_none_twice(together, results, cache):
    assert [result["validated"] for result in results] == [[7], [8, 9]]
    split = make_split([Cache.open(cache)], SETTINGS.split)
    network = model_file.load(together / "whole/model.safetensors")[0]
    alone = evaluate(
        lambda sweep: predict(network, sweep, SETTINGS.max_range, torch.device("cpu")),
        (split.sweep(ref) for ref in split.validation),
        split.taxonomy,
    )
    for result in results:
        np.testing.assert_array_equal(result["counts"], alone.counts)
        # What picked the epoch was the score of all sweeps, in both processes.
        assert result["validation_miou"] == mean_iou(alone.counts)


def test_only_the_first_process_reports_and_writes(together, results):
    # 6 steps and 2 validations
    assert [result["reported"] for result in results] == [8, 0]
    written = {path.name for path in (together / "whole").iterdir()}
    assert written == {
        "config.json",
        "code.json",
        "result.json",
        "model.safetensors",
        "snapshots",
        "tensorboard",
    }
    assert len(list((together / "whole/snapshots").iterdir())) == 2
    assert len(list((together / "whole/tensorboard").iterdir())) == 1


def test_a_run_of_two_that_was_cut_off_goes_on_bit_for_bit(together):
    whole = load_file(together / "whole/model.safetensors")
    resumed = load_file(together / "cut/model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_scores_of_a_model_are_the_same_of_two_processes(together, cache, tmp_path):
    model = together / "whole/model.safetensors"

    def score(rank: int) -> None:
        found = evaluate_model(model, cache, tmp_path / "scores", device="cpu")
        (tmp_path / f"{rank}.json").write_text(json.dumps(found.to_json()))

    ended = run_ranks(tmp_path, score)
    assert [one.code for one in ended] == [0, 0], ended
    alone = evaluate_model(model, cache, device="cpu").to_json()
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == alone
    assert alone["sweeps"] == 10
    assert json.loads((tmp_path / "scores/evaluation.json").read_text())["sweeps"] == 10


def test_two_processes_make_what_one_makes_of_the_same_trainings(drive, tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "S", TWO_LEVELS)
    import lightning_fabric.loggers.tensorboard  # noqa: F401  once, before the fork

    given = (*METHOD, "prepare.overlays=0")
    command = (
        "run", drive, "--labels", "simulation", "--out", tmp_path / "run",
        *(f"--set={setting}" for setting in given),
    )  # fmt: skip
    ended = run_ranks(tmp_path, command, timeout_s=300)
    assert [one.code for one in ended] == [0, 0], ended
    # One process reports: a table, and what was made
    printed = "".join(one.printed for one in ended)
    assert printed.count("IoU in % over 4 test sweeps") == 1
    # 10 sweeps, a sweep a step and process: 5 steps of 2, by baseline, teacher and student alike
    stages = tmp_path / "run/stages"
    trainings = set()
    for stage in ("baseline", "teacher", "student"):
        # Not teacher-outputs-*
        (folder,) = stages.glob(f"{stage}-{10 * '[0-9a-f]'}")
        (steps, _) = scalars(folder / "tensorboard")["train/lovasz"]
        assert steps == [1, 2, 3, 4, 5]
        trainings.add(folder)
    of_trainings = {path: path.stat().st_mtime_ns for one in trainings for path in one.iterdir()}
    model = tmp_path / "run/model.safetensors"
    made = {path: path.read_bytes() for path in [model, *made_by_sweeps(stages, trainings)]}
    assert {path.parent.name.rpartition("-")[0] for path in made} == {
        "", "selection", "features", "teacher-outputs", "expertise", "snapshot-1-outputs",
        "snapshot-2-outputs", "expert-outputs",
    }  # fmt: skip
    # One process computes anew whatever was no training.
    for path in made:
        path.unlink()
    settings = load_settings(RunConfig, None, given)
    again = run([drive], tmp_path / "run", "simulation", settings, quiet)
    assert again is not None and again.model == model
    assert {path: path.read_bytes() for path in [model, *made_by_sweeps(stages, trainings)]} == made
    assert {path: path.stat().st_mtime_ns for path in of_trainings} == of_trainings


def made_by_sweeps(stages: Path, trainings: set[Path]) -> list[Path]:
    """Files of the stages that are no trainings, without what tells of their time."""
    return [
        path
        for folder in stages.iterdir()
        if folder not in trainings
        for path in folder.iterdir()
        if path.suffix == ".safetensors" or path.name == "result.json"
    ]


def test_a_process_whose_sweeps_have_no_points_keeps_in_step(results):
    assert all(math.isfinite(value) for value in results[0]["weights"])
    assert results[0]["weights"] == results[1]["weights"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_no_thread_of_the_group_outlives_it(together):
    # One that did could abort the process while the interpreter is taken down.
    for rank in (0, 1):
        names = (together / f"threads-{rank}.txt").read_text().splitlines()
        assert names and not [name for name in names if "gloo" in name]


def test_both_processes_stop_where_one_can_not_go_on(results):
    for result in results:
        assert "training diverged: loss nan at step 0" in result["lost"]


def test_more_processes_than_sweeps_are_refused(results):
    for result in results:
        assert result["few"] == "1 training sweeps are fewer than the 2 processes"


def test_a_run_of_two_is_not_gone_on_with_by_one(together, cache, tmp_path):
    split = make_split([Cache.open(cache)], SETTINGS.split)
    shutil.copy(together / "whole/config.json", tmp_path)
    shutil.copy(together / "cut/checkpoint.safetensors", tmp_path)
    with pytest.raises(InputError, match="holds a run of 2 processes, this one has 1"):
        baseline(split, tmp_path, SETTINGS)


def test_machines_with_unequal_numbers_of_processes_are_refused(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert processes_and_machines() == (4, 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(InputError, match="3 of 8 processes on this machine"):
        processes_and_machines()
