"""Compiled kernels for a CPU, built with g++ at first use and kept in the user's cache.

Where they can't be had plain torch does the same work, slower; the log says so once, with the
reason. `HASKD_NATIVE=0` in the environment asks for plain torch.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
SOURCES = (
    "convolution.cpp",
    "geometry.cpp",
    "grouping.cpp",
    "norm.cpp",
    "points.cpp",
    "scores.cpp",
    "weight_gradient.cpp",
)
HEADERS = ("lanes.h", "threads.h", "tiles.h")

# Not -ffast-math: it makes the whole process treat denormal numbers as 0.
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-pthread")

_lock = threading.Lock()

# Arguments of each function; most return nothing.
_pointer, _int, _long, _float = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float
_SIGNATURES = {
    "haskd_convolve": (
        *(_pointer, _long, _long, _pointer, _long, _long, _pointer, _pointer),
        *(_long, _int, _long, _int, _int, _int),
        *(_pointer, _pointer, _pointer, _int, _pointer, _long),
        *(_pointer, _pointer, _pointer, _int, _int),
    ),
    "haskd_pack": (_pointer, _long, _int, _long, _int, _pointer, _int),
    "haskd_bf16_pays": (),
    "haskd_weight_gradient": (
        *(_pointer, _long, _pointer, _long, _int),
        *(_pointer, _pointer, _pointer, _int, _long, _pointer, _int),
    ),
    "haskd_group": (_pointer, _long, _int, _pointer, _pointer, _pointer, _pointer),
    "haskd_submanifold_pairs": (_pointer, _long, _pointer, _pointer, _pointer, _pointer, _int),
    "haskd_by_octant": (_pointer, _pointer, _long, _int, _pointer, _pointer, _pointer),
    "haskd_moments": (_pointer, _long, _long, _pointer, _pointer, _int),
    "haskd_affine": (
        *(_pointer, _long, _long, _pointer, _pointer, _pointer, _int, _pointer, _int),
    ),
    "haskd_norm_backward": (
        *(_pointer, _pointer, _pointer, _long, _long, _pointer, _pointer, _pointer),
        *(_pointer, _pointer, _pointer, _pointer, _int),
    ),
    "haskd_choose": (
        *(_pointer, _long, _long, _int, _float, _float, _float, _float, _pointer, _pointer),
    ),
    "haskd_voxel_keys": (*(_pointer, _pointer, _long, _float, _int, _pointer, _pointer, _int),),
    "haskd_pool": (_pointer, _long, _long, _pointer, _pointer, _long, _pointer, _int),
    "haskd_classify": (_pointer, _long, _long, _float, _pointer, _pointer, _pointer, _int),
}


class Unavailable(Exception):
    """Why there are no compiled kernels here."""


def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where plain torch has to do."""
    with _lock:
        return _library()


@functools.cache
def _library() -> ctypes.CDLL | None:
    if os.environ.get("HASKD_NATIVE") == "0":
        log.info("HASKD_NATIVE=0: the sparse engine runs on plain torch")
        return None
    try:
        return load(build(native_flags(), cache_folder()))
    except Unavailable as reason:
        log.warning(
            "no compiled kernels, the sparse engine runs on plain torch, slower: %s", reason
        )
        return None


def cache_folder() -> Path:
    """Where compiled kernels are kept: `haskd_ros` in XDG_CACHE_HOME, or in ~/.cache.

    Raises:
        Unavailable: neither is known.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "haskd_ros"
    except RuntimeError as error:
        raise Unavailable(f"no folder to keep them in, set XDG_CACHE_HOME: {error}") from error


def native_flags() -> tuple[str, ...]:
    """Compiler flags for this machine's instruction set, and for torch's own OpenMP library where
    that is there: a second one would fight with it over the cores."""
    tuned = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
    openmp = ("-fopenmp",) if hasattr(ctypes.CDLL(None), "GOMP_parallel") else ()
    return (*FLAGS, tuned, *openmp)


def _cpu() -> str:
    """What the code generated for this CPU depends on."""
    about = {platform.machine()}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "flags", "Features", "CPU part", "CPU implementer")):
                about.add(line)
    except OSError:
        about.add(platform.processor())
    return "\n".join(sorted(about))


def build(flags: tuple[str, ...], folder: Path) -> Path:
    """The compiled library for these flags on this CPU, from `folder` or built into it.

    Several processes may build at once: each writes a file of its own and then renames it.

    Raises:
        Unavailable: no compiler, or it failed, or the folder can't be written.
    """
    wanted = os.environ.get("CXX", "g++")
    compiler = shutil.which(wanted)
    digest = hashlib.sha256("\0".join((str(compiler), *flags, _cpu())).encode())
    started = time.perf_counter()
    try:
        for name in (*HEADERS, *SOURCES):
            digest.update((FOLDER / name).read_bytes())
        target = folder / f"kernels-{digest.hexdigest()[:20]}.so"
        if target.exists():
            return target
        if compiler is None:
            raise Unavailable(f"no C++ compiler {wanted}")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as scratch:
            objects = [f"{scratch}/{name}.o" for name in SOURCES]
            commands = [
                [compiler, *flags, "-c", str(FOLDER / name), "-o", made]
                for name, made in zip(SOURCES, objects)
            ]
            with ThreadPoolExecutor(os.cpu_count()) as side_by_side:
                # Asked for one by one, so that the first failure is told.
                for _ in side_by_side.map(_run, commands):
                    pass
            # Linked without -fopenmp: its functions are then those that torch has loaded.
            _run([compiler, "-shared", "-pthread", *objects, "-o", f"{scratch}/kernels.so"])
            os.replace(f"{scratch}/kernels.so", target)
    except OSError as error:
        raise Unavailable(str(error)) from error
    log.info("compiled kernels built in %.1f s: %s", time.perf_counter() - started, target)
    return target


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]} did not end within {error.timeout} s") from error
    if done.returncode:
        first = (done.stderr.strip() or "no message").splitlines()[0]
        raise Unavailable(f"{command[0]} failed: {first}")


def load(path: Path) -> ctypes.CDLL:
    """A compiled library with its functions declared.

    Raises:
        Unavailable: the system refuses it.
    """
    try:
        kernels = ctypes.CDLL(str(path))
    except OSError as error:
        raise Unavailable(str(error)) from error
    for name, arguments in _SIGNATURES.items():
        function = getattr(kernels, name)
        function.argtypes, function.restype = arguments, None
    for name in ("haskd_group", "haskd_choose", "haskd_submanifold_pairs", "haskd_pack"):
        getattr(kernels, name).restype = _long
    kernels.haskd_voxel_keys.restype = _float
    kernels.haskd_bf16_pays.restype = _int
    return kernels
