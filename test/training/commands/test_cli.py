"""`haskd` as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from small_run import METHOD

from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.preparing.prepare import prepare
from recorded_bags import Scene, write_bag
from small_street import street, street_cache

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("two_levels")]


def test_prepare_train_and_evaluate_from_the_command_line(haskd, tmp_path):
    bag = write_bag(tmp_path, Scene(clouds=10, images=3, points=street))
    prepared = haskd("prepare", bag, "--labels", "pandaset", "--out", tmp_path / "cache")
    assert prepared.returncode == 0, prepared.stderr
    assert "building" in prepared.stdout
    trained = haskd(
        "baseline", tmp_path / "cache", "--out", tmp_path / "run",
        "--set", "voxel_size=0.5", "--set", "loop.epochs=2", "--set", "loop.device=cpu",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert "validation mIoU" in trained.stdout
    scored = haskd("evaluate", tmp_path / "run/model.safetensors", tmp_path / "cache")
    assert scored.returncode == 0, scored.stderr
    assert "mIoU" in scored.stdout


def options(*assignments: str) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]


def test_run_and_select_from_the_command_line(haskd, drive, drive_cache, tmp_path):
    made = haskd(
        "run", drive, "--labels", "simulation", "--out", tmp_path / "run",
        "--attribution", "Nobody", *options(*METHOD, "distillation.teacher=none"),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "IoU in % over 4 test sweeps" in made.stdout and "difference" in made.stdout
    assert (tmp_path / "run/report.html").is_file()
    chosen = haskd(
        "select", drive_cache, "--model", tmp_path / "run/model.safetensors",
        "--out", tmp_path / "chosen", "--set", "window_s=0.3",
    )  # fmt: skip
    assert chosen.returncode == 0, chosen.stderr
    assert "iof: 20 sweeps" in chosen.stdout
    page = (tmp_path / "chosen/report.html").read_text()
    assert "near-duplicate" in page and page.count("data:image/jpeg") == 6


def test_ablate_from_the_command_line(haskd, drive_cache, another_drive, tmp_path):
    row = "rows={taught by nobody: {distillation: {teacher: none, snapshots: none}}}"
    other = tmp_path / "other"
    prepare([another_drive], "simulation", other, PrepareConfig(overlays=0))
    command = (
        "ablate", drive_cache, "--test", other, "--out", tmp_path / "out",
        *options(*(f"method.{setting}" for setting in METHOD), row, "bounds=false"),
        *options("corrupted=[]"),
    )  # fmt: skip
    assert haskd(*command, "--set", "seeds=[0]").returncode == 0
    made = haskd(*command, "--set", "seeds=[0,1]", "--results", tmp_path / "results")
    assert made.returncode == 0, made.stderr
    document = json.loads((tmp_path / "results/ablation.json").read_text())
    assert document["command"].startswith(f"haskd ablate {drive_cache}")
    assert document["seeds"] == [0, 1]
    # The first cache holds back 0.2 to calibrate and 0.1 to validate, and nothing to test on:
    # another cache serves that as a whole
    sweeps = [cache["sweeps"] for cache in document["data"]]
    assert [part["test"] for part in sweeps] == [0, 5] and sweeps[0]["train"] == 14
    assert document["rows"]["taught by nobody"]["gain"]["by_seed"] == [0, 0]
    assert "| labels alone |" in (tmp_path / "results/ablation.md").read_text()


COMMANDS = (
    "simulate", "prepare", "run", "baseline", "select", "evaluate", "export", "ablate", "demo",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(haskd, command):
    shown = haskd(command, "--help")
    assert shown.returncode == 0
    assert "Usage" in shown.stdout


def test_a_mistake_is_one_line_and_exit_code_2(haskd, tmp_path):
    for arguments in (
        ("prepare", tmp_path / "none", "--out", tmp_path / "cache"),
        ("baseline", tmp_path / "none", "--out", tmp_path / "run"),
        ("evaluate", tmp_path / "none", street_cache(tmp_path, sweeps=1)),
        ("run", tmp_path / "none", "--labels", "pandaset", "--out", tmp_path / "run"),
        ("select", tmp_path / "none", "--model", "none", "--out", tmp_path / "chosen"),
        ("ablate", tmp_path / "none", "--out", tmp_path / "ablation"),
        ("export", tmp_path / "none", "--onnx", tmp_path / "model.onnx"),
        ("simulate", tmp_path, "--set", "seed=1"),
        ("simulate", tmp_path / "bag", "--set", "sed=1"),
        ("demo", "--bag", tmp_path / "none", "--out", tmp_path / "demo"),
    ):
        result = haskd(*arguments)
        assert result.returncode == 2, arguments
        assert result.stderr.startswith("error: "), result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert "Traceback" not in result.stdout


def test_the_module_can_be_run_as_torchrun_does(tmp_path, warm_python):
    command = [warm_python, "-m", "haskd_training", "baseline", tmp_path / "none"]
    result = subprocess.run(
        [*command, "--out", tmp_path / "run"], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 2
    assert "is not a cache" in result.stderr


def test_where_the_training_half_is_not_installed_it_says_what_to_do():
    code = (
        "import sys; sys.modules['typer'] = None;from haskd_training.__main__ import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: haskd needs the Python package typer: install")
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_training_on_labels_alone_has_no_folds(haskd, tmp_path):
    told = haskd("baseline", tmp_path / "none", "--out", tmp_path, "--set", "split.folds=2")
    assert told.returncode == 2
    assert "split.folds is for haskd run" in told.stderr
