"""The one library of compiled kernels that a process has, and how it comes to have it."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

# Before anything is compiled or loaded: both look for the OpenMP library that torch has loaded.
import torch  # noqa: F401

from haskd_ros.native import prebuilt
from haskd_ros.native.arguments import SIGNATURES, layouts
from haskd_ros.native.build import build, native_flags
from haskd_ros.native.compiler import Unavailable
from haskd_ros.native.kept import discard
from haskd_ros.native.own_folder import Unsuitable, cache_folder
from haskd_ros.text import shown

log = logging.getLogger(__name__)

_lock = threading.Lock()
_attempted = False
_loaded: ctypes.CDLL | None = None


def load_kernels() -> bool:
    """As `haskd_ros.native.load_kernels`."""
    global _attempted, _loaded
    with _lock:
        if not _attempted:
            _loaded = _open_own()
            _attempted = True
        return _loaded is not None


def _open_own() -> ctypes.CDLL | None:
    if os.environ.get("HASKD_NATIVE") == "0":
        log.info("HASKD_NATIVE=0: the sparse engine runs on plain torch")
        return None
    if (opened := _open_prebuilt()) is not None:
        return opened
    try:
        try:
            return _open_from(cache_folder())
        except Unsuitable as reason:
            log.warning(
                "compiled kernels are built for this process alone, anew at each start: %s; "
                "XDG_CACHE_HOME can name a folder that is only this user's",
                reason,
            )
            # Once loaded it needs no file.
            with TemporaryDirectory(prefix="haskd_ros-") as private:
                return _open_from(Path(private))
    except (Unavailable, OSError) as reason:
        log.warning(
            "no compiled kernels, the sparse engine runs on plain torch, slower: %s", reason
        )
        return None


def _open_prebuilt() -> ctypes.CDLL | None:
    """Those that came with the package; None where it has none that can be used."""
    try:
        path = prebuilt.find()
        opened = open_library(path) if path is not None else None
    except (Unavailable, OSError) as reason:
        log.warning("compiled kernels of the package are not used: %s", reason)
        return None
    if path is not None:
        log.info("compiled kernels of the package: %s", shown(path))
    return opened


def _open_from(folder: Path) -> ctypes.CDLL:
    path = build(native_flags(), folder)
    try:
        return open_library(path)
    except Unavailable as reason:
        log.warning("compiled kernels are built again, as they can't be loaded: %s", reason)
        try:
            discard(path)
        except OSError as error:
            raise Unsuitable(shown(error)) from error
        return open_library(build(native_flags(), folder))


def is_loaded() -> bool:
    """Whether this process has compiled kernels; compiles and loads nothing."""
    return _loaded is not None


def library() -> ctypes.CDLL:
    """The compiled kernels.

    Raises:
        RuntimeError: none are loaded.
    """
    if _loaded is None:
        raise RuntimeError("no compiled kernels are loaded: load_kernels() comes first")
    return _loaded


def open_library(path: Path) -> ctypes.CDLL:
    """A compiled library with its functions declared.

    Raises:
        Unavailable: the system refuses it, a function is missing, or it takes its arguments in
            another layout than `arguments` passes them.
    """
    try:
        opened = ctypes.CDLL(str(path))
        for name, (arguments, result) in SIGNATURES.items():
            function = getattr(opened, name)
            function.argtypes, function.restype = arguments, result
    except (OSError, AttributeError) as error:
        raise Unavailable(str(error)) from error
    theirs = opened.haskd_layouts().decode()
    if theirs != layouts():
        raise Unavailable(f"{path} takes its arguments as {theirs!r}, not as {layouts()!r}")
    return opened
