"""What several processes are worth: `python benchmarks/processes.py OUT`, a new folder.

Two small simulated drives go through `haskd run`, all stages of it, with one process and with
several (--processes) under torchrun, one thread each, in turns (--rounds). Of each step the table
has the wall time and the CPU time of the busiest process, as medians, with ratios: where others
work too, the CPU time says more. Prints Markdown; OUT/processes.json has every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

DRIVE = {
    "duration_s": 2.4, "azimuth_steps": 400, "cameras": ("front", "left"), "image_width": 320,
    "image_height": 180, "camera_rate_hz": 5.0,
}  # fmt: skip
SETTINGS = (
    "prepare.overlays=0", "selection.window_s=0.5", "student.init=fresh", "student.voxel_size=0.3",
    "student.snapshots=2", "student.loop.epochs=1", "student.loop.device=cpu",
    "student.split.calibration=0.2", "student.split.validation=0.1", "student.split.test=0.2",
)  # fmt: skip


def work(out: Path, drives: list[Path]) -> None:
    """In each process: run, and note what each step takes."""
    from haskd_training.core.peers import working_on
    from haskd_training.core.progress import no_progress
    from haskd_training.core.settings import load_settings
    from haskd_training.experiments.run import RunConfig, run

    spent: dict[str, list[float]] = {}

    @contextmanager
    def measured(title: str) -> Iterator[Any]:
        began = time.perf_counter(), time.process_time()
        with working_on(title):
            yield no_progress
        ended = time.perf_counter(), time.process_time()
        of = spent.setdefault(step_of(title), [0.0, 0.0])
        for kind in (0, 1):
            of[kind] += ended[kind] - began[kind]

    run(drives, out, "simulation", load_settings(RunConfig, None, SETTINGS), measured)
    rank = os.environ.get("RANK", "0")
    (out.parent / f"{out.name}-{rank}.json").write_text(json.dumps(spent))


def step_of(title: str) -> str:
    """Drives, snapshots and students together."""
    for beginning in ("examining", "preparing", "computing outputs of", "scoring"):
        if title.startswith(beginning):
            return {"computing outputs of": "computing outputs of the snapshots"}.get(
                beginning, beginning
            )
    return title


def measure(out: Path, drives: list[Path], processes: int) -> dict[str, tuple[float, float]]:
    """s by step, wall and CPU of the busiest process."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command += [str(processes)]
    command += [__file__, "--work", str(out), *map(str, drives)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (out.parent / f"{out.name}.txt").open("w") as log:
        subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
    of_ranks = [
        json.loads((out.parent / f"{out.name}-{rank}.json").read_text())
        for rank in range(processes)
    ]
    steps = dict.fromkeys(step for one in of_ranks for step in one)
    return {
        step: tuple(max(one.get(step, (0, 0))[kind] for one in of_ranks) for kind in (0, 1))
        for step in steps
    }


def table(rounds: dict[int, list[dict[str, tuple[float, float]]]], processes: int) -> str:
    """Markdown."""
    lines = [
        f"| step | wall, s: 1 process | {processes} | ratio | CPU of the busiest, s: 1 process | "
        f"{processes} | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for step in rounds[1][0]:
        cells = []
        for kind in (0, 1):
            one, more = (median(r[step][kind] for r in rounds[n]) for n in (1, processes))
            cells += [f"{one:.2f}", f"{more:.2f}", f"{one / more:.2f}" if more else "-"]
        lines.append(f"| {step} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("drives", type=Path, nargs="*", help="bags; default: simulated ones")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.out, given.drives)
        return
    from haskd_training.core.machine import machine
    from haskd_training.simulation import SimulationConfig, simulate

    given.out.mkdir(parents=True)
    drives = given.drives
    for seed in (1, 2) if not drives else ():
        drives.append(given.out / f"drive-{seed}")
        simulate(drives[-1], SimulationConfig(seed=seed, **DRIVE))
    rounds: dict[int, list[dict[str, tuple[float, float]]]] = {1: [], given.processes: []}
    for number in range(given.rounds):
        for count, found in rounds.items():
            found.append(measure(given.out / f"run-{count}-{number}", drives, count))
            document = {"machine": machine(), "load": os.getloadavg(), "rounds": rounds}
            (given.out / "processes.json").write_text(json.dumps(document, indent=1))
    sys.stdout.write(table(rounds, given.processes) + "\n")


if __name__ == "__main__":
    main()
