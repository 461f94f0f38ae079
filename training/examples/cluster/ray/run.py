"""`haskd run` on the machines of a Ray cluster; what is not listed here goes to that command."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def work(command: dict[str, list[str]]) -> None:
    """One of the processes, which Ray has joined already; Ray calls it in each."""
    # By this torch tells that somebody else has started all of them.
    os.environ["TORCHELASTIC_RUN_ID"] = "ray"
    # Only now: the console asks for this process's rank when it is imported.
    from haskd_training.commands.app import app

    app(args=["run", *command["arguments"]], prog_name="haskd", standalone_mode=False)


def main() -> None:
    """Train, and start again where a machine is lost: a run goes on from its last checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes, one a GPU")
    parser.add_argument("--gpus", action="store_true", help="give each process a GPU")
    parser.add_argument("--restarts", type=int, default=3, help="after a lost machine, at most")
    parser.add_argument("--out", type=Path, required=True, help="folder that all machines see")
    own, arguments = parser.parse_known_args()
    folder = own.out.absolute()
    TorchTrainer(
        work,
        train_loop_config={"arguments": [*arguments, "--out", str(folder)]},
        scaling_config=ScalingConfig(
            num_workers=own.workers, use_gpu=own.gpus, placement_strategy="SPREAD"
        ),
        run_config=RunConfig(
            # Ray's own records; the run's are in its folder.
            storage_path=str(folder.parent),
            name=f"{folder.name}-ray",
            failure_config=FailureConfig(max_failures=own.restarts),
        ),
    ).fit()


if __name__ == "__main__":
    main()
