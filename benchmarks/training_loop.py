"""Training's samples per second against cores and data loading:
`python benchmarks/training_loop.py CACHE`.

One epoch of the student on labels alone, in our own loop, for each number of threads, with plain
torch and with the compiled kernels, and with
- sweeps ready: read, augmented and kept beforehand: what the loop could do if data cost nothing;
- 0, 1, 2 workers: processes that read and augment while the network computes (0: in between).

Every case is a process of its own, so that its peak memory is its own; cases take turns. Prints
Markdown: median over the turns. `training_step.py` shows that the losses are the same.
"""

from __future__ import annotations

# Before numpy, whose threads it keeps from spinning.
import haskd_ros  # noqa: F401

# isort: split

import argparse
import contextlib
import itertools
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from haskd_ros.native.dispatch import plain_torch
from haskd_training.core.machine import machine
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import SplitConfig, make_split
from haskd_training.learning.augmentation import AugmentationConfig
from haskd_training.learning.batches import SweepDataset
from haskd_training.learning.loop import Callbacks, LoopConfig, fit, make_fabric
from haskd_training.learning.student import StudentConfig, make_network, supervised_loss

READY = "ready"


class Ready(SweepDataset):
    """Sweeps that have been read and augmented already."""

    def __init__(self, dataset: SweepDataset) -> None:
        self.epoch = 0
        self._samples = [dataset[index] for index in range(len(dataset))]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> object:
        return self._samples[index]


def one(cache: Path, kernels: str, threads: int, workers: str) -> dict[str, float]:
    torch.set_num_threads(threads)
    everything = SplitConfig(calibration=0, validation=0, test=0)
    split = make_split([Cache.open(cache)], everything)
    loop = LoopConfig(epochs=1, device="cpu", workers=0 if workers == READY else int(workers))
    config = StudentConfig(loop=loop, split=everything)
    dataset = SweepDataset(
        split.caches,
        split.train,
        max_range=config.max_range,
        augmentation=AugmentationConfig(),
    )
    if workers == READY:
        dataset = Ready(dataset)
    supervised = supervised_loss(split, config)
    with (
        tempfile.TemporaryDirectory() as folder,
        plain_torch() if kernels == "torch" else contextlib.nullcontext(),
    ):
        history = fit(
            make_fabric(loop, Path(folder)),
            make_network(split, config, None)[0],
            dataset=dataset,
            loss=lambda model, batch, _: supervised(
                model(batch.points, batch.cloud).float(), batch.labels
            ),
            callbacks=Callbacks(save_best=lambda _: None),
            config=loop,
            folder=Path(folder),
        )
    whom = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    own, worker = (resource.getrusage(who).ru_maxrss / 1024 for who in whom)
    return {"rate": len(dataset) / history.seconds, "own": own, "worker": worker}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="folder made by `haskd prepare`")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        kernels, threads, workers = a.one
        print(json.dumps(one(a.cache, kernels, int(threads), workers)))
        return
    cases = list(itertools.product(("torch", "compiled"), a.threads, (READY, "0", "1", "2")))
    found: dict[tuple[str, int, str], list[dict[str, float]]] = {case: [] for case in cases}
    for _, case in itertools.product(range(a.turns), cases):
        command = [sys.executable, __file__, str(a.cache), "--one", *map(str, case)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[case].append(json.loads(done.stdout.splitlines()[-1]))
    print(machine())
    print("\n| kernels | threads | workers | sweeps a second | of ready | MiB, with a worker's |")
    print("| --- | --- | --- | --- | --- | --- |")
    for case, runs in found.items():
        kernels, threads, workers = case
        rates = [run["rate"] for run in runs]
        ready = np.median([run["rate"] for run in found[kernels, threads, READY]])
        each = ", ".join(f"{rate:.2f}" for rate in rates)
        memory = f"{max(run['own'] for run in runs):.0f}"
        if workers not in (READY, "0"):
            memory += f" + {max(run['worker'] for run in runs):.0f}"
        print(
            f"| {kernels} | {threads} | {workers} | {np.median(rates):.2f} ({each}) "
            f"| {np.median(rates) / ready:.2f} | {memory} |"
        )


if __name__ == "__main__":
    main()
