"""A training step with and without compiled kernels: `python benchmarks/training_step.py CACHE`.

Network S, one sweep a step with augmentation, one thread. The two take turns on the same batch, and
processor time is measured, so that other work on the machine disturbs neither more than the other.
Also compares their losses over the steps: same start, same batches. Timings, not a test.
"""

from __future__ import annotations

# Before numpy, whose threads it keeps from spinning.
import haskd_ros  # noqa: F401

# isort: split

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from haskd_ros.models import build, of_size
from haskd_ros.native import load_kernels
from haskd_ros.native.dispatch import plain_torch
from haskd_training.data.caches.cache import Cache
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.learning.augmentation import AugmentationConfig
from haskd_training.learning.batches import Batch, SweepDataset, collate
from haskd_training.learning.losses import cross_entropy, lovasz_softmax, soften

PARTS = ("forward", "loss", "backward", "optimizer", "all")


class Contender:
    """A network and its optimizer, from the same start as any other."""

    def __init__(self, classes: int, voxel_size: float) -> None:
        torch.manual_seed(0)
        architecture, arguments = of_size("S", voxel_size)
        self.network = build(architecture, classes=classes, **arguments)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 1e-3)
        self.weights = torch.ones(classes)

    def step(self, batch: Batch) -> tuple[list[float], float]:
        """ms of each of PARTS, and the loss."""
        times = [time.process_time()]
        logits = self.network(batch.points, batch.cloud)
        times.append(time.process_time())
        log_p = soften(logits)
        loss = cross_entropy(log_p, batch.labels, self.weights)
        loss = loss + lovasz_softmax(log_p.exp(), batch.labels)
        times.append(time.process_time())
        self.optimizer.zero_grad()
        loss.backward()
        times.append(time.process_time())
        self.optimizer.step()
        times.append(time.process_time())
        return [1e3 * part for part in (*np.diff(times), times[-1] - times[0])], loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="folder made by `haskd prepare`")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--voxel-size", type=float, default=0.2, help="m")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    load_kernels()
    cache = Cache.open(arguments.cache)
    sweeps = [SweepRef(0, index) for index in range(len(cache))]
    dataset = SweepDataset([cache], sweeps, max_range=120.0, augmentation=AugmentationConfig())
    classes = len(cache.taxonomy)
    plain, compiled = (Contender(classes, arguments.voxel_size) for _ in range(2))
    times = np.zeros((2, arguments.steps, len(PARTS)))
    losses = np.zeros((2, arguments.steps))
    points = 0
    for step in range(arguments.steps):
        batch = collate([dataset[step % len(dataset)]])
        points += len(batch.points)
        with plain_torch():
            times[0, step], losses[0, step] = plain.step(batch)
        times[1, step], losses[1, step] = compiled.step(batch)
    # The first steps fill caches.
    plain_ms, compiled_ms = np.median(times[:, min(3, arguments.steps - 1) :], axis=1)
    table = Table(title=f"processor ms a step, median; {points / arguments.steps:,.0f} points each")
    for column in ("", "plain torch", "compiled", "ratio"):
        table.add_column(column, justify="right")
    for name, one, other in zip(PARTS, plain_ms, compiled_ms):
        table.add_row(name, f"{one:.1f}", f"{other:.1f}", f"{one / other:.2f}")
    console = Console()
    console.print(table)
    apart = np.abs(losses[0] - losses[1]).max()
    console.print(f"loss {losses[0, 0]:.4f} to {losses[0, -1]:.4f}; largest difference {apart:.1e}")


if __name__ == "__main__":
    main()
