"""A trained network in one file: safetensors weights, and in its header all that inference needs.

The header's one metadata entry, `haskd_ros`, is a JSON document; no pickle is ever read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.models import SegmentationNetwork, build
from haskd_ros.native import load_kernels
from haskd_ros.taxonomy import Taxonomy

HEADER_KEY = "haskd_ros"
FORMAT = 1


class ModelFileError(InputError):
    """A file that is no model of this package, or a damaged one."""


@dataclass(frozen=True)
class Intensity:
    """How a cloud's intensity becomes the network's input.

    Attributes:
        scale: raw value that stands for 1.0 (255 for most sensors).
        mean: of the training clouds, 0..1; stands in where a cloud has no intensity.
        required: refuse clouds without intensity instead.
    """

    scale: float
    mean: float
    required: bool = False


@dataclass(frozen=True)
class ModelMetadata:
    """Everything about a model but its weights.

    Attributes:
        architecture: key of `models.ARCHITECTURES`.
        arguments: of the architecture, without `classes`; voxel_size in m among them.
        taxonomy: class names and colours; a class's index is its column of the scores.
        intensity: input normalisation.
        max_range: m; points further from the sensor were not trained on and get no label.
        temperature: divides the logits before the softmax.
        sensor: statistics of the training clouds (see the cache's `statistics`); of a calibrated
            model also `entropy`, the mean over the calibration points in nats.
        provenance: what the model was trained on, with what, and whom to credit.
    """

    architecture: str
    arguments: dict[str, Any]
    taxonomy: Taxonomy
    intensity: Intensity
    max_range: float
    temperature: float = 1.0
    sensor: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (
            ("intensity scale", self.intensity.scale),
            ("max_range", self.max_range),
            ("temperature", self.temperature),
        ):
            if not 0 < value < math.inf:
                raise InputError(f"model metadata: {name} is {value}, must be above 0 and finite")

    @property
    def voxel_size(self) -> float:
        """Edge of a voxel in m."""
        return float(self.arguments["voxel_size"])

    def to_json(self) -> str:
        document = asdict(self) | {"taxonomy": self.taxonomy.to_json(), "format": FORMAT}
        return json.dumps(document, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelMetadata:
        """The inverse of `to_json`.

        Raises:
            InputError: the text is not what `to_json` writes, or of a newer format.
        """
        try:
            document = json.loads(text)
            if (version := document.pop("format")) != FORMAT:
                raise InputError(f"model format {version}, this version reads format {FORMAT}")
            document["taxonomy"] = Taxonomy.from_json(document["taxonomy"])
            document["intensity"] = Intensity(**document["intensity"])
            return cls(**document)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise InputError(f"model header not understood: {error!r}") from error


def save(path: Path | str, network: SegmentationNetwork, metadata: ModelMetadata) -> None:
    """Write a model; what stood at `path` stays whole until the new file is complete.

    Raises:
        InputError: the file can't be written.
    """
    path = Path(path)
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, to_bytes(weights, {HEADER_KEY: metadata.to_json()}))
    except OSError as error:
        raise InputError(f"model {path} can't be written: {error.strerror}") from error


def load(path: Path | str) -> tuple[SegmentationNetwork, ModelMetadata]:
    """Read a model onto the CPU, in eval mode, and load the compiled kernels that it uses there.

    Raises:
        ModelFileError: no such file, not a model of this package, truncated, damaged, of another
            format, or weights that don't fit the architecture; one line that names the file.
    """
    return decode(read(path), path)


def read(path: Path | str) -> bytes:
    """The bytes of a model file.

    Raises:
        ModelFileError: no such file, or it can't be read.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"model {path}: no such file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"model {path} can't be read: {error}") from error


def decode(content: bytes, path: Path | str) -> tuple[SegmentationNetwork, ModelMetadata]:
    """A model from the bytes of its file; as `load`.

    Args:
        path: where they were read from, for messages.
    """
    try:
        weights = from_bytes(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a dtype that torch doesn't have
        raise ModelFileError(f"model {path}: damaged or no model file ({error})") from error
    header = _header(content)
    if HEADER_KEY not in header:
        raise ModelFileError(f"model {path}: a safetensors file, but not of haskd_ros")
    try:
        metadata = ModelMetadata.from_json(header[HEADER_KEY])
        network = build(metadata.architecture, classes=len(metadata.taxonomy), **metadata.arguments)
    except InputError as error:
        raise ModelFileError(f"model {path}: {error}") from error
    _check(path, weights, network.state_dict())
    network.load_state_dict(weights)
    load_kernels()
    return network.eval(), metadata


def _header(content: bytes) -> Mapping[str, str]:
    """The metadata of a safetensors file: JSON behind its length, 64 bits, little-endian."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] | None = json.loads(content[8 : 8 + length]).get("__metadata__")
    return metadata or {}


def _check(
    path: Path | str, weights: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> None:
    if different := sorted(weights.keys() ^ expected.keys()):
        raise ModelFileError(
            f"model {path}: weights don't fit the architecture: {len(different)} names differ, "
            f"the first is {different[0]}"
        )
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            raise ModelFileError(
                f"model {path}: weight {name} has shape {list(value.shape)}, "
                f"the architecture wants {list(expected[name].shape)}"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelFileError(f"model {path}: weight {name} is not finite")
