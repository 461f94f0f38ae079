"""Tensors in a safetensors file that show damage: the header holds the checksum of each.

A flipped bit in a file of tensors is a number like any other; without a checksum nothing tells.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.text import shown
from haskd_training.core.checked_json import from_text, to_text

# One metadata entry: safetensors writes several in random order, and equal input is to give
# equal files.
METADATA = "haskd"

DAMAGE = (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError)
"""What reading a damaged file raises: of an unknown dtype safetensors asks numpy for it."""


def checksum(tensor: np.ndarray) -> int:
    """CRC-32 of a tensor's dtype, shape and content."""
    kind = zlib.crc32(f"{tensor.dtype.str} {tensor.shape}".encode())
    return zlib.crc32(np.asarray(tensor, order="C").reshape(-1).view(np.uint8).data, kind)


def check(tensor: np.ndarray, expected: int | None, name: str) -> np.ndarray:
    """The tensor, where it is the one whose checksum is known.

    Raises:
        ValueError: it isn't.
    """
    if checksum(tensor) != expected:
        raise ValueError(f"{name} is not what its checksum says")
    return tensor


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any] | None = None
) -> None:
    """Write tensors atomically.

    Args:
        header: JSON values, for `TensorFile.header`.
    """
    content = {
        # A file under the name of another is as wrong as a damaged one.
        "file": path.name,
        "header": dict(header or {}),
        "checksums": {name: checksum(tensor) for name, tensor in tensors.items()},
    }
    # Not by `ascontiguousarray`, which makes a vector of a scalar.
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    write_atomically(path, save(contiguous, {METADATA: to_text(content)}))


class TensorFile:
    """A file of `write_tensors`, open to read.

    Args:
        path: of it.
        remedy: what the user can do where it is damaged.

    Attributes:
        header: as it was written.
        names: of the tensors.

    Raises:
        InputError: it is missing or damaged, or was written under another name.
    """

    def __init__(self, path: Path, remedy: str) -> None:
        self.path, self._remedy = path, remedy
        try:
            self._file = cast("Any", safe_open(path, framework="numpy"))
            content = from_text((self._file.metadata() or {})[METADATA])
            if content["file"] != path.name:
                raise ValueError(f"it is a copy of {content['file']}")
        except DAMAGE as error:
            raise self._damage(error) from error
        self.header: dict[str, Any] = content["header"]
        self._checksums: dict[str, int] = content["checksums"]
        self.names = list(self._checksums)

    def read(self, name: str) -> np.ndarray:
        """A tensor.

        Raises:
            InputError: it is damaged, or there is none of this name.
        """
        try:
            return check(self._file.get_tensor(name), self._checksums.get(name), name)
        except DAMAGE as error:
            raise self._damage(error) from error

    def read_all(self) -> dict[str, np.ndarray]:
        """All tensors by name; errors as of `read`."""
        return {name: self.read(name) for name in self.names}

    def _damage(self, error: Exception) -> InputError:
        reason = f"no {error} in it" if isinstance(error, KeyError) else error
        return InputError(f"{self.path} is missing or damaged: {shown(reason)}; {self._remedy}")
