"""`haskd baseline`: the student, trained on labels alone.

Every gain is measured against it, and its run saves the snapshots.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from haskd_ros import model_file
from haskd_ros.models.network import SegmentationNetwork
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import RunFolder
from haskd_training.data.splits import Split
from haskd_training.learning.batches import Batch
from haskd_training.learning.loop import Callbacks, finish, finished_result, fit, make_fabric
from haskd_training.learning.student import (
    StudentConfig,
    make_network,
    stage_settings,
    supervised_loss,
    training_dataset,
    validator,
)

log = logging.getLogger(__name__)

MODEL = "model.safetensors"
AVERAGE = "average.safetensors"


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and how its training went.

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


def baseline_inputs(split: Split, config: StudentConfig, attribution: str | None) -> dict[str, Any]:
    """All that `baseline` depends on, as JSON values."""
    return stage_settings(split, config, attribution=attribution)


def baseline(
    split: Split,
    out: Path,
    config: StudentConfig,
    *,
    attribution: str | None = None,
    progress: Progress = no_progress,
) -> TrainingResult:
    """Train a network on labels.

    An interrupted run resumes from its last checkpoint; a finished one returns its result. The
    folder also gets `snapshots/snapshot-K.safetensors`, models from the course of the training, and
    `average.safetensors` if `loop.ema_decay` is set.

    Args:
        split: the sweeps of each role.
        out: folder of the run: new, or of an earlier run with the same data and settings.
        attribution: credit that the data's licence requires; goes into the model file.

    Raises:
        InputError: a folder that belongs to another run, or a training that diverged.
    """
    fabric = make_fabric(config.loop, out)
    folder = RunFolder(out, baseline_inputs(split, config, attribution))
    if (result := finished_result(folder)) is not None:
        return TrainingResult(out / MODEL, **result)
    network, metadata = make_network(split, config, attribution)
    folder.claim()
    if config.loop.batch_size == 1:
        _warn_about_several_sensors(split)
    log.info(
        "%d training sweeps, %d validation sweeps, %.2f million parameters",
        len(split.train),
        len(split.validation),
        sum(p.numel() for p in network.parameters()) / 1e6,
    )
    supervised = supervised_loss(split, config)

    def loss(model: nn.Module, batch: Batch, _: float) -> dict[str, Tensor]:
        logits = batch.of_newest(model(batch.points, batch.cloud))
        return supervised(logits.float(), batch.of_newest(batch.labels))

    def save_snapshot(model: SegmentationNetwork, step: int, steps: int) -> None:
        # In a run of few steps several snapshots may be due at once.
        for number, moment in enumerate(snapshot_steps(steps, config)):
            if moment == step:
                model_file.save(snapshot_path(out, number), model, metadata)

    history = fit(
        fabric,
        network,
        dataset=training_dataset(split, split.train, config),
        loss=loss,
        callbacks=Callbacks(
            save_best=lambda model: model_file.save(out / MODEL, model, metadata),
            validate=validator(split, config, fabric),
            after_step=save_snapshot,
            save_average=lambda model: model_file.save(out / AVERAGE, model, metadata),
            progress=progress,
        ),
        config=config.loop,
        folder=out,
    )
    result = history.result()
    finish(fabric, folder, result)
    return TrainingResult(out / MODEL, **result)


def snapshot_path(run: Path, number: int) -> Path:
    """Model file of a snapshot of a baseline run; `number` counts from 0."""
    return run / "snapshots" / f"snapshot-{number + 1}.safetensors"


def snapshot_steps(steps: int, config: StudentConfig) -> list[int]:
    """The steps after which snapshots are saved: evenly over the last half of a one-cycle run, at
    the ends of the last cycles of a cyclic one; in a run of few steps several after one step."""
    count = config.snapshots
    if config.loop.schedule == "cyclic":
        cycles = config.loop.cycles
        due = [round(steps * k / cycles) for k in range(cycles - count + 1, cycles + 1)]
    else:
        half = steps // 2
        due = [half + round((steps - half) * (k + 1) / count) for k in range(count)]
    return [max(1, step) for step in due]


def _warn_about_several_sensors(split: Split) -> None:
    """Warn about batch norm where the training sweeps are of sensors of different size."""
    caches = {ref.cache for ref in split.train_and_unlabelled}
    points = [split.caches[i].statistics["points_per_sweep"]["median"] for i in caches]
    if max(points) > 1.5 * min(points):
        # Measured with real and simulated sweeps in turn: 29 % mIoU instead of over 50 %.
        log.warning(
            "caches of several sensors and loop.batch_size=1: batch norm adapts to one sensor at a "
            "time and fits none at inference; set loop.batch_size=4 or more"
        )
