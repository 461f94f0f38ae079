"""The state of a training run in one safetensors file, enough to resume bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically

_HEADER = "haskd_checkpoint"


def save_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write network, optimizer and `state` (plain JSON values) atomically."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(path, save(tensors, {_HEADER: json.dumps(state)}))


def load_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore network and optimizer in place; returns the `state` saved with them.

    Raises:
        InputError: the file is damaged or of another network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Any] = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        network.load_state_dict(
            {
                name.removeprefix("network."): value
                for name, value in tensors.items()
                if name.startswith("network.")
            }
        )
    except (SafetensorError, KeyError, OSError, RuntimeError) as error:
        raise InputError(
            f"checkpoint {path} is damaged or of another network; delete it to restart ({error})"
        ) from error
    saved = optimizer.state_dict()
    saved["state"] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, slot = name.split(".")
            saved["state"].setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict(saved)
    return state
