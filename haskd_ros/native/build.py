"""Compiles the kernels with a C++ compiler and keeps them in the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
SOURCES = (
    "convolution.cpp",
    "grouping.cpp",
    "kernel_map.cpp",
    "layouts.cpp",
    "norm.cpp",
    "points.cpp",
    "scores.cpp",
    "weight_gradient.cpp",
)
HEADERS = ("arguments.h", "lanes.h", "threads.h", "tiles.h")

# Not -ffast-math: it makes the whole process treat denormal numbers as 0.
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-pthread")


class Unavailable(Exception):
    """Why there are no compiled kernels here."""


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
    name = os.environ.get("CXX", "g++")
    compiler = shutil.which(name)
    digest = hashlib.sha256("\0".join((str(compiler), *flags, _cpu())).encode())
    started = time.perf_counter()
    try:
        for source in (*HEADERS, *SOURCES):
            digest.update((FOLDER / source).read_bytes())
        target = folder / f"kernels-{digest.hexdigest()[:20]}.so"
        if target.exists():
            return target
        if compiler is None:
            raise Unavailable(f"no C++ compiler {name}")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as scratch:
            objects = [f"{scratch}/{source}.o" for source in SOURCES]
            commands = [
                [compiler, *flags, "-c", str(FOLDER / source), "-o", target_object]
                for source, target_object in zip(SOURCES, objects)
            ]
            with ThreadPoolExecutor(os.cpu_count()) as compilers:
                # Read one by one, so that the first failure is raised.
                for _ in compilers.map(_run, commands):
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
