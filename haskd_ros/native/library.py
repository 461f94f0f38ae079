"""The one library of compiled kernels that a process has, and how it comes to have it."""

from __future__ import annotations

import ctypes
import logging
import threading
from pathlib import Path

# Before anything is compiled or loaded: both look for the OpenMP library that torch has loaded.
import torch  # noqa: F401

from haskd_ros.native.arguments import SIGNATURES, layouts
from haskd_ros.native.build import KERNELS
from haskd_ros.native.compiler import Unavailable
from haskd_ros.native.opening import declared, is_allowed, opened

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
    if not is_allowed():
        log.info("HASKD_NATIVE=0: the sparse engine runs on plain torch")
        return None
    try:
        return opened(KERNELS, open_library)
    except (Unavailable, OSError) as reason:
        log.warning(
            "no compiled kernels, the sparse engine runs on plain torch, slower: %s", reason
        )
        return None


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
    found = declared(path, SIGNATURES)
    theirs = found.haskd_layouts().decode()
    if theirs != layouts():
        raise Unavailable(f"{path} takes its arguments as {theirs!r}, not as {layouts()!r}")
    return found
