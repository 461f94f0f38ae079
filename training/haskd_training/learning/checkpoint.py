"""The state of a training run in one safetensors file, enough to resume bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from haskd_ros.errors import InputError
from haskd_training.core.tensor_file import TensorFile, write_tensors

_HEADER = "checkpoint"


def save_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write network, optimizer and `state` (plain JSON values) atomically."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
    arrays = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
    write_tensors(path, arrays, {_HEADER: state})


def load_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore network and optimizer in place; returns the `state` saved with them.

    Raises:
        InputError: the file is damaged or of another network.
    """
    file = TensorFile(path, "delete it to restart")
    tensors = {name: torch.from_numpy(value) for name, value in file.read_all().items()}
    try:
        state: dict[str, Any] = file.header[_HEADER]
        network.load_state_dict(
            {
                name.removeprefix("network."): value
                for name, value in tensors.items()
                if name.startswith("network.")
            }
        )
    except (KeyError, RuntimeError) as error:
        raise InputError(
            f"checkpoint {path} is of another network; delete it to restart ({error})"
        ) from error
    saved = optimizer.state_dict()
    saved["state"] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, slot = name.split(".")
            saved["state"].setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict(saved)
    return state
