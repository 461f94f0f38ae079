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
from haskd_ros.model_header import ModelMetadata, check_format
from haskd_ros.models import SegmentationNetwork, build
from haskd_ros.native import load_kernels
from haskd_ros.sealed_tensors import MAX_BYTES, Sealed, encode
from haskd_ros.text import quoted

HEADER_KEY = "haskd_ros"

LARGEST_WEIGHT = 1e12
"""Magnitude; up to here, the products that folding a batch norm computes are finite."""


class ModelFileError(InputError):
    """A file that is no model of this package, or a damaged one."""


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


def read(path: Path | str) -> bytes:
    """The bytes of a model file.

    Raises:
        ModelFileError: no such file, or it can't be read, or is too large for a model.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ModelFileError(f"model {path}: no such file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ModelFileError(f"model {path}: {size:,} bytes, allowed are {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"model {path} can't be read: {error}") from error


def decode(content: bytes, path: Path | str) -> tuple[SegmentationNetwork, ModelMetadata]:
    """A model from the bytes of its file; as `load`.

    Args:
        path: where they were read from, for messages.
    """
    try:
        sealed = Sealed(content, HEADER_KEY)
        check_format(sealed.document)
        sealed.verify()
        metadata = ModelMetadata.from_document(sealed.document)
        with torch.device("meta"):
            network = build(
                metadata.architecture, classes=len(metadata.taxonomy), **metadata.arguments
            )
        restore(network, sealed)
        network.limit_inputs(metadata.input_limits)
    except InputError as error:
        raise ModelFileError(f"model {path}: {error}") from error
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
        if entry.torch_dtype != wanted.dtype:
            raise InputError(
                f"weight {name} is of type {quoted(entry.dtype)}, wanted {wanted.dtype}"
            )
    weights = sealed.tensors()
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
