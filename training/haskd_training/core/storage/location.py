"""Where files and folders lie: in this machine's file system, or in object stores by URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_ros.text import shown

_URL = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]*)://(?P<place>.*)", re.DOTALL)
_COLLAPSED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""What `Path` makes of a URL."""


@dataclass(frozen=True)
class Url:
    """A file or folder in an object store, as `s3://bucket/cache`; `location` makes it."""

    text: str

    @property
    def name(self) -> str:
        """Its last part."""
        return self.text.rpartition("/")[2]

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.text}/{name}")

    def __str__(self) -> str:
        return self.text


Location = Path | Url


def location(text: str | Path | Url) -> Location:
    """What a text names: a URL, or a path; `file://` is a path too.

    Raises:
        InputError: a URL with a password, or of nothing in particular.
    """
    if not isinstance(text, str):
        return text
    found = _URL.fullmatch(text)
    if found is None:
        return Path(text)
    protocol, place = found["protocol"].lower(), found["place"].rstrip("/")
    if protocol in ("file", "local"):
        return Path(place)
    if not place:
        raise InputError(f"{shown(text)} names no bucket and folder, as s3://bucket/folder does")
    if "@" in place.partition("/")[0]:
        raise InputError(
            f"a {protocol}:// URL with a name or password in it, which reports would show; give "
            "credentials as the store's own tools take them"
        )
    return Url(f"{protocol}://{place}")


def check_is_folder(path: Path) -> None:
    """Check that a folder to work in is none in a store, which has neither locks nor renames.

    Raises:
        InputError: it was given as a URL.
    """
    if _COLLAPSED.match(str(path)):
        raise InputError(
            f"{shown(path)} is in an object store, where nothing can be locked or renamed; choose "
            "a folder here, or on a file system that all machines share"
        )
