"""Tensors and a JSON document in one safetensors file, with a checksum over all of it.

The document is the one metadata entry (safetensors writes several in random order, and equal input
is to give equal bytes). Its `sha256` is that of the whole file with zeros in the checksum's place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from haskd_ros import json_text
from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_ros.validation import STRICT, first_problem

MAX_BYTES = 1 << 30
"""Of a file; the weights of the largest of `models.SIZES` have 50 million."""

CHECKSUM = "sha256"
_UNSET = "0" * 64
_LENGTH = 8
"""Bytes that tell the header's length."""

_DTYPES = {"F32": torch.float32, "I64": torch.int64}
"""Of weights, and of how many batches a norm has seen."""


Size = Annotated[int, Field(strict=True, ge=0)]


@dataclass(frozen=True, config=STRICT)
class Entry:
    """What a file's header says of a tensor."""

    dtype: str
    shape: tuple[Size, ...]
    data_offsets: tuple[Size, Size]

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """None: one that no model has."""
        return _DTYPES.get(self.dtype)


def encode(tensors: Mapping[str, torch.Tensor], key: str, document: Mapping[str, Any]) -> bytes:
    """The bytes of a file.

    Args:
        key: of the metadata entry.
        document: JSON values.

    Raises:
        InputError: a document longer than a file may have.
    """
    # In front, so that no value before it looks like the place of the checksum.
    text = json.dumps({CHECKSUM: _UNSET, **dict(sorted(document.items()))})
    if len(text) > json_text.MAX_CHARACTERS // 2:  # it stands in a string, with its quotes escaped
        raise InputError(
            f"a header of {len(text):,} characters, allowed are {json_text.MAX_CHARACTERS // 2:,}"
        )
    on_cpu = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = to_bytes(on_cpu, {key: text})
    return content.replace(_UNSET.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


class Sealed:
    """A file's header; nothing of its tensors has been taken out yet.

    Attributes:
        document: as given to `encode`.
        entries: the tensors by name.

    Raises:
        InputError: not such a file, truncated, or too large.
    """

    def __init__(self, content: bytes, key: str) -> None:
        header = _header(content)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not isinstance(metadata.get(key), str):
            raise InputError(f"a safetensors file, but not of {key}")
        document = json_text.parse(metadata[key])
        if not isinstance(document, dict):
            raise InputError(f"damaged: the entry {key} is no JSON object")
        self._content = content
        self._checksum = document.pop(CHECKSUM, None)
        self.document: dict[str, Any] = document
        self.entries = {name: _entry(name, value) for name, value in header.items()}

    def verify(self) -> None:
        """Check the checksum.

        Raises:
            InputError: some bit is not as it was written.
        """
        found = self._checksum
        place = -1
        if isinstance(found, str) and len(found) == len(_UNSET) and found.isascii():
            place = self._content.find(found.encode())
        if place < 0:
            raise InputError(f"damaged: no checksum, {CHECKSUM} is {quoted(found)}")
        view = memoryview(self._content)
        digest = hashlib.sha256(view[:place])
        digest.update(_UNSET.encode())
        digest.update(view[place + len(_UNSET) :])
        if digest.hexdigest() != found:
            raise InputError("damaged: its content doesn't match its checksum")

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of them, on the CPU.

        Raises:
            InputError: what the header says doesn't fit the content.
        """
        try:
            return from_bytes(self._content)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"damaged or no model file ({quoted(str(error))})") from error


def _header(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:_LENGTH], "little")
    if len(content) < _LENGTH or length > len(content) - _LENGTH:
        raise InputError("damaged or no model file (its header is not whole)")
    try:
        header = json_text.parse(content[_LENGTH : _LENGTH + length])
    except InputError as error:
        raise InputError(f"damaged or no model file (header: {error})") from error
    if not isinstance(header, dict):
        raise InputError("damaged or no model file (its header is no JSON object)")
    return header


_ENTRY = TypeAdapter(Entry)


def _entry(name: str, value: Any) -> Entry:
    try:
        return _ENTRY.validate_python(value)
    except ValidationError as error:
        raise InputError(
            f"damaged or no model file (tensor {quoted(name)}: {first_problem(error)})"
        ) from error
