"""Several processes that train one network, on one machine or on many.

`torchrun` starts them and sets each one's rank in the environment; without it there is one process.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from haskd_ros.errors import InputError

if TYPE_CHECKING:  # takes two seconds
    from lightning_fabric import Fabric

Item = TypeVar("Item")


def processes_and_machines() -> tuple[int, int]:
    """How many processes torchrun started on each machine, and on how many machines.

    Raises:
        InputError: different numbers on different machines.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1, 1
    every, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if every % here:
        raise InputError(
            f"torchrun started {here} of {every} processes on this machine; "
            "every machine must get the same --nproc-per-node"
        )
    return here, every // here


def destroy_group_at_exit() -> None:
    """Destroy the process group at exit, before the interpreter is finalised.

    Threads of gloo hold references to tensors for a moment after a collective operation, and for as
    long as anything references the group, such as the wrapped networks of past trainings. A thread
    that releases a tensor while the interpreter is finalised aborts the process
    (pytorch/pytorch#179291).
    """
    # Handlers run last in, first out: this one before Fabric's own.
    atexit.register(_destroy_group)


def _destroy_group() -> None:
    # Garbage in reference cycles would keep the group, and its threads, alive.
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    gc.collect()


def of_this_rank(items: Sequence[Item], fabric: Fabric) -> Sequence[Item]:
    """The items of this process: every item belongs to exactly one."""
    return items[fabric.global_rank :: fabric.world_size]


def sum_over_processes(counts: np.ndarray, fabric: Fabric) -> NDArray[np.int64]:
    """The sum of all processes' counts (integers), in each of them."""
    total = _all_reduce(torch.tensor(counts, device=fabric.device), fabric, "sum")
    result: NDArray[np.int64] = total.cpu().numpy()
    return result


def mean_over_processes(values: Tensor, fabric: Fabric) -> Tensor:
    """The mean of all processes' values, in each of them."""
    return _all_reduce(values, fabric, "mean")


def _all_reduce(values: Tensor, fabric: Fabric, operation: str) -> Tensor:
    # Fabric also takes collections of tensors, and its type says no more than that.
    return cast(Tensor, fabric.all_reduce(values, reduce_op=operation))


def broadcast_buffers(network: nn.Module, fabric: Fabric) -> None:
    """Give every process the buffers of the first. Batch norm's running statistics differ between
    processes, since each has its own clouds; the weights don't."""
    if fabric.world_size > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)
