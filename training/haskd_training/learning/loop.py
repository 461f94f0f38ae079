"""The one training loop: every network of this package is fitted by `fit`.

Under torchrun several processes fit one network together: each step averages the gradients of one
batch per process.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from haskd_ros.errors import InputError
from haskd_ros.native import load_kernels
from haskd_training.core import processes
from haskd_training.core.exchange import join
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import RunFolder
from haskd_training.learning.batches import Batch, EpochSampler, SweepDataset, training_loader
from haskd_training.learning.checkpoint import load_checkpoint, save_checkpoint
from haskd_training.learning.processes import broadcast_buffers, mean_over_processes

if TYPE_CHECKING:  # takes two seconds
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

Loss = Callable[[nn.Module, Batch, float], dict[str, Tensor]]
"""(network, batch, share of the steps done, 0..1) -> named terms; their sum is minimised."""

CHECKPOINT = "checkpoint.safetensors"


class LoopConfig(BaseModel):
    """How a network is fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(24, ge=1, description="passes over the training sweeps")
    batch_size: int = Field(1, ge=1, le=256, description="sweeps per step")
    learning_rate: float = Field(
        4e-3, gt=0, allow_inf_nan=False, description="peak of the one-cycle schedule"
    )
    schedule: Literal["one_cycle", "cyclic"] = Field(
        "one_cycle", description="cyclic: the rate falls to 0 and rises again, `cycles` times"
    )
    cycles: int = Field(5, ge=1, description="of a cyclic schedule")
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of the exponential moving average of the weights; 0: none",
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
    """The course of a run so far; part of its checkpoint."""

    step: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    seconds: float = 0.0

    def result(self) -> dict[str, Any]:
        """The part that goes into the result of a finished run."""
        return {
            "best_epoch": self.best_epoch,
            "validation_miou": self.best_score,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Callbacks(Generic[Network]):
    """What `fit` calls besides the loss. Of several processes all call `validate`, each with its
    own sweeps; only the first one calls the others.

    Attributes:
        save_best: called with the network after each epoch that is the best so far.
        validate: a score after each epoch, higher is better; None: the last epoch is the best.
        after_step: called with the network, the steps done and the steps in all.
        save_average: called at the end with the moving average of the network that
            `LoopConfig.ema_decay` asks for; None: no average is computed.
        progress: counts steps.
    """

    save_best: Callable[[Network], None]
    validate: Callable[[Network], float | None] | None = None
    after_step: Callable[[Network, int, int], None] | None = None
    save_average: Callable[[Network], None] | None = None
    progress: Progress = no_progress


def make_fabric(config: LoopConfig, folder: Path) -> Fabric:
    """A launched Fabric that writes TensorBoard curves under `folder`. Under torchrun it joins the
    other processes, by gloo on CPUs and by nccl on GPUs; all machines have to share the folder.
    Every training begins with one: this is where the process gets its compiled kernels.

    Raises:
        InputError: a GPU was asked for and there is none, or not one for each process; or as of
            `exchange.join`.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    here, machines = processes.processes_and_machines()
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("loop.device is cuda, but torch sees no CUDA device")
    on_gpu = config.device != "cpu" and torch.cuda.is_available()
    if on_gpu and here > torch.cuda.device_count():
        raise InputError(
            f"torchrun started {here} processes on this machine, which has "
            f"{torch.cuda.device_count()} CUDA devices"
        )
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=here,
        num_nodes=machines,
        strategy="ddp" if here * machines > 1 else "auto",
        precision=precision,
        loggers=TensorBoardLogger(folder, name="tensorboard", version=""),
    )
    join(folder)
    fabric.launch()
    load_kernels()
    return fabric


def fit(
    fabric: Fabric,
    network: Network,
    *,
    dataset: SweepDataset,
    loss: Loss,
    callbacks: Callbacks[Network],
    config: LoopConfig,
    folder: Path,
) -> History:
    """Fit a network, or resume a fit that was interrupted.

    Args:
        fabric: from `make_fabric`.
        network: with initial weights, which are overwritten where `folder` holds a checkpoint.
        dataset: training sweeps.
        loss: terms to be minimised; each process calls it with its own batches.
        folder: for the checkpoint and the curves; the same for all processes.

    Raises:
        InputError: the loss is not finite, a damaged checkpoint or one of another number of
            processes, or fewer sweeps than processes.
    """
    if len(dataset) < fabric.world_size:
        raise InputError(
            f"{len(dataset)} training sweeps are fewer than the {fabric.world_size} processes"
        )
    progress = callbacks.progress if fabric.is_global_zero else no_progress
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    sampler = EpochSampler(
        len(dataset),
        config.batch_size,
        seed=config.seed,
        rank=fabric.global_rank,
        processes=fabric.world_size,
    )
    steps = config.epochs * len(sampler)
    schedule = _schedule(optimizer, steps, config)
    wrapped, wrapped_optimizer = fabric.setup(network, optimizer)
    average = None
    if config.ema_decay > 0 and callbacks.save_average is not None:
        decay = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]  # torch's
        average = AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
    checkpointed = nn.ModuleList([network] if average is None else [network, average])
    history = History()
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        state = load_checkpoint(checkpoint, checkpointed, optimizer)
        schedule.load_state_dict(state["schedule"])
        # The schedule sets the optimizer's rate only when it steps.
        for group, rate in zip(optimizer.param_groups, schedule.get_last_lr()):
            group["lr"] = rate
        history = History(**state["history"])
        if (others := state.get("processes", 1)) != fabric.world_size:
            raise InputError(
                f"{folder} holds a run of {others} processes, this one has "
                f"{fabric.world_size}; resume with as many, or choose another folder"
            )
        log.info("resuming at step %d of %d", history.step, steps)
    loader = training_loader(dataset, sampler, config.workers)

    def save() -> None:
        if not fabric.is_global_zero:
            return
        state = {
            "history": asdict(history),
            "schedule": schedule.state_dict(),
            "processes": fabric.world_size,
        }
        save_checkpoint(checkpoint, checkpointed, optimizer, state)

    for epoch in range(history.step // len(sampler), config.epochs):
        sampler.start_at(epoch, history.step % len(sampler))
        dataset.epoch = epoch
        wrapped.train()
        clock = time.perf_counter()
        batch: Batch
        for batch in loader:
            terms = loss(wrapped, batch.to(fabric.device), history.step / steps)
            # The same in every process, so that all of them stop where one diverges.
            values = torch.stack([term.detach() for term in terms.values()])
            means = mean_over_processes(values, fabric)
            value = means.sum().item()
            if not math.isfinite(value):
                raise InputError(
                    f"training diverged: loss {value} at step {history.step}; "
                    f"lower learning_rate (now {config.learning_rate})"
                )
            wrapped_optimizer.zero_grad()
            total = reduce(add, terms.values())
            fabric.backward(total if fabric.world_size == 1 else total + _zero(network))
            # An infinite gradient makes the next loss infinite, which is reported above.
            fabric.clip_gradients(
                wrapped, wrapped_optimizer, max_norm=config.gradient_norm, error_if_nonfinite=False
            )
            wrapped_optimizer.step()
            schedule.step()
            history.step += 1
            if average is not None:
                average.update_parameters(network)
            if callbacks.after_step is not None and fabric.is_global_zero:
                callbacks.after_step(network, history.step, steps)
            now = time.perf_counter()
            history.seconds, clock = history.seconds + now - clock, now
            curves = {f"train/{name}": mean for name, mean in zip(terms, means.tolist())}
            curves["train/learning_rate"] = schedule.get_last_lr()[0]
            fabric.log_dict(curves, history.step)
            progress(history.step, steps, f"epoch {epoch + 1} loss {value:.3f}")
            within_epoch = history.step % len(sampler) != 0
            if within_epoch and history.step % config.save_every == 0:
                save()
        wrapped.eval()
        broadcast_buffers(network, fabric)
        score = None if callbacks.validate is None else callbacks.validate(network)
        if score is not None:
            fabric.log("validation/score", score, history.step)
            progress(history.step, steps, f"epoch {epoch + 1} validation {100 * score:.1f} %")
        if score is None or history.best_score is None or score > history.best_score:
            history.best_score, history.best_epoch = score, epoch + 1
            if fabric.is_global_zero:
                callbacks.save_best(network)
        history.seconds += time.perf_counter() - clock
        save()
    if average is not None and callbacks.save_average is not None and fabric.is_global_zero:
        # A deep copy of `network`; torch's types only know that it is a module.
        callbacks.save_average(cast(Network, average.module))
    # From here on every process can read what the first one wrote.
    processes.wait()
    return history


def finished_result(folder: RunFolder) -> dict[str, Any] | None:
    """What `finish` recorded, None before; where it was killed then, its checkpoint goes."""
    result = folder.result()
    if result is not None and processes.is_first():
        (folder.path / CHECKPOINT).unlink(missing_ok=True)
    return result


def finish(fabric: Fabric, folder: RunFolder, result: dict[str, Any]) -> None:
    """Mark the run of a fit as finished and delete its checkpoint; all processes wait for the
    first."""
    folder.finish(result)
    if fabric.is_global_zero:
        (folder.path / CHECKPOINT).unlink()


def _zero(network: nn.Module) -> Tensor:
    """0 with a gradient of 0 for every weight: several processes wait for each other's gradients
    of all weights, also where one's batch does not use some."""
    return 0.0 * reduce(add, (x.sum() for x in network.parameters() if x.requires_grad))


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
