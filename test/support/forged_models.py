"""Model files that say something else than was trained, with a checksum that fits."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load, save

_CHECKSUM = re.compile(rb'(sha256\\": \\")[0-9a-f]{64}')


def resealed(content: bytes) -> bytes:
    """With the checksum of what it holds now."""
    unset = _CHECKSUM.sub(rb"\g<1>" + b"0" * 64, content, count=1)
    digest = hashlib.sha256(unset).hexdigest().encode()
    return _CHECKSUM.sub(rb"\g<1>" + digest, content, count=1)


def with_header(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """With the header of the safetensors file changed in place: `__metadata__` and the tensors."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return resealed(struct.pack("<Q", len(text)) + text + content[8 + length :])


def with_document(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """With the model's own document changed in place."""

    def change_entry(header: dict[str, Any]) -> None:
        document = json.loads(header["__metadata__"]["haskd_ros"])
        change(document)
        header["__metadata__"]["haskd_ros"] = json.dumps(document)

    return with_header(content, change_entry)


def with_text(content: bytes, text: str) -> bytes:
    """With other text in the place of the model's document."""
    return with_header(content, lambda header: header["__metadata__"].update(haskd_ros=text))


def with_tensor(content: bytes, name: str, value: torch.Tensor) -> bytes:
    """With one tensor changed or added."""
    (length,) = struct.unpack("<Q", content[:8])
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    return resealed(save(load(content) | {name: value}, metadata))


NONSENSE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an older format": (
        lambda d: d.update(format=1),
        "model format 1, this version reads format 2: train the model again",
    ),
    "a format that is none": (lambda d: d.update(format=["2"]), "model format ['2'], this"),
    "an unknown architecture": (
        lambda d: d.update(architecture="resnet"),
        "unknown architecture 'resnet'; there are sparse_unet",
    ),
    "an architecture that is a list": (lambda d: d.update(architecture=[]), "architecture:"),
    "other channels than the weights'": (
        lambda d: d["arguments"].update(channels=[4, 16]), "has shape",
    ),
    "channels without end": (
        lambda d: d["arguments"].update(channels=[4, 20000]), "channels.1: input should be less",
    ),
    "levels without end": (
        lambda d: d["arguments"].update(channels=[1] * 40), "channels: tuple should have at most 8",
    ),
    "no levels": (lambda d: d["arguments"].update(channels=[]), "channels: tuple should have at"),
    "half a channel": (lambda d: d["arguments"].update(channels=[4, 8.5]), "channels.1:"),
    "true as a number": (lambda d: d["arguments"].update(channels=[True, 8]), "channels.0:"),
    "negative voxels": (
        lambda d: d["arguments"].update(voxel_size=-0.2), "voxel_size: input should be greater",
    ),
    "voxels of an atom": (lambda d: d["arguments"].update(voxel_size=1e-9), "voxel_size:"),
    "a voxel size in words": (lambda d: d["arguments"].update(voxel_size="0.5"), "voxel_size:"),
    "arguments of nothing": (lambda d: d["arguments"].update(backend="auto"), "backend:"),
    "no intensity": (lambda d: d.pop("intensity"), "intensity: field required"),
    "a key that nobody knows": (lambda d: d.update(shape=1), "shape: unexpected keyword argument"),
    "no intensity scale": (
        lambda d: d["intensity"].update(scale=1e-300), "intensity.scale: input should be greater",
    ),
    "a mean in words": (lambda d: d["intensity"].update(mean="0.1"), "intensity.mean:"),
    "a temperature of 0": (lambda d: d.update(temperature=0), "temperature: input should be"),
    "a negative range": (lambda d: d.update(max_range=-1.0), "max_range: input should be greater"),
    "a range to the moon": (lambda d: d.update(max_range=3.8e8), "max_range: input should be less"),
    "inputs never seen": (
        lambda d: d["input_range"].update(height={"min": 2.0, "max": 1.0}),
        "input_range.height: min (2.0) is above max (1.0)",
    ),
    "inputs beyond float32": (
        lambda d: d["input_range"].update(height={"min": 0.0, "max": 1e300}),
        "input_range.height.max: input should be less than or equal to 1000000000",
    ),
    "no input range": (lambda d: d.pop("input_range"), "input_range: field required"),
    "statistics that are a list": (lambda d: d.update(sensor=[]), "sensor: input should be"),
    "an entropy in words": (lambda d: d.update(sensor={"entropy": "low"}), "sensor.entropy:"),
    "percentiles that are none": (
        lambda d: d.update(sensor={"range_m": {"p5": 3.0, "median": 2.0, "p95": 4.0}}),
        "sensor.range_m: percentiles 3.0, 2.0, 4.0 don't ascend",
    ),
    "a provenance that is a list": (lambda d: d.update(provenance=[]), "provenance:"),
    "a recording that is a number": (
        lambda d: d.update(provenance={"recordings": [7]}), "provenance.recordings.0:",
    ),
    "a nameless class": (
        lambda d: d["taxonomy"]["classes"][0].update(name=" "), "class name ' ': wanted are 1 to",
    ),
    "a class name that steers a terminal": (
        lambda d: d["taxonomy"]["classes"][0].update(name="\x1b[2J"), "class name '\\x1b[2J'",
    ),
    "half a character in a class name": (
        lambda d: d["taxonomy"]["classes"][0].update(name="\ud800"), "characters that are none",
    ),
    "half a character in the provenance": (
        lambda d: d.update(provenance={"attribution": "\udfff"}), "characters that are none",
    ),
    "a class name as long as a book": (
        lambda d: d["taxonomy"]["classes"][0].update(name="a" * 100_000), "class name 'aaaa",
    ),
    "a class name that is a number": (
        lambda d: d["taxonomy"]["classes"][0].update(name=1), "taxonomy.classes.0.name:",
    ),
    "a colour out of the world": (
        lambda d: d["taxonomy"]["classes"][0].update(color=[0, 0, 256]), "not three values of 0 to",
    ),
    "one class": (lambda d: d["taxonomy"]["classes"].__delitem__(slice(1, 3)), "2 to 255 classes"),
    "another number of classes than the weights'": (
        lambda d: d["taxonomy"]["classes"].pop(), "weight classifier.",
    ),
}  # fmt: skip
"""Changes of a small model's document, and a part of the line by which each is refused."""

HOSTILE_TEXTS = [
    ("{", "no JSON"),
    ("[1, 2]", "is no JSON object"),
    ("[" * 100_000, "nested deeper than 16 levels"),
    ("[" * 20 + "]" * 20, "nested deeper than 16 levels"),
    ('{"format": ' + "9" * 5000 + "}", "no JSON"),
    ('{"temperature": NaN}', "JSON with NaN, which is no number"),
    ('{"temperature": -Infinity}', "JSON with -Infinity, which is no number"),
    ('{"format": 1, "format": 2}', "the key 'format' stands twice"),
    ('{"format": 2}', "no checksum"),
]
"""What may stand in the place of the document, and a part of the line by which it is refused."""
