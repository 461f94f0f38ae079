"""How a process comes to have a compiled library: the package's own, or one in the user's cache,
which is compiled where there is none yet."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from haskd_ros.native import prebuilt
from haskd_ros.native.build import Parts, build, native_flags
from haskd_ros.native.compiler import Unavailable
from haskd_ros.native.kept import discard
from haskd_ros.native.own_folder import Unsuitable, cache_folder
from haskd_ros.text import shown

log = logging.getLogger(__name__)

Open = Callable[[Path], ctypes.CDLL]
"""A library at a path with its functions declared; raises `Unavailable`."""


def is_allowed() -> bool:
    """Whether compiled code may be used: the user has not set HASKD_NATIVE=0."""
    return os.environ.get("HASKD_NATIVE") != "0"


def opened(parts: Parts, open_at: Open) -> ctypes.CDLL:
    """The library that is made of these parts.

    Raises:
        Unavailable, OSError: there is none, and none can be made; it says why.
    """
    if (packaged := _packaged(parts, open_at)) is not None:
        return packaged
    try:
        return _from(cache_folder(), parts, open_at)
    except Unsuitable as reason:
        log.warning(
            "compiled kernels are built for this process alone, anew at each start: %s; "
            "XDG_CACHE_HOME can name a folder that is only this user's",
            reason,
        )
        # Once loaded it needs no file.
        with TemporaryDirectory(prefix="haskd_ros-") as private:
            return _from(Path(private), parts, open_at)


def _packaged(parts: Parts, open_at: Open) -> ctypes.CDLL | None:
    """The one that came with the package; None where it has none that can be used."""
    try:
        path = prebuilt.find(parts)
        library = open_at(path) if path is not None else None
    except (Unavailable, OSError) as reason:
        log.warning("compiled kernels of the package are not used: %s", reason)
        return None
    if path is not None:
        log.info("compiled kernels of the package: %s", shown(path))
    return library


def _from(folder: Path, parts: Parts, open_at: Open) -> ctypes.CDLL:
    path = build(native_flags(parts), folder, parts)
    try:
        return open_at(path)
    except Unavailable as reason:
        log.warning("compiled kernels are built again, as they can't be loaded: %s", reason)
        try:
            discard(path)
        except OSError as error:
            raise Unsuitable(shown(error)) from error
        return open_at(build(native_flags(parts), folder, parts))


def declared(path: Path, signatures: Mapping[str, tuple[Sequence[Any], Any]]) -> ctypes.CDLL:
    """The library at a path with these functions: (types of the arguments, type of the result).

    Raises:
        Unavailable: the system refuses it, or a function is missing.
    """
    try:
        library = ctypes.CDLL(str(path))
        for name, (arguments, result) in signatures.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, result
    except (OSError, AttributeError) as error:
        raise Unavailable(str(error)) from error
    return library
