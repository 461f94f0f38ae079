"""What starts `haskd run` on clusters: Slurm's script, with stand-ins for `srun` and `scontrol`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "training" / "examples" / "cluster"
SCRIPT = EXAMPLES / "slurm" / "run.sbatch"


@pytest.fixture
def node(tmp_path: Path) -> dict[str, str]:
    """Environment of a batch script on the first of two nodes; what it calls is in `calls`."""
    for name, content in {
        "srun": 'echo "srun $*" >> calls\nexec sh -c "$STEP"\n',
        "scontrol": 'echo "scontrol $*" >> calls\n[ "$1" != show ] || printf "node7\\nnode8\\n"\n',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{content}")
        (tmp_path / name).chmod(0o755)
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "12345",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_GPUS_ON_NODE": "4",
        "SLURM_RESTART_COUNT": "1",
    }


def start(
    tmp_path: Path, node: dict[str, str], step: str, *arguments: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(SCRIPT), *arguments],
        cwd=tmp_path,
        env=node | {"STEP": step},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("code", [0, 2])
def test_the_job_ends_as_the_command_does(tmp_path: Path, node: dict[str, str], code: int) -> None:
    process = start(tmp_path, node, f"exit {code}", "a cache", "--out", "run")
    process.communicate(timeout=20)
    assert process.returncode == code
    # 20000 + 12345; the second attempt has a meeting point of its own.
    assert (tmp_path / "calls").read_text().splitlines() == [
        "scontrol show hostnames node[7-8]",
        "srun --kill-on-bad-exit=1 torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d "
        "--rdzv-endpoint node7:32345 --rdzv-id 12345-1 -m haskd_training run a cache --out run",
    ]


def test_a_job_whose_time_is_up_is_queued_again(tmp_path: Path, node: dict[str, str]) -> None:
    process = start(tmp_path, node, "touch started; sleep 0.5", "cache", "--out", "run")
    end = time.monotonic() + 20
    while not (tmp_path / "started").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "queued again" in output
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "scontrol requeue 12345"


def test_a_job_without_arguments_says_what_it_takes(tmp_path: Path, node: dict[str, str]) -> None:
    process = start(tmp_path, node, "exit 0")
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, (tmp_path / "calls").exists()) == (2, False)
    assert output.startswith("usage: sbatch run.sbatch")
