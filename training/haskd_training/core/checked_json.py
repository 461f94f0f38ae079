"""JSON documents that show damage: a file begins with the checksum of all that follows it.

{"checksum": "1f0a93c4", ...}   CRC-32, in hexadecimal digits, of all bytes behind its quote
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.text import shown

_KEY = "checksum"
_BEGIN = f'{{"{_KEY}": "'
_LENGTH = len(_BEGIN) + 8 + 1


def to_text(document: Mapping[str, Any], indent: int | None = None) -> str:
    """A document of plain JSON values with its checksum, on one line without `indent`."""
    plain = json.dumps(document, indent=indent)
    rest = f",{plain[1:]}" if document else plain[1:]
    return _beginning(rest.encode()) + rest


def from_text(text: bytes | str) -> dict[str, Any]:
    """The document that `to_text` wrote.

    Raises:
        ValueError: it is damaged, or has no checksum.
    """
    octets = text.encode() if isinstance(text, str) else text
    head, rest = octets[:_LENGTH], octets[_LENGTH:]
    if not head.startswith(_BEGIN.encode()):
        raise ValueError("it doesn't begin with a checksum")
    if head != _beginning(rest).encode():
        raise ValueError("its content is not what its checksum says")
    document: dict[str, Any] = json.loads(octets)
    del document[_KEY]
    return document


def write_json(path: Path, document: Mapping[str, Any], indent: int | None = None) -> None:
    """Write a document atomically."""
    write_atomically(path, to_text(document, indent).encode())


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The document in a file.

    Args:
        remedy: what the user can do where it is damaged.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        return from_text(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or damaged: {shown(error)}; {remedy}") from error


def _beginning(rest: bytes) -> str:
    return f'{_BEGIN}{zlib.crc32(rest):08x}"'
