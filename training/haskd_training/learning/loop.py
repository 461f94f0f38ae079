"""The one training loop: every network of this package is fitted by `fit`.

Under torchrun several processes fit one network together: each step averages the gradients of a
batch in each of them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import TensorBoardLogger
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from haskd_ros.errors import InputError
from haskd_training.core.progress import Progress
from haskd_training.core.run_folder import RunFolder
from haskd_training.learning.batches import Batch, EpochSampler, SweepDataset, training_loader
from haskd_training.learning.checkpoint import load_checkpoint, save_checkpoint
from haskd_training.learning.processes import copy_buffers, leave_at_exit, processes_and_machines

log = logging.getLogger(__name__)

Loss = Callable[[nn.Module, Batch, float], dict[str, Tensor]]
"""(network, batch, share of the steps done, 0..1) -> named terms; their sum is minimised."""

CHECKPOINT = "checkpoint.safetensors"


class LoopConfig(BaseModel):
    """How a network is fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(24, ge=1, description="passes over the training sweeps")
    batch_size: int = Field(1, ge=1, le=256, description="sweeps a step")
    learning_rate: float = Field(
        4e-3, gt=0, allow_inf_nan=False, description="peak of the one-cycle schedule"
    )
    schedule: Literal["one_cycle", "cyclic"] = Field(
        "one_cycle", description="cyclic: the rate falls to 0 and rises again, `cycles` times"
    )
    cycles: int = Field(5, ge=1, description="of a cyclic schedule")
    average: float = Field(
        0.0, ge=0, lt=1, description="decay of a running mean of the weights; 0: none is kept"
    )
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False, description="of AdamW")
    warmup: float = Field(0.2, gt=0, lt=1, description="share of the steps before the peak")
    gradient_norm: float = Field(10.0, gt=0, description="gradients are clipped to this norm")
    seed: int = Field(0, ge=0, description="of weights, order and augmentation")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU if there is one"
    )
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field(
        "auto", description="auto: bf16-mixed on a GPU that has it; on CPUs it pays with AMX only"
    )
    workers: int = Field(0, ge=0, description="processes that read and augment sweeps")
    save_every: int = Field(50, ge=1, description="steps between checkpoints within an epoch")


@dataclass
class History:
    """What a run has been through; part of its checkpoint."""

    step: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    seconds: float = 0.0

    def result(self) -> dict[str, Any]:
        """What a finished run tells of it."""
        return {
            "best_epoch": self.best_epoch,
            "validation_miou": self.best_score,
            "seconds": self.seconds,
        }


def make_fabric(config: LoopConfig, folder: Path) -> Fabric:
    """A launched Fabric that writes TensorBoard curves under `folder`. Under torchrun it joins the
    other processes, by gloo on CPUs and by nccl on GPUs.

    Raises:
        InputError: a GPU was asked for and there is none, or not one for each process.
    """
    processes, machines = processes_and_machines()
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("loop.device is cuda, but torch sees no CUDA device")
    on_gpu = config.device != "cpu" and torch.cuda.is_available()
    if on_gpu and processes > torch.cuda.device_count():
        raise InputError(
            f"torchrun started {processes} processes on this machine, which has "
            f"{torch.cuda.device_count()} CUDA devices"
        )
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=processes,
        num_nodes=machines,
        strategy="ddp" if processes * machines > 1 else "auto",
        precision=precision,
        loggers=TensorBoardLogger(folder, name="tensorboard", version=""),
    )
    fabric.launch()
    if fabric.world_size > 1:
        leave_at_exit()
    return fabric


