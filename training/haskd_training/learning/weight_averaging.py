"""Averages of a run's weights: the cheap baseline that every distillation has to be compared
with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from haskd_ros import model_file
from haskd_training.data.splits import Split
from haskd_training.learning.batches import collate
from haskd_training.learning.student import StudentConfig, training_dataset


def average_snapshots(
    snapshots: Sequence[Path], split: Split, config: StudentConfig, out: Path, device: torch.device
) -> Path:
    """Write the mean of the snapshots' weights as a model file (Izmailov et al., "Averaging Weights
    Leads to Wider Optima", UAI 2018). Batch norm's statistics are recomputed over one epoch of the
    augmented training sweeps: their mean does not fit the mean weights."""
    loaded = [model_file.load(path) for path in snapshots]
    network, metadata = loaded[-1]
    states = [snapshot.state_dict() for snapshot, _ in loaded]
    network.load_state_dict(
        {
            name: torch.stack([state[name] for state in states]).mean(0)
            if value.is_floating_point()
            else value
            for name, value in states[-1].items()
        }
    )
    network.to(device).train()
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches instead of a running one
    sweeps = training_dataset(split, split.train, config)
    with torch.no_grad():
        for index in range(len(sweeps)):
            batch = collate([sweeps[index]]).to(device)
            network(batch.points, batch.cloud)
    model_file.save(out, network.eval(), metadata)
    return out
