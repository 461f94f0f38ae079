"""What a model file says of itself, before anything is done with its weights. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_ros.model_header import ModelMetadata, check_format
from haskd_ros.sealed_file import MAX_BYTES, Sealed

HEADER_KEY = "haskd_ros"


class ModelFileError(InputError):
    """A file that is no model of this package, or a damaged one."""


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


def open_sealed(content: bytes) -> tuple[Sealed, ModelMetadata]:
    """A model file whose checksum was found right, and its header.

    Raises:
        InputError: not a model of this package, truncated, damaged, of another format, or a header
            that makes no sense.
    """
    sealed = Sealed(content, HEADER_KEY)
    check_format(sealed.document)
    sealed.verify()
    return sealed, ModelMetadata.from_document(sealed.document)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Within it, what is wrong with a model says which file it was read from."""
    try:
        yield
    except InputError as error:
        raise ModelFileError(f"model {path}: {error}") from error
