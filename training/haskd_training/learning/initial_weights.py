"""What a training starts from: fresh weights, or those of a model that has seen other streets."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_file import ModelFileError
from haskd_ros.model_header import ModelMetadata
from haskd_ros.models import SegmentationNetwork
from haskd_ros.segmenter import DEFAULT_MODEL
from haskd_ros.taxonomy import Taxonomy
from haskd_ros.text import quoted
from haskd_training.core.file_digests import file_digest

log = logging.getLogger(__name__)

FRESH, SHIPPED, AUTO = "fresh", "shipped", "auto"


def initial_model(init: str) -> Path | None:
    """The model file that a training may start from; None for fresh weights.

    Args:
        init: `FRESH`, `SHIPPED`, `AUTO` (`SHIPPED` where it fits, `FRESH` elsewhere) or a file.
    """
    if init == FRESH:
        return None
    return DEFAULT_MODEL if init in (SHIPPED, AUTO) else Path(init).expanduser()


def initial_digest(init: str) -> str | None:
    """Of the content of the file; None for fresh weights, and where there is no such file."""
    path = initial_model(init)
    return None if path is None else file_digest(path)


def with_initial_weights(
    init: str, network: SegmentationNetwork, arguments: dict[str, Any], taxonomy: Taxonomy
) -> ModelMetadata | None:
    """Give a fresh network the weights that its training starts from; arguments and errors as of
    `start_from`.

    Returns:
        The header of the model that they are of; None where they stay fresh.
    """
    path = initial_model(init)
    if path is None:
        return None
    try:
        return start_from(path, network, arguments, taxonomy)
    except ModelFileError:
        raise
    except InputError as error:
        if init != AUTO:
            raise
        log.info("training starts from nothing, not from the package's model: %s", error)
        return None


@torch.no_grad()
def start_from(
    path: Path, network: SegmentationNetwork, arguments: dict[str, Any], taxonomy: Taxonomy
) -> ModelMetadata:
    """Give a network the weights of a model. Classes are matched by name; those that the model
    hasn't keep their fresh weights.

    Args:
        network: with fresh weights.
        arguments: of its architecture.
        taxonomy: of the network.

    Returns:
        The model's header.

    Raises:
        ModelFileError: not a model.
        InputError: a model of another network.
    """
    model, metadata = model_file.load(path)
    voxel_size = metadata.arguments.get("voxel_size")
    if voxel_size != arguments.get("voxel_size"):
        raise InputError(
            f"init: {path} sees voxels of {voxel_size} m, the network to train "
            f"{arguments.get('voxel_size')}; set voxel_size={voxel_size}"
        )
    weights = model.state_dict()
    own = network.state_dict()
    known = {
        taxonomy.id_of(name): metadata.taxonomy.id_of(name)
        for name in taxonomy.names
        if name in metadata.taxonomy.names
    }
    if not known:
        raise InputError(
            f"init: {path} knows none of the classes {quoted(taxonomy.names)}; it has "
            f"{quoted(metadata.taxonomy.names)}"
        )
    for name in ("classifier.weight", "classifier.bias"):
        rows = own[name].clone()
        if rows.shape[1:] == weights[name].shape[1:]:
            rows[list(known)] = weights[name][list(known.values())]
        weights[name] = rows
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"init: {path} is a {metadata.architecture} of other channels than the one to train; "
            "choose the same size"
        ) from error
    return metadata
