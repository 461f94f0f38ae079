"""The tensors of a `sealed_file`, written and read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from haskd_ros import json_text
from haskd_ros.errors import InputError
from haskd_ros.sealed_file import CHECKSUM, UNSET, Sealed
from haskd_ros.text import quoted


def encode(tensors: Mapping[str, torch.Tensor], key: str, document: Mapping[str, Any]) -> bytes:
    """The bytes of a file.

    Args:
        key: of the metadata entry.
        document: JSON values.

    Raises:
        InputError: a document longer than a file may have.
    """
    # In front, so that no value before it looks like the place of the checksum.
    text = json.dumps({CHECKSUM: UNSET, **dict(sorted(document.items()))})
    if len(text) > json_text.MAX_CHARACTERS // 2:  # it stands in a string, with its quotes escaped
        raise InputError(
            f"a header of {len(text):,} characters, allowed are {json_text.MAX_CHARACTERS // 2:,}"
        )
    on_cpu = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = to_bytes(on_cpu, {key: text})
    return content.replace(UNSET.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


def tensors_of(sealed: Sealed) -> dict[str, torch.Tensor]:
    """All tensors of a file, on the CPU.

    Raises:
        InputError: what the header says doesn't fit the content.
    """
    try:
        return from_bytes(sealed.content)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"damaged or no model file ({quoted(str(error))})") from error
