"""Several processes that train one network, on one machine or on many.

`torchrun` starts them and tells each its place in the environment; without it there is one process.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from haskd_ros.errors import InputError

Item = TypeVar("Item")


def processes_and_machines() -> tuple[int, int]:
    """How many processes torchrun started on each machine, and on how many machines.

    Raises:
        InputError: not equally many on each.
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


def leave_at_exit() -> None:
    """Have this process end its part in the group while Python is still whole.

    Threads of gloo hold on to tensors for a moment after a collective operation is over, and for
    as long as anything holds the group, the wrapped networks of past trainings among them. One
    that lets go of a tensor while the interpreter is being taken down aborts the process
    (pytorch/pytorch#179291).
    """
    # Runs before the handlers that were registered earlier, Fabric's own among them.
    atexit.register(_leave)


def _leave() -> None:
    # What Python has not cleaned up yet would keep the group, and its threads, alive.
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    gc.collect()


def share(items: Sequence[Item], fabric: Fabric) -> Sequence[Item]:
    """This process's part: every item is in exactly one part, so that nothing is counted twice."""
    return items[fabric.global_rank :: fabric.world_size]


def add_up(counts: np.ndarray, fabric: Fabric) -> np.ndarray:
    """The sum of all processes' counts, in each of them."""
    total = fabric.all_reduce(torch.tensor(counts, device=fabric.device), reduce_op="sum")
    return total.cpu().numpy()


def copy_buffers(network: nn.Module, fabric: Fabric) -> None:
    """Give every process the buffers of the first. Batch norm's running statistics differ, since
    each process sees clouds of its own; the weights don't."""
    if fabric.world_size > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)
