"""`haskd baseline`: the student, trained on labels alone.

It is what every gain is measured against, and the run that leaves the snapshots behind.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from haskd_ros import model_file
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import RunFolder
from haskd_training.data.splits import Split
from haskd_training.learning.batches import Batch, SweepDataset
from haskd_training.learning.loop import finish, fit, make_fabric
from haskd_training.learning.student import (
    StudentConfig,
    make_network,
    stage_settings,
    supervised_loss,
    validator,
)

log = logging.getLogger(__name__)

MODEL = "model.safetensors"
AVERAGE = "average.safetensors"


@dataclass(frozen=True)
class TrainingResult:
    """Where the model lies and how its training went.

    Attributes:
        model: the model file, best epoch by validation mIoU.
        best_epoch: counted from 1.
        validation_miou: of that epoch, 0..1; None without a validation split.
        seconds: spent in training, all runs of it together.
    """

    model: Path
    best_epoch: int
    validation_miou: float | None
    seconds: float


def baseline(
    split: Split,
    out: Path,
    config: StudentConfig,
    attribution: str | None = None,
    progress: Progress = no_progress,
) -> TrainingResult:
    """Train a network on labels.

    A run that was interrupted goes on where its last checkpoint was; a finished one returns its
    result. Beside the model stand `snapshots/snapshot-K.safetensors`, checkpoints of the way there,
    and `average.safetensors` where `loop.average` asks for it.

    Args:
        split: who learns from what.
        out: folder of the run: new, or of an earlier run with the same data and settings.
        attribution: whom the data's licence wants credited; goes into the model file.

    Raises:
        InputError: a folder that belongs to another run, or a training that diverged.
    """
    fabric = make_fabric(config.loop, out)
    with fabric.rank_zero_first():
        folder = RunFolder(out, stage_settings(split, config, attribution=attribution))
        if (found := folder.result()) is not None:
            return TrainingResult(out / MODEL, **found)
        network, metadata = make_network(split, config, attribution)
        folder.claim()
    if config.loop.batch_size == 1:
        _warn_of_several_sensors(split)
    dataset = SweepDataset(
        split.caches, split.train, config.max_range, config.augmentation, config.loop.seed
    )
    log.info(
        "%d sweeps to learn from, %d to validate on, %.2f million parameters",
        len(split.train),
        len(split.validation),
        sum(p.numel() for p in network.parameters()) / 1e6,
    )
    supervised = supervised_loss(split, config)

    def loss(model: nn.Module, batch: Batch, _: float) -> dict[str, Tensor]:
        return supervised(model(batch.points, batch.cloud).float(), batch.labels)

    def keep_snapshot(model: nn.Module, step: int, steps: int) -> None:
        # A run of few steps may take several snapshots at once.
        for number, moment in enumerate(snapshot_steps(steps, config)):
            if moment == step:
                model_file.save(snapshot_path(out, number), model, metadata)

    history = fit(
        fabric,
        network,
        dataset,
        loss,
        validator(split, config, fabric),
        lambda model: model_file.save(out / MODEL, model, metadata),
        config.loop,
        out,
        progress,
        after_step=keep_snapshot,
        keep_average=lambda model: model_file.save(out / AVERAGE, model, metadata),
    )
    result = history.result()
    finish(fabric, folder, result)
    return TrainingResult(out / MODEL, **result)


def snapshot_path(run: Path, number: int) -> Path:
    """Model file of a baseline run's snapshot, counted from 0."""
    return run / "snapshots" / f"snapshot-{number + 1}.safetensors"


def snapshot_steps(steps: int, config: StudentConfig) -> list[int]:
    """After how many steps the snapshots are taken: evenly over the last half of an ordinary run,
    at the ends of the last cycles of a cyclic one."""
    count = config.snapshots
    if config.loop.schedule == "cyclic":
        cycles = config.loop.cycles
        return [round(steps * k / cycles) for k in range(cycles - count + 1, cycles + 1)]
    half = steps // 2
    return [half + round((steps - half) * (k + 1) / count) for k in range(count)]


def _warn_of_several_sensors(split: Split) -> None:
    """Of batch norm, where the sensors of the sweeps to learn from differ in size."""
    caches = {ref.cache for ref in split.train_and_unlabelled}
    points = [split.caches[i].statistics["points_per_sweep"]["median"] for i in caches]
    if max(points) > 1.5 * min(points):
        # Seen: 29 % mIoU instead of over 50 %, real and simulated sweeps in turn.
        log.warning(
            "caches of several sensors and loop.batch_size=1: batch norm learns one sensor at a "
            "time and fits none at inference; set loop.batch_size=4 or more"
        )