def fit(
    fabric: Fabric,
    network: nn.Module,
    dataset: SweepDataset,
    loss: Loss,
    validate: Callable[[nn.Module], float] | None,
    keep_best: Callable[[nn.Module], None],
    config: LoopConfig,
    folder: Path,
    progress: Progress,
    after_step: Callable[[nn.Module, int, int], None] = lambda *_: None,
    keep_average: Callable[[nn.Module], None] | None = None,
) -> History:
    """Fit a network, or go on with a fit that was interrupted.

    Args:
        fabric: from `make_fabric`.
        network: fresh weights; they are overwritten where `folder` holds a checkpoint.
        dataset: sweeps to learn from.
        loss: terms to be minimised.
        validate: a score after each epoch, higher is better; None: the last epoch is the best.
        keep_best: called with the network after each epoch that is the best so far.
        folder: takes the checkpoint and the curves; all processes see the same one.
        after_step: called with the network, the steps done and the steps in all.
        keep_average: called at the end with the running mean of the network that
            `config.average` asks for; None: there is no use for one, and none is kept.

    Of several processes all call `loss` and `validate`, each with batches of its own; the first
    one alone calls `keep_best`, `keep_average`, `after_step` and `progress`.

    Raises:
        InputError: the loss is no longer a number, a damaged checkpoint or one of another number of
            processes, or fewer sweeps than processes.
    """
    if len(dataset) < fabric.world_size:
        raise InputError(
            f"{len(dataset)} sweeps to learn from are fewer than the {fabric.world_size} processes"
        )
    averaged = config.average > 0 and keep_average is not None
    if not fabric.is_global_zero:
        keep_best = keep_average = after_step = progress = _do_nothing
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    sampler = EpochSampler(
        len(dataset), config.batch_size, config.seed, fabric.global_rank, fabric.world_size
    )
    steps = config.epochs * len(sampler)
    schedule = _schedule(optimizer, steps, config)
    raw, plain = network, optimizer
    network, optimizer = fabric.setup(network, optimizer)
    average = None
    if averaged:
        decay = get_ema_multi_avg_fn(config.average)
        average = AveragedModel(raw, multi_avg_fn=decay, use_buffers=True)
    state_of = nn.ModuleList([raw] if average is None else [raw, average])
    history = History()
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        state = load_checkpoint(checkpoint, state_of, plain)
        schedule.load_state_dict(state["schedule"])
        # The schedule writes into the optimizer only when it steps.
        for group, rate in zip(plain.param_groups, schedule.get_last_lr()):
            group["lr"] = rate
        history = History(**state["history"])
        if (processes := state.get("processes", 1)) != fabric.world_size:
            raise InputError(
                f"{folder} holds a run of {processes} processes, this one has "
                f"{fabric.world_size}; go on with as many, or choose another folder"
            )
        log.info("going on at step %d of %d", history.step, steps)
    loader = training_loader(dataset, sampler, config.workers)

    def save() -> None:
        if not fabric.is_global_zero:
            return
        state = {
            "history": asdict(history),
            "schedule": schedule.state_dict(),
            "processes": fabric.world_size,
        }
        save_checkpoint(checkpoint, state_of, plain, state)

    for epoch in range(history.step // len(sampler), config.epochs):
        sampler.set_place(epoch, history.step % len(sampler))
        dataset.epoch = epoch
        network.train()
        clock = time.perf_counter()
        for batch in loader:
            terms = loss(network, batch.to(fabric.device), history.step / steps)
            # The same in every process, so that all of them stop where one can't go on.
            means = fabric.all_reduce(torch.stack([term.detach() for term in terms.values()]))
            value = means.sum().item()
            if not math.isfinite(value):
                raise InputError(
                    f"training diverged: loss {value} at step {history.step}; "
                    f"lower learning_rate (now {config.learning_rate})"
                )
            optimizer.zero_grad()
            fabric.backward(sum(terms.values()) + _zero(raw, fabric))
            # An infinite gradient shows in the next loss, which says so in plain words.
            fabric.clip_gradients(
                network, optimizer, max_norm=config.gradient_norm, error_if_nonfinite=False
            )
            optimizer.step()
            schedule.step()
            history.step += 1
            if average is not None:
                average.update_parameters(raw)
            after_step(raw, history.step, steps)
            now = time.perf_counter()
            history.seconds, clock = history.seconds + now - clock, now
            values = {f"train/{name}": mean for name, mean in zip(terms, means.tolist())}
            fabric.log_dict(
                values | {"train/learning_rate": schedule.get_last_lr()[0]}, history.step
            )
            progress(history.step, steps, f"epoch {epoch + 1} loss {value:.3f}")
            within_epoch = history.step % len(sampler) != 0
            if within_epoch and history.step % config.save_every == 0:
                save()
        network.eval()
        copy_buffers(raw, fabric)
        score = None if validate is None else validate(raw)
        if score is not None:
            fabric.log("validation/score", score, history.step)
            progress(history.step, steps, f"epoch {epoch + 1} validation {100 * score:.1f} %")
        if score is None or history.best_score is None or score > history.best_score:
            history.best_score, history.best_epoch = score, epoch + 1
            keep_best(raw)
        history.seconds += time.perf_counter() - clock
        save()
    if average is not None:
        keep_average(average.module)
    # From here on every process finds what the first one wrote.
    fabric.barrier()
    return history


def finish(fabric: Fabric, folder: RunFolder, result: dict[str, Any]) -> None:
    """Mark the run of a fit as finished and drop its checkpoint; every process goes on once the
    first one has."""
    if fabric.is_global_zero:
        folder.finish(result)
        (folder.path / CHECKPOINT).unlink()
    fabric.barrier()


def _do_nothing(*_: object) -> None:
    pass


def _zero(network: nn.Module, fabric: Fabric) -> Tensor | float:
    """0 with a gradient of 0 for every weight: several processes wait for each other's gradients
    of all weights, also where one's batch has no use for some."""
    if fabric.world_size == 1:
        return 0.0
    return 0.0 * sum(weight.sum() for weight in network.parameters() if weight.requires_grad)


def _schedule(
    optimizer: torch.optim.Optimizer, steps: int, config: LoopConfig
) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate over the steps, relative to its peak."""

    def one_cycle(step: int) -> float:
        done = step / steps
        if done < config.warmup:
            return 1 - 0.96 * _falling_cosine(done / config.warmup)
        return _falling_cosine((done - config.warmup) / (1 - config.warmup))

    def cyclic(step: int) -> float:
        # Huang et al., "Snapshot ensembles", ICLR 2017, eq. 2.
        return _falling_cosine(step * config.cycles / steps % 1)

    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, one_cycle if config.schedule == "one_cycle" else cyclic
    )


def _falling_cosine(share: float) -> float:
    """1 at 0, 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))
