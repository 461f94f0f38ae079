"""What libhaskd is compiled from, as `native.build` compiles the kernels."""

from __future__ import annotations

from pathlib import Path

from haskd_ros import __version__
from haskd_ros.native.build import FOLDER, HEADERS, Parts

HERE = Path(__file__).parent

HEADER = HERE / "haskd.h"
"""What a program includes."""

# The kernels' flags for their functions. All else rounds each product, as torch does where it folds
# batch norms.
_OWN = ("-O2", "-ffp-contract=off", f'-DHASKD_VERSION="{__version__}"')

_EXPORTS = "runtime/exports.map"


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
        *HEADERS,
        *_within("*.h"),
        *(name for name in _within("*.cpp") if name != "runtime/all.cpp"),
        _EXPORTS,
    ),
    flags=("-fvisibility=hidden",),
    # Its pool of threads lives as long as the process, and so has its code to.
    link_flags=("-Wl,-z,nodelete",),
    exports=_EXPORTS,
)
"""OpenMP is not among it: a program without torch need not have it."""
