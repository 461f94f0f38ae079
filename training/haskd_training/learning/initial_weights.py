"""What a training starts from: fresh weights, or those of a model that has seen other streets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from haskd_ros import model_file
from haskd_ros.channels import SWEEP_AGE
from haskd_ros.errors import InputError
from haskd_ros.model_header import ChannelInput, ModelMetadata
from haskd_ros.models import check_arguments
from haskd_ros.models.network import SegmentationNetwork
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.taxonomy import Taxonomy
from haskd_ros.text import listed, quoted
from haskd_training.core.file_digests import file_digest

log = logging.getLogger(__name__)

FRESH, SHIPPED, AUTO = "fresh", "shipped", "auto"


class Start(NamedTuple):
    """A model to start from, as it was read."""

    path: Path
    network: SegmentationNetwork
    metadata: ModelMetadata


def initial_digest(init: str) -> str | None:
    """Of the content of the file that a training may start from; None for fresh weights, and where
    there is no such file."""
    path = _named(init)
    return None if path is None else file_digest(path)


def fitting_model(
    init: str,
    architecture: str,
    arguments: dict[str, Any],
    taxonomy: Taxonomy,
    channels: Sequence[ChannelInput] = (),
    *,
    tell: bool = False,
) -> Start | None:
    """The model that a training starts from; None for fresh weights.

    Args:
        init: `FRESH`, `SHIPPED`, `AUTO` (`SHIPPED` where it fits, `FRESH` elsewhere) or a file.
        architecture, arguments, taxonomy, channels: of the network to train.
        tell: log why `AUTO` starts fresh.

    Raises:
        ModelFileError: not a model.
        InputError: a model of another network, or of other classes.
    """
    path = _named(init)
    if path is None:
        return None
    start = Start(path, *model_file.load(path))
    misfit = _misfit(start.metadata, architecture, arguments, taxonomy, channels)
    if misfit is None:
        return start
    if init != AUTO:
        raise InputError(f"init: {path} {misfit}")
    if tell:
        log.info("starting from nothing, the package's model does not fit: it %s", misfit)
    return None


@torch.no_grad()
def start_from(start: Start, network: SegmentationNetwork, taxonomy: Taxonomy) -> None:
    """Give a network the weights of a model that fits. Classes are matched by name; those that the
    model hasn't keep their fresh weights. The age of points, the last input, which a model of one
    sweep does not read, at first counts for nothing.

    Args:
        network: with fresh weights.
        taxonomy: of the network.
    """
    weights, own = start.network.state_dict(), network.state_dict()
    known = start.metadata.taxonomy
    shared = [name for name in taxonomy.names if name in known.names]
    ours = [taxonomy.id_of(name) for name in shared]
    theirs = [known.id_of(name) for name in shared]
    for name in ("classifier.weight", "classifier.bias"):
        rows = own[name].clone()
        rows[ours] = weights[name][theirs]
        weights[name] = rows
    for name, value in own.items():
        if value.shape != (old := weights[name]).shape:
            weights[name] = _with_age(old, value)
    network.load_state_dict(weights)


def _with_age(old: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
    """Weights [R, K] or statistics [K] of K inputs, for one input more."""
    # Statistics of an input that is not known yet are the fresh ones.
    more = torch.zeros_like(fresh) if fresh.ndim == 2 else fresh.clone()
    more[..., : old.shape[-1]] = old
    return more


def known_recordings(metadata: ModelMetadata) -> set[str]:
    """Names of the recordings that a model has learned from, and those that it started from had."""
    origin = metadata.provenance
    before = (origin.initial or {}).get("recordings", [])
    return {*origin.recordings, *map(str, before if isinstance(before, list) else [])}


def _named(init: str) -> Path | None:
    if init == FRESH:
        return None
    return DEFAULT_MODEL if init in (SHIPPED, AUTO) else Path(init).expanduser()


def _weights(architecture: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that make a network another one: all but those about what it is shown."""
    every = check_arguments(architecture, arguments)
    shown = {"voxel_size", "elevation", "extra_inputs"}
    return {name: every[name] for name in every.keys() - shown}


def _misfit(
    found: ModelMetadata,
    architecture: str,
    arguments: dict[str, Any],
    taxonomy: Taxonomy,
    channels: Sequence[ChannelInput],
) -> str | None:
    """Why a network can't start from a model; None where it can."""
    if found.architecture != architecture or (
        _weights(architecture, found.arguments) != _weights(architecture, arguments)
    ):
        return "is another network than the one to train; choose the same size"
    if found.arguments.get("voxel_size") != arguments.get("voxel_size"):
        return (
            f"sees voxels of {found.arguments['voxel_size']} m, the network to train "
            f"{arguments['voxel_size']}; set voxel_size={found.arguments['voxel_size']}"
        )
    theirs, ours = ([each.name for each in inputs] for inputs in (found.channels, channels))
    if theirs != ours and [*theirs, SWEEP_AGE] != ours:
        return f"reads the channels {listed(theirs)}, the network to train {listed(ours)}"
    if not set(taxonomy.names) & set(found.taxonomy.names):
        return (
            f"knows none of the classes {quoted(taxonomy.names)}; it has "
            f"{quoted(found.taxonomy.names)}"
        )
    return None
