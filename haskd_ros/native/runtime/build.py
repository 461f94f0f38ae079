"""Compiles libhaskd for this machine, as `native.build` compiles the kernels."""

from __future__ import annotations

from pathlib import Path

from haskd_ros import __version__
from haskd_ros.native.build import FLAGS, FOLDER, Parts, build, tuning_flag

HERE = Path(__file__).parent

HEADER = HERE / "haskd.h"
"""What a program includes."""

# The kernels' flags for their functions. All else rounds each product, as torch does where it folds
# batch norms.
_OWN = ("-O2", "-ffp-contract=off", f'-DHASKD_VERSION="{__version__}"')


def _within(pattern: str) -> tuple[str, ...]:
    return tuple(sorted(str(path.relative_to(FOLDER)) for path in HERE.rglob(pattern)))


RUNTIME = Parts(
    sources={
        "convolution.cpp": (),
        "grouping.cpp": (),
        "kernel_map.cpp": (),
        "points.cpp": (),
        "scores.cpp": (),
        "runtime/all.cpp": _OWN,
    },
    headers=(
        *("arguments.h", "kernels.h", "lanes.h", "threads.h", "tiles.h"),
        *_within("*.h"),
        *(name for name in _within("*.cpp") if name != "runtime/all.cpp"),
        *_within("exports.map"),
    ),
    # Its pool of threads lives as long as the process, and so has its code to.
    link_flags=(f"-Wl,--version-script={HERE / 'exports.map'}", "-Wl,-z,nodelete"),
)


def build_runtime(folder: Path) -> Path:
    """The shared library for this CPU, from `folder` or compiled into it.

    Raises:
        Unsuitable, Unavailable: as of `native.build.build`.
    """
    return build(build_flags(), folder, RUNTIME)


def build_flags() -> tuple[str, ...]:
    """Compiler flags of all its sources, for this CPU. OpenMP is not among them: a program without
    torch need not have it."""
    return (*FLAGS, tuning_flag(), "-fvisibility=hidden")
