"""`haskd` as a person types it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from recorded_bags import Scene, write_bag
from small_street import street, street_cache


def haskd(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "haskd_training.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_prepare_train_and_evaluate_from_the_command_line(tmp_path):
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


@pytest.mark.parametrize("command", ["simulate", "prepare", "baseline", "evaluate", "demo"])
def test_every_command_explains_itself(command):
    shown = haskd(command, "--help")
    assert shown.returncode == 0
    assert "Usage" in shown.stdout


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path):
    for arguments in (
        ("prepare", tmp_path / "none", "--out", tmp_path / "cache"),
        ("baseline", tmp_path / "none", "--out", tmp_path / "run"),
        ("evaluate", tmp_path / "none", street_cache(tmp_path, sweeps=1)),
        ("simulate", tmp_path, "--set", "seed=1"),
        ("simulate", tmp_path / "bag", "--set", "sed=1"),
        ("demo", "--bag", tmp_path / "none", "--out", tmp_path / "demo"),
    ):
        result = haskd(*arguments)
        assert result.returncode == 2, arguments
        assert result.stderr.startswith("error: "), result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert "Traceback" not in result.stdout
