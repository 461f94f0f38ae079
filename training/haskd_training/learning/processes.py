"""What the processes that train one network together tell each other, beside the gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:  # takes two seconds
    from lightning_fabric import Fabric


def mean_over_processes(values: Tensor, fabric: Fabric) -> Tensor:
    """The mean of all processes' values, in each of them."""
    # Fabric also takes collections of tensors, and its type says no more than that.
    return cast(Tensor, fabric.all_reduce(values, reduce_op="mean"))


def broadcast_buffers(network: nn.Module, fabric: Fabric) -> None:
    """Give every process the buffers of the first. Batch norm's running statistics differ between
    processes, since each has its own clouds; the weights don't."""
    if fabric.world_size > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)
