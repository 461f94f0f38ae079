"""A trained network in one file: safetensors weights, and in its header all that inference needs.

The header's one metadata entry, `haskd_ros`, is a JSON document; no pickle is ever read. Nothing is
built before header, checksum, names, types and shapes are what they should be.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.model_content import HEADER_KEY, naming, open_sealed, read
from haskd_ros.model_header import ModelMetadata
from haskd_ros.models import build
from haskd_ros.models.network import SegmentationNetwork
from haskd_ros.native import load_kernels
from haskd_ros.sealed_file import Sealed
from haskd_ros.sealed_tensors import encode, tensors_of
from haskd_ros.text import quoted

_DTYPES = {"F32": torch.float32, "I64": torch.int64}
"""Of weights, and of how many batches a norm has seen."""

LARGEST_WEIGHT = 1e12
"""Magnitude; up to here, the products that folding a batch norm computes are finite."""


def save(path: Path | str, network: SegmentationNetwork, metadata: ModelMetadata) -> None:
    """Write a model; what stood at `path` stays whole until the new file is complete.

    Raises:
        InputError: the file can't be written.
    """
    path = Path(path)
    content = encode(network.state_dict(), HEADER_KEY, metadata.to_document())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise InputError(f"model {path} can't be written: {error.strerror}") from error


def load(path: Path | str) -> tuple[SegmentationNetwork, ModelMetadata]:
    """Read a model onto the CPU, in eval mode, and load the compiled kernels that it uses there.

    Raises:
        ModelFileError: no such file, not a model of this package, truncated, damaged, of another
            format, a header that makes no sense, or weights that don't fit the architecture; one
            line that names the file.
    """
    return decode(read(path), path)


def decode(content: bytes, path: Path | str) -> tuple[SegmentationNetwork, ModelMetadata]:
    """A model from the bytes of its file; as `load`.

    Args:
        path: where they were read from, for messages.
    """
    with naming(path):
        sealed, metadata = open_sealed(content)
        with torch.device("meta"):
            network = build(
                metadata.architecture, classes=len(metadata.taxonomy), **metadata.arguments
            )
        restore(network, sealed)
        network.limit_inputs(metadata.input_limits)
    load_kernels()
    return network.eval(), metadata


def restore(network: nn.Module, sealed: Sealed) -> None:
    """Give a network that was built on torch's meta device its memory and its weights.

    Raises:
        InputError: weights of other names, types or shapes than the network's, or of values that
            it can't have.
    """
    expected = network.state_dict()
    if different := sorted(sealed.entries.keys() ^ expected.keys()):
        raise InputError(
            f"weights don't fit the architecture: {len(different)} names differ, "
            f"the first is {quoted(different[0])}"
        )
    for name, entry in sealed.entries.items():
        wanted = expected[name]
        if entry.shape != wanted.shape:
            raise InputError(
                f"weight {name} has shape {quoted(list(entry.shape))}, "
                f"the architecture wants {list(wanted.shape)}"
            )
        if _DTYPES.get(entry.dtype) != wanted.dtype:
            raise InputError(
                f"weight {name} is of type {quoted(entry.dtype)}, wanted {wanted.dtype}"
            )
    weights = tensors_of(sealed)
    for name, value in weights.items():
        _check_values(name, value)
    # Copies: what comes out of a file begins at any address.
    network.load_state_dict({name: value.clone() for name, value in weights.items()}, assign=True)
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_meta:
            raise InputError(f"the architecture has a tensor {name} that is not among its weights")


def _check_values(name: str, value: torch.Tensor) -> None:
    low, high = (float(bound) for bound in value.aminmax())
    if not math.isfinite(low) or not math.isfinite(high):  # one NaN makes both NaN
        raise InputError(f"weight {name} is not finite")
    if (largest := max(-low, high)) > LARGEST_WEIGHT:
        raise InputError(
            f"weight {name} is as large as {largest:.3g}, allowed is up to {LARGEST_WEIGHT:g}"
        )
    if name.endswith((".running_var", ".num_batches_tracked")) and low < 0:
        raise InputError(f"weight {name} is negative ({low:g})")
