"""A JSON document beside tensors in one safetensors file, with a checksum over all of it; what is
not read here are the tensors, see `sealed_tensors`. No torch.

The document is the one metadata entry (safetensors writes several in random order, and equal input
is to give equal bytes). Its `sha256` is that of the whole file with zeros in the checksum's place.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from haskd_ros import json_text
from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_ros.validation import STRICT, first_problem

MAX_BYTES = 1 << 30
"""Of a file; the weights of the largest of `models.SIZES` have 50 million."""

CHECKSUM = "sha256"
UNSET = "0" * 64
"""In the checksum's place while it is computed."""

_LENGTH = 8
"""Bytes that tell the header's length."""

Size = Annotated[int, Field(strict=True, ge=0)]


@dataclass(frozen=True, config=STRICT)
class Entry:
    """What a file's header says of a tensor."""

    dtype: str
    shape: tuple[Size, ...]
    data_offsets: tuple[Size, Size]


class Sealed:
    """A file's header; nothing of its tensors has been taken out yet.

    Attributes:
        content: of the file.
        document: without its checksum.
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
        self.content = content
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
        if isinstance(found, str) and len(found) == len(UNSET) and found.isascii():
            place = self.content.find(found.encode())
        if place < 0:
            raise InputError(f"damaged: no checksum, {CHECKSUM} is {quoted(found)}")
        view = memoryview(self.content)
        digest = hashlib.sha256(view[:place])
        digest.update(UNSET.encode())
        digest.update(view[place + len(UNSET) :])
        if digest.hexdigest() != found:
            raise InputError("damaged: its content doesn't match its checksum")


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
