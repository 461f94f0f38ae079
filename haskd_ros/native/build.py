"""Compiles the kernels, and the runtime that is made of them, with a C++ compiler and keeps them in
the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_ros.native import kept
from haskd_ros.native.compiler import TIME_LIMIT_S, Unavailable, compiler_command, run
from haskd_ros.native.own_folder import Unsuitable, own_folder
from haskd_ros.text import shown

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Parts:
    """What a library is made from.

    Attributes:
        sources: with the flags of each beside those of all.
        headers: whatever else its content depends on.
        flags: of all sources.
        link_flags: of the linker.
        exports: the linker's list of the functions that others see, one of the headers; None: all
            of them.
        on_openmp: whether it takes OpenMP's functions from whoever loads it.
    """

    sources: Mapping[str, tuple[str, ...]]
    headers: tuple[str, ...]
    flags: tuple[str, ...] = ()
    link_flags: tuple[str, ...] = ()
    exports: str | None = None
    on_openmp: bool = False


HEADERS = (
    "arguments.h",
    "kernels.h",
    "lanes.h",
    "matrix_registers.h",
    "products.h",
    "threads.h",
    "tiles.h",
)

KERNELS = Parts(
    sources=dict.fromkeys(
        (
            "convolution.cpp",
            "grouping.cpp",
            "kernel_map.cpp",
            "layouts.cpp",
            "norm.cpp",
            "places.cpp",
            "points.cpp",
            "scores.cpp",
            "weight_gradient.cpp",
        ),
        (),
    ),
    headers=HEADERS,
    on_openmp=True,
)

# Not -ffast-math: it makes the whole process treat denormal numbers as 0.
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-pthread")


def native_flags(parts: Parts = KERNELS) -> tuple[str, ...]:
    """Compiler flags for this machine's instruction set, and for torch's own OpenMP library where
    that is there and used: a second one would fight with it over the cores."""
    return all_flags(parts, (tuning_flag(),), openmp=hasattr(ctypes.CDLL(None), "GOMP_parallel"))


def all_flags(
    parts: Parts, instruction_set: tuple[str, ...], *, openmp: bool = True
) -> tuple[str, ...]:
    """All compiler flags of a library.

    Args:
        openmp: whether there will be OpenMP's functions, for parts that take them.
    """
    on_openmp = ("-fopenmp",) if parts.on_openmp and openmp else ()
    return (*FLAGS, *instruction_set, *parts.flags, *on_openmp)


def tuning_flag() -> str:
    """Compiler flag for this machine's instruction set."""
    return "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"


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


def build(flags: tuple[str, ...], folder: Path, parts: Parts = KERNELS) -> Path:
    """The compiled library of these parts for these flags on this CPU, from `folder` or built into
    it.

    Several processes may build at once: the others wait for the first.

    Raises:
        Unsuitable: the folder is not this user's own or can't be written.
        Unavailable: no compiler, or it failed, or the disk is full.
    """
    compiler = compiler_command()
    started = time.perf_counter()
    try:
        name = _source_digest((*compiler, *flags), parts)
        folder = own_folder(folder)
        found = kept.find(folder, name)
        if found is not None:
            kept.remove_leftovers(folder)
            return found
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            raise Unsuitable(f"{shown(folder)} can't be written")
        with kept.locked(folder, wait_s=TIME_LIMIT_S):
            found = kept.find(folder, name)
            if found is not None:
                return found
            kept.discard_damaged(folder, name)
            log.info(
                "compiling kernels for this CPU with %s, once for all later starts",
                shown(compiler[0]),
            )
            with tempfile.TemporaryDirectory(prefix=kept.BUILDING, dir=folder) as scratch:
                content = compile_library(compiler, flags, Path(scratch), parts)
            target = kept.add(folder, name, content)
    except (OSError, InputError) as error:
        raise Unavailable(shown(error)) from error
    log.info("compiled kernels built in %.1f s: %s", time.perf_counter() - started, shown(target))
    return target


def _source_digest(command: tuple[str, ...], parts: Parts) -> str:
    """Names what a library is made from, by what, and for which machine."""
    # The compiler's file often has its version in its name, and where a home is shared between
    # systems, one's library may need a newer libc than the other has.
    system = (os.path.realpath(command[0]), *platform.libc_ver())
    return source_digest((*command, *system, _cpu()), parts)


def source_digest(words: Sequence[str], parts: Parts = KERNELS) -> str:
    """Names what a library is made from: the sources, and how, in words."""
    own = (flag for flags in (*parts.sources.values(), parts.link_flags) for flag in flags)
    digest = hashlib.sha256("\0".join((*words, *own)).encode(errors="surrogateescape"))
    for source in (*parts.headers, *parts.sources):
        digest.update((FOLDER / source).read_bytes())
    return digest.hexdigest()[:20]


def compile_library(
    compiler: Sequence[str], flags: Sequence[str], scratch: Path, parts: Parts = KERNELS
) -> bytes:
    """The library's content.

    Args:
        compiler: command.
        scratch: folder for its temporary files.

    Raises:
        Unavailable: the compiler failed.
        OSError: it can't be started, or `scratch` can't be written.
    """
    objects = [str(scratch / f"{number}.o") for number in range(len(parts.sources))]
    commands = [
        [*compiler, *flags, *own, "-c", str(FOLDER / source), "-o", target]
        for (source, own), target in zip(parts.sources.items(), objects)
    ]
    run(commands, scratch)
    # Linked without -fopenmp: its functions are then those that torch has loaded.
    library = scratch / "kernels.so"
    exports = [f"-Wl,--version-script={FOLDER / parts.exports}"] if parts.exports else []
    own = [*parts.link_flags, *exports]
    link = [*compiler, "-shared", "-pthread", *own, *objects, "-o", str(library)]
    run([link], scratch)
    return library.read_bytes()
